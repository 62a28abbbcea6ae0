// The built-in dummy against the original, and what its users run into.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Call, callBuiltin } from "./builtin_call.ts";
import { conformance, type LinkCase } from "./link_conformance.ts";
import { linkLife } from "./link_life.ts";
import { DEFAULTS, MAC, staticIpam, V4, V6 } from "./master_world.ts";
import "./need_links.ts";

const call = (call: Call) => callBuiltin("dummy", call);
/** 1.1.1 has no such plugin. */
const originals = ["cni-1.9.1"] as const;

const CASES: Readonly<Record<string, LinkCase>> = {
  "both families with default routes": {
    config: (world) => staticIpam([V4(world), V6(world)], DEFAULTS),
    originals,
  },
  "an address that is a network of its own": {
    config: () => staticIpam([{ address: "169.254.169.254/32" }]),
    originals,
  },
  "a route on the link": {
    config: (world) => staticIpam([{ address: V4(world).address }], [{ dst: "10.99.0.0/16" }]),
    originals,
  },
  "DNS of the IPAM plugin, which is kept": {
    config: (world) => ({
      dns: { nameservers: ["10.0.0.10"] },
      ipam: { type: "static", addresses: [V4(world)], dns: { nameservers: ["10.0.0.11"] } },
    }),
    originals,
  },
  "addresses by host-local": {
    config: ({ subnet4 }, dataDir) => ({
      ipam: { type: "host-local", dataDir, ranges: [[{ subnet: `${subnet4}.0/24` }]] },
    }),
    originals,
  },
};

conformance("dummy", CASES, "dummy");

linkLife({
  type: "dummy",
  more: () => ({}),
  isBrief: true,
  losses: [{
    what: "its MAC address",
    script: `ip link set eth0 address ${MAC}`,
    says: new RegExp(`has the MAC address ${MAC}, not `),
  }],
});

Deno.test("dummy refuses a configuration without an IPAM plugin", async () => {
  const config = { cniVersion: "1.1.0", name: "net", type: "dummy" };
  for (const verb of ["STATUS", "ADD", "CHECK"] as const) {
    const attached = { containerId: "c1", netns: "/run/netns/absent", ifName: "eth0" };
    const { code, document } = await call({ ...attached, config, verb });
    assertEquals([code, document.code], [1, 7]);
    assertStringIncludes(document.msg, "ipam.type is missing: a dummy interface is there for its addresses");
  }
});
