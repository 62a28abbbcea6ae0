// The built-in static against the originals: the same answer to the same call, apart from the differences that are named.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type Answer, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

interface Case {
  readonly ipam?: JsonObject | null;
  readonly more?: JsonObject;
  readonly args?: string;
  /** The versions of the configuration. @default {1.0.0} */
  readonly versions?: readonly string[];
}

const V4 = { address: "10.10.0.1/24", gateway: "10.10.0.254" };
const V6 = { address: "3ffe:ffff:0:1ff::1/64", gateway: "3ffe:ffff:0:1ff::ffff" };
const ALL = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/** Both succeed, with equal results. */
const ALIKE: Readonly<Record<string, Case>> = {
  "one address": { ipam: { addresses: [V4] }, versions: ALL },
  "one of each family": { ipam: { addresses: [V4, V6] }, versions: ALL },
  "several of a family": {
    ipam: { addresses: [V4, { address: "10.11.0.1/16" }, V6, { address: "fd00::5/128" }] },
    versions: ["0.3.0", "1.0.0"],
  },
  "no gateway": { ipam: { addresses: [{ address: "192.168.7.9/30" }] } },
  "an empty gateway": { ipam: { addresses: [{ address: "192.168.7.9/30", gateway: "" }] } },
  "bits after the prefix": { ipam: { addresses: [{ address: "10.10.3.77/16" }] } },
  "a written-out IPv6 address": { ipam: { addresses: [{ address: "FD00:0:0:0:0:0:0:00AB/64" }] } },
  "routes": {
    ipam: { addresses: [V4], routes: [{ dst: "0.0.0.0/0" }, { dst: "192.168.0.0/16", gw: "10.10.0.9" }] },
  },
  "two gateways for one destination": {
    ipam: {
      addresses: [V4],
      routes: [{ dst: "1.0.0.0/8", gw: "10.10.0.8" }, { dst: "1.0.0.0/8", gw: "10.10.0.9" }],
    },
  },
  "DNS": {
    ipam: {
      addresses: [V4],
      dns: {
        nameservers: ["8.8.8.8", "fd00::1"],
        domain: "example.net",
        search: ["a", "b"],
        options: ["ndots:5"],
      },
    },
    versions: ["0.2.0", "1.0.0"],
  },
  "CNI_ARGS": { ipam: {}, args: "IP=10.10.0.1/24;GATEWAY=10.10.0.254" },
  "CNI_ARGS for both families, with blanks": {
    ipam: {},
    args: "IP=10.10.0.1/24, 3ffe:ffff:0:1ff::1/64;GATEWAY= 10.10.0.254,3ffe:ffff:0:1ff::ffff",
  },
  "CNI_ARGS beside the configuration": { ipam: { addresses: [V4] }, args: "IP=10.20.0.1/24" },
  "a gateway of CNI_ARGS for the configuration": {
    ipam: { addresses: [{ address: "10.10.0.1/24" }] },
    args: "GATEWAY=10.10.0.7",
  },
  "a gateway of CNI_ARGS for no address": { ipam: { addresses: [V4] }, args: "GATEWAY=10.99.0.1" },
  "two gateways of CNI_ARGS for one address": {
    ipam: {},
    args: "IP=10.20.0.1/24;GATEWAY=10.10.0.7,10.20.0.7,10.20.0.8",
  },
  "an unknown argument that is ignored": {
    ipam: { addresses: [V4] },
    args: "IgnoreUnknown=1;K8S_POD_NAME=a",
  },
  "runtimeConfig": { ipam: {}, more: { runtimeConfig: { ips: ["10.10.0.1/24", "fd00::1/64"] } } },
  "args": { ipam: {}, more: { args: { cni: { ips: ["10.10.0.1/24"] } } } },
  "runtimeConfig before args": {
    ipam: {},
    args: "IP=10.30.0.1/24",
    more: { runtimeConfig: { ips: ["10.10.0.1/24"] }, args: { cni: { ips: ["10.20.0.1/24"] } } },
  },
  "addresses of the caller in another network": {
    ipam: { addresses: [V4] },
    more: { runtimeConfig: { ips: ["10.20.0.1/24"] } },
  },
  "empty lists": {
    ipam: { addresses: [V4], routes: [], dns: {} },
    more: { runtimeConfig: { ips: [] }, args: { cni: { ips: [] } } },
  },
  "null": { ipam: { addresses: [V4], routes: null }, more: { runtimeConfig: null, args: { cni: null } } },
  "unknown members": { ipam: { addresses: [{ ...V4, note: "x" }], more: 1 }, more: { bridge: "b" } },
};

/** Both refuse, the original with the code 100 or 999, the built-in one with a code that says why. */
const REFUSED: Readonly<Record<string, Case & { readonly code: number; readonly says: RegExp }>> = {
  "no section": { ipam: null, code: 7, says: /ipam/ },
  "an address without a prefix": {
    ipam: { addresses: [{ address: "10.10.0.1" }] },
    code: 7,
    says: /ipam\.addresses\[0\]\.address .*10\.10\.0\.1/,
  },
  "an address that is none": {
    ipam: { addresses: [{ address: "10.10.0.0.1/24" }] },
    code: 7,
    says: /addresses\[0\]/,
  },
  "no address in an entry": { ipam: { addresses: [{}] }, code: 7, says: /addresses\[0\]/ },
  "a gateway that is none": {
    ipam: { addresses: [{ ...V4, gateway: "10.10" }] },
    code: 7,
    says: /ipam\.addresses\[0\]\.gateway .*10\.10/,
  },
  "IP of CNI_ARGS without a prefix": {
    ipam: {},
    args: "IP=10.10.0.1",
    code: 4,
    says: /IP is not .*10\.10\.0\.1/,
  },
  "GATEWAY of CNI_ARGS that is none": {
    ipam: { addresses: [V4] },
    args: "GATEWAY=10.10",
    code: 4,
    says: /GATEWAY is not .*10\.10/,
  },
  "an unknown argument": { ipam: { addresses: [V4] }, args: "K8S_POD_NAME=a", code: 4, says: /K8S_POD_NAME/ },
  "runtimeConfig without a prefix": {
    ipam: {},
    more: { runtimeConfig: { ips: ["10.10.0.1"] } },
    code: 7,
    says: /runtimeConfig\.ips\[0\] .*10\.10\.0\.1/,
  },
  "args without a prefix": {
    ipam: {},
    more: { args: { cni: { ips: ["10.10.0.1"] } } },
    code: 7,
    says: /args\.cni\.ips\[0\] .*10\.10\.0\.1/,
  },
  "two of a family in an old version": {
    ipam: { addresses: [V4, { address: "10.11.0.1/16" }] },
    versions: ["0.1.0", "0.2.0"],
    code: 7,
    says: /more than 1 address per family/,
  },
};

const ORIGINALS: readonly (readonly [folder: string, needs: Component])[] = [
  [CNI_1_1_1, "cni-1.1.1"],
  [CNI_1_9_1, "cni-1.9.1"],
];

function callOf(
  { ipam, more, args }: Case,
  cniVersion: string,
  verb: Call["verb"],
): Call {
  const section = ipam === null ? {} : { ipam: { type: "static", ...ipam } };
  const config = { cniVersion, name: "net", type: "bridge", ...section, ...more };
  return { verb, containerId: "c1", netns: "/run/netns/none", ifName: "eth0", args: args ?? "", config };
}

/** Each version of a case that the release knows. */
function versionsOf({ versions = ["1.0.0"] }: Case, needs: Component): readonly string[] {
  return versions.filter((version) => needs !== "cni-1.1.1" || version !== "1.1.0");
}

/** A result of 0.3 and 0.4 has an empty `dns`, which says the same as none. */
function sayOf({ document }: Answer): unknown {
  const { dns, ...more } = document;
  return dns === undefined || Object.keys(dns).length === 0 ? more : { ...more, dns };
}

for (const [folder, needs] of ORIGINALS) {
  Deno.test({
    name: `the built-in static answers as the one of ${needs}, for each form of the configuration`,
    ...need(needs),
    fn: async (test) => {
      for (const [name, each] of Object.entries(ALIKE)) {
        await test.step(name, async () => {
          for (const version of versionsOf(each, needs)) {
            const call = callOf(each, version, "ADD");
            const [ours, theirs] = [
              await callBuiltin("static", call),
              await callBinary(folder, "static", call),
            ];
            assertEquals([ours.code, theirs.code], [0, 0], `${version}: ${JSON.stringify(ours.document)}`);
            assertEquals(sayOf(ours), sayOf(theirs), version);
            // What one added, the other checks and removes.
            for (
              const [answer, call] of [[ours, callBinary.bind(null, folder)], [theirs, callBuiltin]] as const
            ) {
              const more = { ...each.more, prevResult: answer.document };
              const verbs = version < "0.4.0" ? ["DEL"] as const : ["CHECK", "DEL"] as const;
              for (const verb of verbs) {
                const { code, document } = await call("static", callOf({ ...each, more }, version, verb));
                assertEquals(code, 0, `${verb} ${version}: ${JSON.stringify(document)}`);
              }
            }
          }
        });
      }
    },
  });

  Deno.test({
    name: `what the static of ${needs} refuses, the built-in one refuses, and says which member it is`,
    ...need(needs),
    fn: async (test) => {
      for (const [name, { code, says, ...each }] of Object.entries(REFUSED)) {
        await test.step(name, async () => {
          for (const version of versionsOf(each, needs)) {
            const call = callOf(each, version, "ADD");
            assert((await callBinary(folder, "static", call)).code !== 0, "the original refuses it");
            const ours = await callBuiltin("static", call);
            assertEquals([ours.code, ours.document.code], [1, code], version);
            assertMatch(ours.document.msg, says);
            assertEquals(
              (await callBuiltin("static", callOf(each, version, "DEL"))).code,
              0,
              "there is nothing to undo",
            );
          }
        });
      }
    },
  });
}

const CONFIGURED = [V4, { address: "10.11.0.1/16" }, V6];

async function refusalOf(call: Call): Promise<{ readonly code: number; readonly msg: string }> {
  const { code, document } = await callBuiltin("static", call);
  assertEquals(code, 1, JSON.stringify(document));
  return { code: document.code, msg: document.msg };
}

Deno.test("U80 static gives an address of the caller the gateway of the configured address in whose network it is (plugins#406)", async () => {
  for (const more of [{ runtimeConfig: { ips: WANTED } }, { args: { cni: { ips: WANTED } } }]) {
    const answer = await callBuiltin(
      "static",
      callOf({ ipam: { addresses: CONFIGURED }, more }, "1.0.0", "ADD"),
    );
    assertEquals(answer.document.ips, [
      { address: "10.10.0.9/24", gateway: "10.10.0.254" },
      { address: "10.11.0.9/16" },
      { address: "3ffe:ffff:0:1ff::9/64", gateway: "3ffe:ffff:0:1ff::ffff" },
      { address: "10.99.0.9/24" },
    ]);
  }
});

const WANTED = ["10.10.0.9/24", "10.11.0.9/16", "3ffe:ffff:0:1ff::9/64", "10.99.0.9/24"];

Deno.test("the CHECK of static fails if the result of the ADD lacks an address or its gateway", async () => {
  const ipam = { addresses: [V4, V6] };
  const check = (ips: JsonObject[] | undefined) => {
    const prevResult = { cniVersion: "1.0.0", ...(ips === undefined ? {} : { ips }) };
    return callOf({ ipam, more: { prevResult } }, "1.0.0", "CHECK");
  };
  for (const ips of [undefined, [V4], [{ ...V4, gateway: "10.10.0.1" }, V6], [{ address: V4.address }, V6]]) {
    const { code, msg } = await refusalOf(check(ips));
    assertEquals(code, 999);
    assertMatch(msg, /does not have the address .*eth0/);
  }
  for (const ips of [[V4, V6], [{ address: "10.1.0.1/24" }, V6, V4]]) {
    assertEquals((await callBuiltin("static", check(ips))).code, 0);
  }
  assertMatch((await refusalOf(callOf({ ipam }, "1.0.0", "CHECK"))).msg, /prevResult missing/);
});

Deno.test("static says in STATUS what is wrong with its configuration, and refuses a route without a destination", async () => {
  const call = (ipam: JsonObject) => callOf({ ipam }, "1.1.0", "STATUS");
  assertEquals((await callBuiltin("static", call({ addresses: [V4] }))).code, 0);
  assertEquals((await refusalOf(call({ addresses: [V4], routes: [{ gw: "10.10.0.9" }] }))).code, 7);
  assertMatch((await refusalOf(call({ addresses: "10.10.0.1/24" }))).msg, /ipam\.addresses/);
});

Deno.test({
  name:
    "a pod on the built-in bridge has the addresses and the route that static gives, and nothing keeps them afterwards",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const addresses = [{ address: `${world.subnet4}.7/24`, gateway: `${world.subnet4}.1` }, {
      address: `${world.subnet6}::7/64`,
    }];
    const config = {
      ...{
        cniVersion: "1.0.0",
        name: `net-${world.tag}`,
        type: "bridge",
        bridge: world.bridge,
        isGateway: true,
      },
      ipam: { type: "static", addresses, routes: [{ dst: "0.0.0.0/0" }] },
    };
    const call = { containerId: `c-${world.tag}`, netns, ifName: "eth0", config };
    const added = await callBuiltin("bridge", { ...call, verb: "ADD" });
    assertEquals(added.code, 0, JSON.stringify(added.document));
    const shown = await sh("ip -o addr show dev eth0; ip route", netns);
    for (const { address } of addresses) assertStringIncludes(shown, address);
    assertStringIncludes(shown, `default via ${world.subnet4}.1 dev eth0`);
    for (const verb of ["CHECK", "DEL"] as const) {
      const { code, document } = await callBuiltin("bridge", {
        ...{ ...call, verb, config: { ...config, prevResult: added.document } },
      });
      assertEquals(code, 0, JSON.stringify(document));
    }
    assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
  }),
});
