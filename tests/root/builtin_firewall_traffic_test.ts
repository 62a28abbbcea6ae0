// Traffic through the rules of the built-in firewall, in both families, on machines that stop what they forward.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { DOCKER, Machine, pathWithout } from "./firewall_world.ts";
import { need } from "./need.ts";
import { PeerServer, seenAs, seenOnce } from "./plugins_traffic.ts";

const PORT = 8080;
const HOST_PORT = 18080;
const NEEDED = need("root", "ip", "iptables", "nft");

/** A network with a bridge of its own. */
interface Net {
  readonly name: string;
  readonly bridge: string;
  readonly subnets: readonly [v4: string, v6: string];
  readonly firewall?: JsonObject;
}

const RED: Net = { name: "red", bridge: "br-red", subnets: ["10.61.0", "fd00:61:"] };
const BLUE: Net = { name: "blue", bridge: "br-blue", subnets: ["10.62.0", "fd00:62:"] };

/** A machine that forwards, with an uplink to another one, `outside`, that knows the networks. */
class Node {
  private constructor(readonly world: World, readonly machine: Machine, readonly outside: string) {}

  static async make(world: World, path?: string): Promise<Node> {
    const machine = await Machine.make(world, "node", path);
    const outside = await world.netns("outside");
    await machine.sh(
      `ip link add up0 type veth peer name up0 netns ${outside.replace(/.*\//, "")} &&
      ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up &&
      sysctl -wq net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.accept_dad=0 \
        net.ipv6.conf.default.accept_dad=0`,
    );
    await sh(
      `ip addr add 192.0.2.2/24 dev up0 && ip addr add 2001:db8::2/64 dev up0 nodad && ip link set up0 up &&
      ip route add 10.0.0.0/8 via 192.0.2.1 && ip route add fd00::/8 via 2001:db8::1`,
      outside,
    );
    return new Node(world, machine, outside);
  }

  /** Attaches a pod, and returns what detaches it. */
  async attach(net: Net, pod: string, host: number): Promise<Pod> {
    const netns = await this.world.netns(pod);
    const call = { containerId: pod, netns, ifName: "eth0" };
    const list = { cniVersion: "1.0.0", name: net.name };
    const [v4, v6] = net.subnets;
    const ips = [`${v4}.${host}`, `${v6}:${host}`] as const;
    const bridge = {
      ...{ ...list, type: "bridge", bridge: net.bridge, isGateway: true, hairpinMode: true },
      ipam: {
        type: "static",
        addresses: [{ address: `${ips[0]}/24`, gateway: `${v4}.1` }, {
          address: `${ips[1]}/64`,
          gateway: `${v6}:1`,
        }],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    };
    const { run } = this.machine;
    const added = await callBuiltin("bridge", { ...call, verb: "ADD", config: bridge }, run);
    assertDone(added);
    const config = { ...list, type: "firewall", ...net.firewall, prevResult: added.document };
    for (const verb of ["ADD", "CHECK"] as const) {
      assertDone(await callBuiltin("firewall", { ...call, verb, config }, run));
    }
    const closeFirewall = async () =>
      assertDone(await callBuiltin("firewall", { ...call, verb: "DEL", config }, run));
    return { netns, ips, closeFirewall };
  }

  /** Publishes the port of a pod, as the plugin for ports does. */
  async publish({ ips: [v4, v6] }: Pod, hostPort = HOST_PORT): Promise<void> {
    await this.machine.sh(
      `nft -f - <<'END'
add table inet ports
add chain inet ports pre { type nat hook prerouting priority dstnat ; }
add rule inet ports pre fib daddr type local tcp dport ${hostPort} dnat ip to ${v4}:${PORT}
add rule inet ports pre fib daddr type local tcp dport ${hostPort} dnat ip6 to [${v6}]:${PORT}
END`,
    );
  }
}

interface Pod {
  readonly netns: string;
  readonly ips: readonly [v4: string, v6: string];
  closeFirewall(): Promise<void>;
}

const UPLINK = ["192.0.2.1", "2001:db8::1"] as const;
const OUTSIDE = ["192.0.2.2", "2001:db8::2"] as const;

/** What stops forwarded packets, and whether iptables is there. */
const MACHINES: Readonly<Record<string, { readonly script: string; readonly hasIptables: boolean }>> = {
  "the rules and the policy of Docker": { script: DOCKER, hasIptables: true },
  "iptables, and a chain of nftables that drops": {
    script: "iptables -w -P FORWARD DROP; ip6tables -w -P FORWARD DROP; nft add table inet own; " +
      "nft 'add chain inet own f { type filter hook forward priority 20 ; policy drop ; }'",
    hasIptables: true,
  },
  "nftables alone, with a chain that drops": {
    script: "nft add table inet own; " +
      "nft 'add chain inet own f { type filter hook forward priority 0 ; policy drop ; }'",
    hasIptables: false,
  },
};

for (const [name, { script, hasIptables }] of Object.entries(MACHINES)) {
  Deno.test({
    name: `U36 with ${name} the ports and the connections of a pod work, and nothing else reaches it`,
    ...NEEDED,
    fn: inWorld(async (world) => {
      const node = await Node.make(world, hasIptables ? undefined : await pathWithout(world, /tables/));
      await node.machine.sh(script);
      const [a, b] = [await node.attach(RED, "a", 2), await node.attach(BLUE, "b", 2)];
      await node.publish(a);
      await using _a = await PeerServer.start(a.netns, PORT);
      await using _b = await PeerServer.start(b.netns, PORT);
      await using _outside = await PeerServer.start(node.outside, PORT);
      for (const family of [0, 1] as const) {
        assertEquals(await seenAs(a.netns, OUTSIDE[family], PORT), a.ips[family]);
        assertEquals(await seenAs(node.outside, UPLINK[family], HOST_PORT), OUTSIDE[family]);
        assertEquals(await seenAs(a.netns, b.ips[family], PORT), a.ips[family]);
        assertEquals(await seenOnce(node.outside, a.ips[family], PORT), undefined);
      }
      await a.closeFirewall();
      for (const family of [0, 1] as const) {
        assertEquals(await seenOnce(node.outside, UPLINK[family], HOST_PORT), undefined);
        assertEquals(await seenOnce(a.netns, OUTSIDE[family], PORT), undefined);
        assertEquals(await seenAs(b.netns, OUTSIDE[family], PORT), b.ips[family]);
      }
    }),
  });
}

for (const hasIptables of [true, false]) {
  const backend = hasIptables ? "iptables" : "nftables";
  Deno.test({
    name: `U37 isolated bridges do not reach each other except at published ports, with ${backend}`,
    ...NEEDED,
    fn: inWorld(async (world) => {
      const node = await Node.make(world, hasIptables ? undefined : await pathWithout(world, /tables/));
      const firewall = { ingressPolicy: "same-bridge" };
      const a = await node.attach({ ...RED, firewall }, "a", 2);
      const neighbor = await node.attach({ ...RED, firewall }, "n", 3);
      const b = await node.attach({ ...BLUE, firewall }, "b", 2);
      await node.publish(b);
      await using _a = await PeerServer.start(a.netns, PORT);
      await using _b = await PeerServer.start(b.netns, PORT);
      await using _outside = await PeerServer.start(node.outside, PORT);
      for (const family of [0, 1] as const) {
        assertEquals(await seenAs(a.netns, UPLINK[family], HOST_PORT), a.ips[family]);
        assertEquals(await seenAs(neighbor.netns, a.ips[family], PORT), neighbor.ips[family]);
        assertEquals(await seenAs(a.netns, OUTSIDE[family], PORT), a.ips[family]);
        assertEquals(await seenOnce(a.netns, b.ips[family], PORT), undefined);
        assertEquals(await seenOnce(b.netns, a.ips[family], PORT), undefined);
      }
    }),
  });

  Deno.test({
    name:
      `U44 containers that are isolated do not reach each other, but the gateway and the outside, with ${backend}`,
    ...NEEDED,
    fn: inWorld(async (world) => {
      const node = await Node.make(world, hasIptables ? undefined : await pathWithout(world, /tables/));
      // Without it the packets between two ports of a bridge pass no rule.
      await node.machine.sh(
        "sysctl -wq net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1",
      );
      const net = { ...RED, firewall: { ingressPolicy: "isolated" } };
      const [a, b] = [await node.attach(net, "a", 2), await node.attach(net, "b", 3)];
      await using _a = await PeerServer.start(a.netns, PORT);
      await using _node = await PeerServer.start(node.machine.netns, PORT);
      await using _outside = await PeerServer.start(node.outside, PORT);
      for (const [family, gateway] of [[0, "10.61.0.1"], [1, "fd00:61::1"]] as const) {
        assertEquals(await seenAs(b.netns, gateway, PORT), b.ips[family]);
        assertEquals(await seenAs(b.netns, OUTSIDE[family], PORT), b.ips[family]);
        assertEquals(await seenOnce(b.netns, a.ips[family], PORT), undefined);
      }
    }),
  });
}

Deno.test({
  name:
    "U24 what the administrator stops in CNI-ADMIN is stopped, published ports by their number on the host",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const node = await Node.make(world);
    await node.machine.sh("iptables -w -P FORWARD DROP; ip6tables -w -P FORWARD DROP");
    const a = await node.attach(RED, "a", 2);
    await node.publish(a);
    await node.publish(a, HOST_PORT + 1);
    await using _a = await PeerServer.start(a.netns, PORT);
    const rule = `-p tcp -m conntrack --ctorigdstport ${HOST_PORT} --ctdir ORIGINAL -j DROP`;
    await node.machine.sh(`iptables -w -A CNI-ADMIN ${rule}; ip6tables -w -A CNI-ADMIN ${rule}`);
    for (const family of [0, 1] as const) {
      assertEquals(await seenAs(node.outside, UPLINK[family], HOST_PORT + 1), OUTSIDE[family]);
      assertEquals(await seenOnce(node.outside, UPLINK[family], HOST_PORT), undefined);
    }
  }),
});
