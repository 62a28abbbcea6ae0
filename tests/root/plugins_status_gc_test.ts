// STATUS, GC and failed ADDs through the engine with the reference plugins. None of these does anything at GC
// yet, so a sweep detaches by DEL.
import { assert, assertEquals } from "@std/assert";
import { CniError, ERROR_CODES } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { bridge, hostLocal, SUBNET4 } from "./plugins_case.ts";
import { type Feature, refusal } from "./plugins_kernel.ts";
import { errorOf } from "./plugins_life.ts";
import { releaseTest } from "./plugins_release.ts";
import type { PluginWorld } from "./plugins_world.ts";

const CHAIN = (world: PluginWorld): readonly JsonObject[] => [
  bridge(world),
  { type: "portmap", capabilities: { portMappings: true } },
  { type: "firewall" },
  { type: "tuning", dataDir: world.tuningDir, mtu: 1300 },
  { type: "bandwidth", capabilities: { bandwidth: true } },
];

releaseTest("STATUS asks every plugin of the chain", { releases: ["1.9.1"] }, async (world) => {
  const states: readonly [readonly JsonObject[], string | undefined][] = [
    [CHAIN(world), undefined],
    [[{ type: "loopback" }], undefined],
    [[{ type: "ptp", ipam: hostLocal(world) }, { type: "sbr" }], undefined],
    [[{ type: "macvlan", master: "up0", ipam: hostLocal(world) }], undefined],
    [
      [bridge(world, { ipam: { type: "nowhere" } })],
      'plugin "bridge" (1 of 1): failed to find plugin "nowhere"',
    ],
    [[{ type: "ptp", ipam: hostLocal(world) }, { type: "nowhere" }], 'plugin "nowhere" (2 of 2)'],
  ];
  for (const [plugins, problem] of states) {
    await world.network("1.1.0", plugins);
    const [status] = await world.podwire.status();
    assertEquals(status?.ready, problem === undefined, status?.msg);
    assert(problem === undefined || status?.msg?.includes(problem), status?.msg);
  }
});

releaseTest("a sweep detaches what has no owner and leaves the rest unchanged", {
  releases: ["1.9.1"],
  features: ["iptables", "bandwidth"],
}, async (world) => {
  await world.network("1.1.0", CHAIN(world));
  for (const [index, pod] of ["a", "b"].entries()) {
    const portMappings = [{ hostPort: 18080 + index, containerPort: 80, protocol: "tcp" }];
    const bandwidth = { ingressRate: 8_000_000, ingressBurst: 800_000 };
    await world.podwire.add(world.name, world.request(pod, { capabilityArgs: { portMappings, bandwidth } }));
  }
  const attached = await world.left("b");
  const valid = [{ containerId: world.base("a"), ifName: "eth0" }];
  assertEquals((await world.podwire.gc({ valid, dryRun: true })).removed.length, 1);
  assertEquals(await world.left("b"), attached);

  const { removed, kept, failed } = await world.podwire.gc({ valid });
  assertEquals(removed.map(({ containerId }) => containerId), [world.base("b")]);
  assertEquals({ keptCount: kept.length, failed }, { keptCount: 1, failed: [] });
  const left = await world.left("b");
  assertEquals(left.filter((line) => line.includes(world.base("b")) || line.includes("10.80.0.3")), []);
  await world.podwire.check(world.name, world.request("a"));

  assertEquals((await world.podwire.gc({ all: true })).failed, []);
  assertEquals([...await world.left("a"), ...await world.left("b")], []);
});

releaseTest(
  "an ADD that a plugin refuses for its version leaves nothing",
  { features: ["iptables"] },
  async (world) => {
    await world.network("0.3.1", [bridge(world), { type: "firewall" }]);
    const { code, context } = await errorOf(world.podwire.add(world.name, world.request("a")));
    assertEquals({ code, type: context.plugin?.type }, {
      code: ERROR_CODES.incompatibleVersion,
      type: "firewall",
    });
    assertEquals(await world.left("a"), []);
  },
);

releaseTest(
  "an ADD that fails in the middle of a chain leaves nothing",
  { features: ["iptables"] },
  async (world) => {
    await world.network("1.0.0", [
      bridge(world, { ipam: hostLocal(world, SUBNET4) }),
      { type: "firewall" },
      { type: "tuning", dataDir: world.tuningDir, sysctl: { "net.ipv4.conf.none.forwarding": "1" } },
    ]);
    const { message, context } = await errorOf(world.podwire.add(world.name, world.request("a")));
    assertEquals(context.plugin, { type: "tuning", index: 2, count: 3 }, message);
    assertEquals((await world.left("a")).filter((line) => !line.startsWith("file: tuning/")), []);
  },
);

const REFUSED: Readonly<Partial<Record<Feature, JsonObject>>> = {
  vlan: { type: "vlan", master: "up0", vlanId: 5 },
  ipvlan: { type: "ipvlan", master: "up0" },
  vrf: { type: "vrf", vrfname: "blue" },
};

for (const [feature, plugin] of Object.entries(REFUSED)) {
  if (refusal(feature as Feature) === undefined) continue;
  releaseTest(`an ADD with ${feature}, which this kernel lacks, leaves nothing`, {}, async (world) => {
    const first = feature === "vrf" ? [bridge(world, { ipMasq: false })] : [];
    const last = feature === "vrf" ? plugin : { ...plugin, ipam: hostLocal(world) };
    await world.network("1.0.0", [...first, last]);
    const error = await errorOf(world.podwire.add(world.name, world.request("a")));
    assert(error instanceof CniError && error.context.plugin?.type === feature, error.message);
    assertEquals(await world.left("a"), []);
  });
}
