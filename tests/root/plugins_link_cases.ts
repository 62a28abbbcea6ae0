/** Chains of the reference plugins with other links than bridges, or with routing tables of their own. */
import { assert, assertEquals } from "@std/assert";
import {
  ADDRESS_GONE,
  bridge,
  everywhere,
  has,
  hostLocal,
  IPTABLES,
  LINK_GONE,
  MAC,
  MASQUERADING,
  type PluginCase,
  SUBNET4,
  tuning,
  TUNING_LEAK,
} from "./plugins_case.ts";
import type { PluginWorld } from "./plugins_world.ts";

/** They move the routes that the plugins before them in the chain require. */
const ROUTES_MOVED = /Failed to find Gateway/;
const WITHOUT_NETNS = /no such file or directory/;
/** What is detached already is detached without its namespace. */
const SBR = everywhere({ check: ROUTES_MOVED, delAgain: WITHOUT_NETNS, delGone: WITHOUT_NETNS });

/** Chains with every other kind of link. */
export const LINK_CASES: readonly PluginCase[] = [
  {
    name: "ptp with masquerading, the resolv.conf of the node and a default route",
    allVersions: true,
    leaks: MASQUERADING,
    needs: IPTABLES,
    plugins: (world) => [{
      type: "ptp",
      ipMasq: true,
      mtu: 1400,
      ipam: {
        ...hostLocal(world),
        resolvConf: `${world.dir}/resolv.conf`,
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    }],
    prepare: (world) =>
      Deno.writeTextFile(`${world.dir}/resolv.conf`, "nameserver 10.80.9.9\nsearch a.test\n"),
    effect: async (world, { dns }) => {
      assertEquals((await world.link("eth0")).mtu, 1400);
      assertEquals({ nameservers: dns?.nameservers, search: dns?.search }, {
        nameservers: ["10.80.9.9"],
        search: ["a.test"],
      });
      await has(world, /-A POSTROUTING -s 10\.80\.0\.2\/32 .*-j CNI-/);
      assert((await world.json("ip -j route")).some(({ dst }) => dst === "10.80.0.2"));
    },
    damages: [ADDRESS_GONE("ptp"), LINK_GONE("ptp")],
  },
  {
    name: "ptp, tuning with everything and sbr",
    leaks: TUNING_LEAK,
    defects: SBR,
    plugins: (world) => [
      { type: "ptp", ipam: { ...hostLocal(world), routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }] } },
      tuning(world, { capabilities: { mac: true }, mtu: 1350, allmulti: true }),
      { type: "sbr" },
    ],
    request: { capabilityArgs: { mac: MAC } },
    effect: (world) => sourceBased(world),
    damages: [{ script: "ip link set dev eth0 mtu 1300", noticedBy: "tuning" }, ADDRESS_GONE("ptp")],
  },
  {
    name: "bridge and sbr",
    defects: SBR,
    plugins: (world) => [bridge(world, { ipMasq: false }), { type: "sbr" }],
    effect: (world) => sourceBased(world),
    damages: [ADDRESS_GONE("bridge")],
  },
  {
    name: "bridge and vrf",
    defects: everywhere({ check: ROUTES_MOVED }),
    needs: ["vrf"],
    plugins: (
      world,
    ) => [bridge(world, { ipMasq: false, isDefaultGateway: false }), {
      type: "vrf",
      vrfname: "blue",
      table: 77,
    }],
    effect: async (world) => {
      const pod = world.path("pod");
      assertEquals((await world.link("blue")).linkinfo.info_data.table, 77);
      assertEquals((await world.link("eth0")).master, "blue");
      const routes = await world.json("ip -j route show table 77", pod);
      assert(routes.some(({ dst, dev }) => dst === "10.80.0.0/24" && dev === "eth0"), JSON.stringify(routes));
    },
    damages: [{ script: "ip link set dev eth0 nomaster", noticedBy: "vrf" }],
  },
  {
    name: "macvlan on a parent",
    needs: ["macvlan"],
    plugins: (world) => [{
      type: "macvlan",
      master: "up0",
      mode: "bridge",
      mtu: 1400,
      capabilities: { mac: true },
      ipam: hostLocal(world),
    }],
    request: { capabilityArgs: { mac: MAC } },
    effect: async (world) => {
      const { linkinfo, mtu, address } = await world.link("eth0");
      assertEquals({ info_kind: linkinfo.info_kind, mode: linkinfo.info_data.mode, mtu, address }, {
        info_kind: "macvlan",
        mode: "bridge",
        mtu: 1400,
        address: MAC,
      });
    },
    damages: [ADDRESS_GONE("macvlan"), LINK_GONE("macvlan")],
  },
  {
    name: "ipvlan on a parent",
    needs: ["ipvlan"],
    plugins: (world) => [{ type: "ipvlan", master: "up0", mode: "l2", mtu: 1400, ipam: hostLocal(world) }],
    effect: async (world) => {
      const { linkinfo, mtu } = await world.link("eth0");
      assertEquals({ info_kind: linkinfo.info_kind, mode: linkinfo.info_data.mode, mtu }, {
        info_kind: "ipvlan",
        mode: "l2",
        mtu: 1400,
      });
    },
    damages: [ADDRESS_GONE("ipvlan"), LINK_GONE("ipvlan")],
  },
  {
    name: "vlan on a parent",
    needs: ["vlan"],
    plugins: (world) => [{ type: "vlan", master: "up0", vlanId: 42, mtu: 1400, ipam: hostLocal(world) }],
    effect: async (world) => {
      const { linkinfo, mtu } = await world.link("eth0");
      assertEquals({ info_kind: linkinfo.info_kind, id: linkinfo.info_data.id, mtu }, {
        info_kind: "vlan",
        id: 42,
        mtu: 1400,
      });
    },
    damages: [ADDRESS_GONE("vlan"), LINK_GONE("vlan")],
  },
  {
    name: "macvlan on a parent inside the pod",
    releases: ["1.9.1"],
    needs: ["macvlan"],
    plugins: (world) => [{
      type: "macvlan",
      master: "inner0",
      linkInContainer: true,
      ipam: hostLocal(world),
    }],
    prepare: (world) =>
      world.sh(
        "ip link add inner0 type veth peer name inner1 && ip link set inner0 up && ip link set inner1 up",
        world.path("pod"),
      ),
    damages: [ADDRESS_GONE("macvlan")],
  },
  {
    name: "dummy",
    releases: ["1.9.1"],
    needs: ["dummy"],
    plugins: (world) => [{ type: "dummy", ipam: hostLocal(world) }],
    effect: async (world) => assertEquals((await world.link("eth0")).linkinfo.info_kind, "dummy"),
    damages: [ADDRESS_GONE("dummy"), LINK_GONE("dummy")],
  },
  {
    name: "tap",
    releases: ["1.9.1"],
    needs: ["tap"],
    plugins: (world) => [{ type: "tap", multiQueue: true, ipam: hostLocal(world, SUBNET4) }],
    effect: async (world) => assertEquals((await world.link("eth0")).linkinfo.info_kind, "tun"),
    damages: [ADDRESS_GONE("tap"), LINK_GONE("tap")],
  },
  {
    name: "host-device",
    // The kernel removes the device, which is virtual here, with the namespace; the address stays taken.
    leaks: /^node: h[dp]-|^file: ipam\//,
    plugins: (world) => [{ type: "host-device", device: `hd-${world.tag}`, ipam: hostLocal(world, SUBNET4) }],
    prepare: (world) => world.sh(`ip link add hd-${world.tag} type veth peer name hp-${world.tag}`),
    damages: [ADDRESS_GONE("host-device")],
  },
];

/** Each address has a rule that leads to a table of its own, and that table leads out. */
async function sourceBased(world: PluginWorld): Promise<void> {
  const pod = world.path("pod");
  for (const [family, source] of [["-4", "10.80.0.2"], ["-6", "fd00:80::2"]] as const) {
    const rules = await world.json(`ip ${family} -j rule`, pod);
    const table = rules.find(({ src }) => src === source)?.table;
    assert(table !== undefined, JSON.stringify(rules));
    const routes = await world.json(`ip ${family} -j route show table ${table}`, pod);
    assert(routes.some(({ dst, dev }) => dst === "default" && dev === "eth0"), JSON.stringify(routes));
  }
}
