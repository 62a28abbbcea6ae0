// The VLANs of the built-in bridge, against those of the original.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { connects, inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1 } from "./need.ts";
import { needLinks } from "./need_links.ts";

const OURS = (call: Call) => callBuiltin("bridge", call);
const NEWEST = (call: Call) => callBinary(CNI_1_9_1, "bridge", call);
const OLDEST = (call: Call) => callBinary(CNI_1_1_1, "bridge", call);
const NEEDS = needLinks(["bridge-vlan"], "cni-1.1.1", "cni-1.9.1");

function callOf(world: World, netns: string, pod: string, more: JsonObject): Omit<Call, "verb"> {
  const config = {
    cniVersion: "1.0.0",
    name: `net-${world.tag}`,
    type: "bridge",
    bridge: bridgeOf(world),
    ipam: {
      type: "host-local",
      dataDir: world.dir,
      ranges: [[{ subnet: `${world.subnet4}.0/24` }], [{ subnet: `${world.subnet6}::/64` }]],
    },
    ...more,
  };
  return { containerId: `${pod}-${world.tag}`, netns, ifName: "eth0", config };
}

/** Short enough for the number of a VLAN behind it. */
const bridgeOf = ({ tag }: World) => `b${tag}`;

/** Runs in a world, and removes its bridge. */
const inVlanWorld = (fn: (world: World) => Promise<void>) =>
  inWorld(async (world) => {
    try {
      await fn(world);
    } finally {
      const bridge = bridgeOf(world);
      await sh(
        `for link in $(ls /sys/class/net 2>/dev/null) ${bridge}; do case $link in ${bridge}*) ip link del $link;; esac; done 2>/dev/null || :`,
      );
    }
  });

/** The VLANs of what is on the bridge, by what it is. */
async function vlansOf(world: World): Promise<Record<string, unknown>> {
  const bridge = bridgeOf(world);
  const list = JSON.parse(await sh("bridge -j -compressvlans vlan show"));
  const links = JSON.parse(await sh(`ip -d -j link show`));
  const facts: Record<string, unknown> = {};
  for (const { ifname, link, master, linkinfo } of links) {
    if (ifname === bridge) facts.bridge = linkinfo.info_data.vlan_filtering;
    if (master !== bridge) continue;
    const kind = link === `${bridge}.100` ? "gateway" : "port";
    facts[kind] = list.find((one: { ifname: string }) => one.ifname === ifname)?.vlans ?? [];
  }
  return facts;
}

const named = (document: unknown, world: World) =>
  JSON.parse(
    JSON.stringify(document).replaceAll(/(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC").replaceAll(
      /veth[0-9a-f]{8}/g,
      "VETH",
    ).replaceAll(/pwt-[0-9a-f]+-[a-z]+/g, "NETNS").replaceAll(bridgeOf(world), "BRIDGE"),
  );

/** The addresses of the gateway, and whether it is up. */
async function gatewayOf(world: World): Promise<unknown> {
  const shown = await sh(`ip -j addr show dev ${bridgeOf(world)}.100 2>/dev/null || :`);
  if (shown === "") return undefined;
  const [{ flags, mtu, addr_info: addresses }] = JSON.parse(shown);
  return {
    mtu,
    isUp: flags.includes("UP"),
    addresses: addresses.map(({ local, prefixlen }: Record<string, unknown>) => `${local}/${prefixlen}`)
      .filter((address: string) => !address.startsWith("fe80")),
  };
}

const L2 = { ipam: {} };
const CONFIGS: Readonly<Record<string, JsonObject>> = {
  "a VLAN": { vlan: 100 },
  "a VLAN, without addresses": { vlan: 100, ...L2 },
  "the VLAN 1": { vlan: 1, ...L2 },
  "the last VLAN": { vlan: 4094, ...L2 },
  "a VLAN beside the default one": { vlan: 100, preserveDefaultVlan: true, ...L2 },
  "a trunk of single VLANs": { vlanTrunk: [{ id: 101 }, { id: 103 }], ...L2 },
  "a trunk of a range and a single VLAN": { vlanTrunk: [{ minID: 100, maxID: 105, id: 200 }], ...L2 },
  "a trunk beside the default VLAN": { vlanTrunk: [{ id: 42 }], preserveDefaultVlan: true, ...L2 },
  "a trunk with a VLAN of its own": { vlan: 100, vlanTrunk: [{ minID: 200, maxID: 4094 }], ...L2 },
  "ranges of a trunk that overlap": { vlanTrunk: [{ minID: 5, maxID: 9 }, { minID: 8, maxID: 12 }], ...L2 },
  "an empty trunk": { vlanTrunk: [], ...L2 },
  "the VLAN 0, which is none": { vlan: 0, ...L2 },
  "a gateway in the VLAN": { vlan: 100, isDefaultGateway: true },
  "a gateway in the VLAN, with an MTU": { vlan: 100, isGateway: true, mtu: 1400 },
  "masquerading in the VLAN": { vlan: 100, isDefaultGateway: true, ipMasq: true },
};

for (const [name, more] of Object.entries(CONFIGS)) {
  Deno.test({
    name:
      `U11 bridge, ${name}: the same as the original makes, and each checks and removes that of the other`,
    ...NEEDS,
    fn: inVlanWorld(async (world) => {
      const netns = await world.netns("a");
      const seen: unknown[] = [];
      for (const [add, other] of [[OURS, NEWEST], [NEWEST, OURS]] as const) {
        const call = callOf(world, netns, "a", more);
        const added = await add({ ...call, verb: "ADD" });
        assertDone(added);
        seen.push({
          result: named(added.document, world),
          vlans: await vlansOf(world),
          gateway: await gatewayOf(world),
        });
        const config = { ...call.config, prevResult: added.document };
        assertDone(await OURS({ ...call, config, verb: "CHECK" }));
        // That of the original asks for addresses where there is no IPAM plugin.
        if (more.ipam === undefined) assertDone(await NEWEST({ ...call, config, verb: "CHECK" }));
        assertDone(await other({ ...call, config, verb: "DEL" }));
        assertEquals((await vlansOf(world)).port, undefined);
        await sh(`ip link del ${bridgeOf(world)}.100 2>/dev/null; ip link del ${bridgeOf(world)}`);
        await sh(`rm -rf ${world.dir}/net-*`);
      }
      assertEquals(seen[0], seen[1]);
    }),
  });
}

Deno.test({
  name: "U7 bridge: a pod of a version that left the VLAN 1 on its port is checked and removed",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const call = callOf(world, await world.netns("a"), "a", { vlan: 100 });
    const added = await OLDEST({ ...call, verb: "ADD" });
    assertDone(added);
    const { port } = await vlansOf(world);
    assertEquals((port as { vlan: number }[]).map(({ vlan }) => vlan), [1, 100]);
    const config = { ...call.config, prevResult: added.document };
    assertDone(await OURS({ ...call, config, verb: "CHECK" }));
    assertDone(await OURS({ ...call, config, verb: "DEL" }));
    assertEquals((await vlansOf(world)).port, undefined);
  }),
});

Deno.test({
  name: "bridge: pods of one VLAN and its gateway reach each other, and not those of another one",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const pods = [["a", 100], ["b", 100], ["c", 200]] as const;
    const addresses: string[] = [];
    for (const [pod, vlan] of pods) {
      const more = { vlan, ...(vlan === 100 ? { isGateway: true } : {}) };
      const call = callOf(world, await world.netns(pod), pod, more);
      const { ips = [] } = resultOf(await OURS({ ...call, verb: "ADD" }));
      addresses.push(ips[0]?.address.split("/")[0] ?? "");
    }
    const path = (pod: string) => `/run/netns/pwt-${world.tag}-${pod}`;
    assert(await connects(path("a"), path("b"), addresses[1] ?? ""));
    assert(await connects(undefined, path("a"), addresses[0] ?? ""));
    // No answer to the question for the MAC address.
    const apart = `timeout 3 bash -c 'exec 3<>/dev/tcp/${addresses[2]}/9' 2>&1; ip neigh show ${
      addresses[2]
    }`;
    assert(!/lladdr|refused/.test(await sh(`${apart}; :`, path("a"))));
  }),
});

Deno.test({
  name:
    "U13 bridge: the gateway of a VLAN goes with the last port in it, also by GC, and one that others made or use stays",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const more = { vlan: 100, isGateway: true };
    const calls = [];
    for (const pod of ["a", "b"]) calls.push(callOf(world, await world.netns(pod), pod, more));
    const [first, second] = calls as [Omit<Call, "verb">, Omit<Call, "verb">];
    const add = (call: Omit<Call, "verb">) => OURS({ ...call, verb: "ADD" }).then(assertDone);
    const del = (call: Omit<Call, "verb">) => OURS({ ...call, verb: "DEL" }).then(assertDone);
    for (const call of calls) await add(call);
    await del(first);
    assert(await gatewayOf(world) !== undefined);
    await del(second);
    assertEquals(await gatewayOf(world), undefined);

    await add(first);
    await sh("ip link del eth0", first.netns);
    const gc = { ...first.config, cniVersion: "1.1.0", "cni.dev/valid-attachments": [] };
    assertDone(await OURS({ verb: "GC", config: gc }));
    assertEquals(await gatewayOf(world), undefined);

    // A port of something else than a pod.
    await add(first);
    await sh(
      `ip link add ${bridgeOf(world)}x type veth peer name ${bridgeOf(world)}y; ip link set ${
        bridgeOf(world)
      }x master ${bridgeOf(world)}; bridge vlan add dev ${bridgeOf(world)}x vid 100`,
    );
    await del(first);
    assert(await gatewayOf(world) !== undefined);
    await sh(`ip link del ${bridgeOf(world)}x; ip link del ${bridgeOf(world)}.100`);

    // A gateway of the original, which its result names.
    const added = await NEWEST({ ...first, verb: "ADD" });
    assertDone(added);
    await del({ ...first, config: { ...first.config, prevResult: added.document } });
    assert(await gatewayOf(world) !== undefined);
    assertEquals((await vlansOf(world)).port, undefined);
  }),
});

Deno.test({
  name:
    "bridge: with removeEmptyBridge the gateway of a VLAN and the bridge go with the last port, also after a failed ADD",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const bridge = bridgeOf(world);
    const more = { vlan: 100, isGateway: true, removeEmptyBridge: true };
    const call = callOf(world, await world.netns("a"), "a", more);
    const links = async () => await sh(`ip -o link show | grep -F ${bridge} || :`);
    assertDone(await OURS({ ...call, verb: "ADD" }));
    assertStringIncludes(await links(), `${bridge}.100`);
    assertDone(await OURS({ ...call, verb: "DEL" }));
    assertEquals(await links(), "");
    assertDone(await OURS({ ...call, verb: "ADD" }));
    await sh(`ip addr flush dev ${bridge}.100; ip addr add 10.9.9.9/24 dev ${bridge}.100`);
    const other = callOf(world, await world.netns("b"), "b", more);
    const refused = await OURS({ ...other, verb: "ADD" });
    assertStringIncludes(refused.document?.msg, `"${bridge}.100" already has an IP address different from`);
    assertEquals((await sh("ip -o link show", other.netns)).trim().split("\n").length, 1);
    assertStringIncludes(await links(), `${bridge}.100`);
    assertDone(await OURS({ ...call, verb: "DEL" }));
    assertEquals(await links(), "");
  }),
});

Deno.test({
  name:
    "bridge: a gateway that an interrupted ADD has left unfinished is replaced, and one that is down comes up",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const bridge = bridgeOf(world);
    const call = callOf(world, await world.netns("a"), "a", { vlan: 100, isGateway: true });
    const alias = `podwire gateway of VLAN 100 on ${bridge}`;
    await sh(
      `ip link add ${bridge}u type veth peer name ${bridge}w; ip link set ${bridge}u alias "${alias}"`,
    );
    const added = await OURS({ ...call, verb: "ADD" });
    assertDone(added);
    assertEquals(await sh(`ip -o link show dev ${bridge}u 2>/dev/null || :`), "");
    const other = callOf(world, await world.netns("b"), "b", { vlan: 100, isGateway: true });
    await sh(`ip link set ${bridge}.100 down`);
    assertDone(await OURS({ ...other, verb: "ADD" }));
    assertStringIncludes(await sh(`ip -o link show dev ${bridge}.100`), "UP");
  }),
});

Deno.test({
  name: "U11 bridge: CHECK names a VLAN that a port or the gateway has lost, and one that it should not have",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const bridge = bridgeOf(world);
    const call = callOf(world, await world.netns("a"), "a", { vlan: 100, isGateway: true });
    const added = await OURS({ ...call, verb: "ADD" });
    const port = resultOf(added).interfaces?.[1]?.name ?? "";
    const config = { ...call.config, prevResult: added.document };
    const check = async () => (await OURS({ ...call, config, verb: "CHECK" })).document?.msg;
    assertEquals(await check(), undefined);
    const steps: [string, string][] = [
      [`bridge vlan add dev ${port} vid 7`, `bridge port "${port}" has the VLAN 7, which is not its own`],
      [
        `bridge vlan del dev ${port} vid 7; bridge vlan add dev ${port} vid 100`,
        `bridge port "${port}" has the VLAN 100 not for frames without a tag`,
      ],
      [`bridge vlan del dev ${port} vid 100`, `bridge port "${port}" does not have the VLAN 100`],
      [`ip link set ${bridge} type bridge vlan_filtering 0`, `bridge "${bridge}" does not keep VLANs apart`],
      [
        `ip link set ${bridge} type bridge vlan_filtering 1; bridge vlan add dev ${port} vid 100 pvid untagged; ip addr flush dev ${bridge}.100`,
        `interface "${bridge}.100" does not have the address ${world.subnet4}.1/24`,
      ],
      [`ip link set ${bridge}.100 down`, `interface "${bridge}.100" is down`],
      [`ip link del ${bridge}.100`, `interface "${bridge}.100" is not there any more`],
    ];
    for (const [script, msg] of steps) {
      await sh(script);
      assertEquals(await check(), msg);
    }
  }),
});

Deno.test({
  name: "bridge: a bridge that does not keep VLANs apart is refused, and stays as it is",
  ...NEEDS,
  fn: inVlanWorld(async (world) => {
    const bridge = bridgeOf(world);
    await sh(`ip link add ${bridge} type bridge`);
    const netns = await world.netns("a");
    const { document } = await OURS({ ...callOf(world, netns, "a", { vlan: 100 }), verb: "ADD" });
    assertEquals(document.msg, `Cannot use bridge "${bridge}" with VLANs: it does not keep them apart`);
    assertEquals(await vlansOf(world), { bridge: 0 });
    assertEquals((await sh("ip -o link show", netns)).trim().split("\n").length, 1);
  }),
});
