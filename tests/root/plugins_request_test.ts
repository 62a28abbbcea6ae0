// Requests of the command line with the reference plugins of release 1.9.1 on the real kernel: each
// attachment gets what was requested for it, and nothing of what was requested for another.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { sandboxRequest } from "../../lib/cli/sandbox_request.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { inputOf } from "../cli/fake_io.ts";
import { need } from "./need.ts";
import { BANDWIDTH, PORTMAP } from "./plugins_case.ts";
import { needKernel } from "./plugins_kernel.ts";
import { PluginWorld } from "./plugins_world.ts";

/**
 * A bridge of its own for each network, so that their subnets are apart; `letter` is the last of its name.
 */
function bridge(
  world: PluginWorld,
  letter: string,
  more: JsonObject = {},
  ipam: JsonObject = {},
): JsonObject {
  return {
    type: "bridge",
    bridge: `${world.bridge}${letter}`,
    isGateway: true,
    ipam: { type: "host-local", dataDir: world.ipamDir, ...ipam },
    ...more,
  };
}

/** Makes a sandbox in a namespace of the world, as the command line asks for it. */
async function run(world: PluginWorld, ...args: string[]): Promise<Sandbox> {
  const request = sandboxRequest(inputOf("run", ["pod", `--netns=${world.path("pod")}`, ...args]));
  return await world.podwire.sandboxes.run({ ...request, id: world.base("pod") });
}

/** Interface, MAC address and IPv4 address in the pod. */
async function inside(world: PluginWorld): Promise<string[]> {
  const links = [...(await world.links(world.path("pod"))).values()].filter(({ ifname }) => ifname !== "lo");
  // deno-lint-ignore no-explicit-any
  const ipv4 = (each: any) => each.family === "inet" ? [each.local] : [];
  return links.map(({ ifname, address, addr_info }) =>
    [ifname, address, ...addr_info.flatMap(ipv4)].join(" ")
  ).sort();
}

Deno.test({
  name:
    "F60 F66 F69 each network gives its own address and MAC address, by CNI_ARGS or by capability (plugins 1.9.1)",
  ...need("root", "ip", "cni-1.9.1"),
  fn: async () => {
    await using world = await PluginWorld.make("1.9.1", "pod");
    await world.network("1.0.0", [bridge(world, "a", {}, { subnet: "10.80.0.0/24" })], "a");
    const a = world.name;
    const capabilities = { ips: true, mac: true };
    await world.network("1.0.0", [bridge(world, "b", { capabilities }, { subnet: "10.81.0.0/24" })], "b");
    const b = world.name;
    const before = await world.left();
    const { ips, networks } = await run(
      world,
      `--network=${a}:eth0,ip=10.80.0.55,mac=02:11:22:33:44:aa`,
      `--network=${b}:net1,ip=10.81.0.66,mac=02:11:22:33:44:bb`,
    );
    assertEquals(ips, ["10.80.0.55", "10.81.0.66"]);
    assertEquals(networks.map(({ name, ifName }) => [name, ifName]), [[a, "eth0"], [b, "net1"]]);
    assertEquals(await inside(world), [
      "eth0 02:11:22:33:44:aa 10.80.0.55",
      "net1 02:11:22:33:44:bb 10.81.0.66",
    ]);
    await world.podwire.sandboxes.remove("pod");
    assertEquals(await world.left(), before);
    // The flags of the command are for the first network; if a network comes twice each interface has its own
    // settings.
    await run(world, "--ip=10.80.0.7", `--network=${a}`, `--network=${a},ip=10.80.0.8`, `--network=${b}`);
    const given = (await inside(world)).map((line) => line.replace(/ .* /, " "));
    assertEquals(given.slice(0, 2), ["eth0 10.80.0.7", "eth1 10.80.0.8"]);
    assertMatch(given[2] ?? "", /^eth2 10\.81\.0\.\d+$/);
    await world.podwire.sandboxes.remove("pod");
    assertEquals(await world.left(), before);
  },
});

Deno.test({
  name:
    "F60 an address that a later network cannot give fails the whole run, and nothing is left (plugins 1.9.1)",
  ...need("root", "ip", "cni-1.9.1"),
  fn: async () => {
    await using world = await PluginWorld.make("1.9.1", "pod");
    await world.network("1.0.0", [bridge(world, "a", {}, { subnet: "10.80.0.0/24" })], "a");
    const a = world.name;
    await world.network("1.0.0", [bridge(world, "b", {}, { subnet: "10.81.0.0/24" })], "b");
    const before = await world.left();
    const error = await assertRejects(
      () => run(world, `--network=${a},ip=10.80.0.55`, `--network=${world.name},ip=10.99.0.1`),
      CniError,
    );
    assertEquals(error.context.network, world.name);
    assertStringIncludes(error.message, "10.99.0.1");
    assertEquals({ left: await world.left(), inside: await inside(world) }, { left: before, inside: [] });
  },
});

const shaped = needKernel(
  "F67 G49 G50 ranges, ports and limits arrive at the plugins of their own network (plugins 1.9.1)",
  "iptables",
  "bandwidth",
);

Deno.test({
  name: shaped.name,
  ignore: shaped.ignore || need("root", "ip", "cni-1.9.1").ignore,
  fn: async () => {
    await using world = await PluginWorld.make("1.9.1", "pod");
    const capabilities = { ipRanges: true };
    await world.network("1.0.0", [bridge(world, "a", {}, { subnet: "10.80.0.0/24" })], "a");
    const a = world.name;
    await world.network("1.0.0", [bridge(world, "b", { capabilities }), PORTMAP, BANDWIDTH], "b");
    const before = await world.left();
    const { ips } = await run(
      world,
      `--network=${a}`,
      `--network=${world.name}:net1,range=10.82.0.0/24@10.82.0.77-10.82.0.77@gw=10.82.0.9,publish=18081:80,ingress=8M`,
    );
    assertEquals(ips, ["10.80.0.2", "10.82.0.77"]);
    const gateway = (await world.link(`${world.bridge}b`, world.node)).addr_info;
    // deno-lint-ignore no-explicit-any
    assert(gateway.some(({ local }: any) => local === "10.82.0.9"), JSON.stringify(gateway));
    const rules = (await world.rules()).filter((rule) => rule.includes("--to-destination"));
    assert(rules.length > 0 && rules.every((rule) => rule.includes("10.82.0.77:80")), rules.join("\n"));
    const limits = (await world.json("tc -j qdisc show")).filter(({ kind }) => kind === "tbf");
    assertEquals(limits.map(({ options }) => [options.rate, options.burst]), [[1_000_000, 100_000]]);
    await world.podwire.sandboxes.remove("pod");
    assertEquals(await world.left(), before);
  },
});
