// Traffic through the ports of the built-in portmap, with both back ends and in both families.
import { assert, assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { runCommand } from "../../lib/host/command.ts";
import type { Flow } from "../../lib/kernel/flow.ts";
import { removeFlows } from "../../lib/kernel/flows.ts";
import { assertDone } from "./builtin_call.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { DatagramClient, echoServer } from "./datagrams.ts";
import { need } from "./need.ts";
import { PeerServer, seenAs, seenOnce } from "./plugins_traffic.ts";
import { bridgePod, OURS, outside, portmapOf } from "./portmap_world.ts";

const BACKENDS = ["iptables", "nftables"] as const;
const PORT = 8080;

const ports = (...portMappings: readonly JsonObject[]) => ({ runtimeConfig: { portMappings } });

/** As on most machines, where packets between the ports of a bridge do not pass the rules. */
async function withoutBridgeRules(fn: () => Promise<void>): Promise<void> {
  const names = ["iptables", "ip6tables"].map((name) => `/proc/sys/net/bridge/bridge-nf-call-${name}`);
  const before = await sh(`cat ${names.join(" ")} 2>/dev/null || :`);
  const write = (value: string) =>
    sh(names.map((name) => `[ ! -e ${name} ] || echo ${value} >${name}`).join("; "));
  try {
    await write("0");
    await fn();
  } finally {
    if (before.startsWith("1")) await write("1");
  }
}

for (const backend of BACKENDS) {
  const needs = need("root", "ip", backend === "iptables" ? "iptables" : "nft");

  Deno.test({
    name:
      `U33 a port is reached over TCP in both families: from outside, from this machine by any of its addresses, from the ` +
      `pod itself and from a neighbour on its bridge, and not any more after the DEL (${backend})`,
    ...needs,
    fn: inWorld((world) =>
      withoutBridgeRules(async () => {
        const out = await outside(world);
        const pod = await bridgePod(world, "a", 2, { hairpinMode: true });
        const neighbour = await bridgePod(world, "b", 3);
        const mapping = { hostPort: 18080, containerPort: PORT, protocol: "tcp" };
        const single = { hostPort: 18081, containerPort: PORT, protocol: "tcp", hostIP: `${out.v4}.9` };
        const call = portmapOf(world, "a", pod, { ...ports(mapping, single), backend });
        assertDone(await OURS({ ...call, verb: "ADD" }));
        assertDone(await OURS({ ...call, verb: "CHECK" }));
        await using _pod = await PeerServer.start(pod.netns, PORT);
        const gateway = [`${world.subnet4}.1`, `${world.subnet6}::1`] as const;
        assertEquals(
          {
            outside4: await seenAs(out.netns, `${out.v4}.1`, 18080),
            outside6: await seenAs(out.netns, `${out.v6}1`, 18080),
            localhost: await seenFromHere("127.0.0.1", 18080),
            here4: await seenFromHere(`${out.v4}.1`, 18080),
            here6: await seenFromHere(`${out.v6}1`, 18080),
            hairpin4: await seenAs(pod.netns, `${out.v4}.1`, 18080),
            hairpin6: await seenAs(pod.netns, `${out.v6}1`, 18080),
            neighbour4: await seenAs(neighbour.netns, `${out.v4}.1`, 18080),
            neighbour6: await seenAs(neighbour.netns, `${out.v6}1`, 18080),
            neighbourByGateway4: await seenAs(neighbour.netns, gateway[0], 18080),
            neighbourByGateway6: await seenAs(neighbour.netns, gateway[1], 18080),
            neighbourDirect: await seenAs(neighbour.netns, `${world.subnet4}.2`, PORT),
            single: await seenAs(out.netns, `${out.v4}.9`, 18081),
            otherAddress: await seenOnce(out.netns, `${out.v4}.1`, 18081),
          },
          {
            outside4: `${out.v4}.2`,
            outside6: `${out.v6}2`,
            localhost: gateway[0],
            here4: `${out.v4}.1`,
            here6: `${out.v6}1`,
            hairpin4: gateway[0],
            hairpin6: gateway[1],
            neighbour4: gateway[0],
            neighbour6: gateway[1],
            neighbourByGateway4: gateway[0],
            neighbourByGateway6: gateway[1],
            neighbourDirect: `${world.subnet4}.3`,
            single: `${out.v4}.2`,
            otherAddress: undefined,
          },
        );
        assertDone(await OURS({ ...call, verb: "DEL" }));
        assertEquals(await seenOnce(out.netns, `${out.v4}.1`, 18080), undefined);
        assertEquals(await seenOnce(out.netns, `${out.v6}1`, 18080), undefined);
      })
    ),
  });
}

/** The original plugin ends connections to a UDP port of whichever address: no other test may have this one. */
const UDP_PORT = 18_253;

async function seenFromHere(address: string, port: number): Promise<string | undefined> {
  const script = `exec 3<>/dev/tcp/${address}/${port} && read -r line <&3 && echo "$line"`;
  const { code, stdout } = await runCommand({ program: "timeout", args: ["5", "bash", "-c", script] });
  return code === 0 ? stdout.trim() : undefined;
}
/** The UDP connections that the kernel of this machine tracks to a port, with an address of that network, as source, destination and who answers. */
async function flows(port: number, { v4 }: { readonly v4: string }): Promise<readonly string[]> {
  const lines = (await sh("cat /proc/net/nf_conntrack")).split("\n");
  return lines.flatMap((line) => {
    if (!/ udp /.test(line) || !line.includes(`${v4}.`)) return [];
    const of = (key: string) =>
      [...line.matchAll(new RegExp(` ${key}=(\\S+)`, "g"))].map(([, value]) => value);
    if (of("dport")[0] !== String(port)) return [];
    const [source, answerer] = of("src");
    return [`${source} > ${of("dst")[0]} < ${answerer}`];
  }).toSorted();
}

for (const backend of BACKENDS) {
  const needs = need("root", "ip", backend === "iptables" ? "iptables" : "nft");

  Deno.test({
    name:
      `U23 a UDP client that keeps on sending reaches the pod that has the port now, in both families (${backend})`,
    ...needs,
    fn: inWorld(async (world) => {
      const out = await outside(world);
      const [a, b] = [await bridgePod(world, "a", 2), await bridgePod(world, "b", 3)];
      const mapping = { hostPort: UDP_PORT, containerPort: PORT, protocol: "udp" };
      const config = { ...ports(mapping), backend };
      const [first, second] = [portmapOf(world, "a", a, config), portmapOf(world, "b", b, config)];
      await using _a = await echoServer(a.netns, PORT, "a");
      await using _b = await echoServer(b.netns, PORT, "b");
      await using client4 = new DatagramClient(out.netns, `${out.v4}.1`, UDP_PORT);
      await using client6 = new DatagramClient(out.netns, `${out.v6}1`, UDP_PORT);
      // Before any rule: the kernel tracks a connection to this machine itself.
      assertEquals([await client4.ask(), await client6.ask()], ["silence", "silence"]);
      assertDone(await OURS({ ...first, verb: "ADD" }));
      assertEquals([await client4.ask(), await client6.ask()], [`a ${out.v4}.2`, `a ${out.v6}2`]);
      assertDone(await OURS({ ...first, verb: "DEL" }));
      assertEquals([await client4.ask(), await client6.ask()], ["silence", "silence"]);
      assertDone(await OURS({ ...second, verb: "ADD" }));
      assertEquals([await client4.ask(), await client6.ask()], [`b ${out.v4}.2`, `b ${out.v6}2`]);
      assertDone(await OURS({ ...second, netns: "", verb: "DEL" }));
      assertEquals([await client4.ask(), await client6.ask()], ["silence", "silence"]);
    }),
  });

  Deno.test({
    name:
      `U23 a DEL and an ADD end only UDP connections of their port and their pod: those to the same port of another ` +
      `machine, and of another pod on another address, stay (${backend})`,
    ...needs,
    fn: inWorld(async (world) => {
      const out = await outside(world);
      const [a, b] = [await bridgePod(world, "a", 2), await bridgePod(world, "b", 3)];
      await sh(`ip route add ${out.v4}.0/24 via ${world.subnet4}.1 2>/dev/null || :`, a.netns);
      const on = (hostIP: string) => ({
        ...ports({ hostPort: UDP_PORT, containerPort: PORT, protocol: "udp", hostIP }),
        backend,
      });
      const first = portmapOf(world, "a", a, on(`${out.v4}.1`));
      const second = portmapOf(world, "b", b, on(`${out.v4}.9`));
      await using _a = await echoServer(a.netns, PORT, "a");
      await using _b = await echoServer(b.netns, PORT, "b");
      await using _out = await echoServer(out.netns, UDP_PORT, "out");
      assertDone(await OURS({ ...second, verb: "ADD" }));
      await using transit = new DatagramClient(a.netns, `${out.v4}.2`, UDP_PORT);
      await using other = new DatagramClient(out.netns, `${out.v4}.9`, UDP_PORT);
      assertEquals([await transit.ask(), await other.ask()], [`out ${world.subnet4}.2`, `b ${out.v4}.2`]);
      const kept = await flows(UDP_PORT, out);
      assertEquals(kept.length, 2, kept.join("\n"));
      const shown: number[] = [];
      const isSelected = ({ port }: Flow) => shown.push(port) === 0;
      assertEquals(await removeFlows(runCommand, { family: 4, port: UDP_PORT, isSelected }), 0);
      // The kernel itself leaves out the others.
      assert(shown.length >= 2 && shown.every((port) => port === UDP_PORT), shown.join(" "));
      assertDone(await OURS({ ...first, verb: "ADD" }));
      await using client = new DatagramClient(out.netns, `${out.v4}.1`, UDP_PORT);
      assertEquals(await client.ask(), `a ${out.v4}.2`);
      assertEquals((await flows(UDP_PORT, out)).length, 3);
      assertDone(await OURS({ ...first, verb: "DEL" }));
      assertEquals(await flows(UDP_PORT, out), kept);
    }),
  });

  Deno.test({
    name: `U34 each port of a range leads to its own, and packets for other machines pass (${backend})`,
    ...needs,
    fn: inWorld(async (world) => {
      const out = await outside(world);
      const pod = await bridgePod(world, "a", 2);
      const neighbour = await bridgePod(world, "b", 3);
      const shifted = Array.from({ length: 40 }, (_, at) => ({
        ...{ hostPort: 18100 + at, containerPort: 8000 + at, protocol: "tcp" },
      }));
      const same = Array.from({ length: 40 }, (_, at) => ({
        ...{ hostPort: 19100 + at, containerPort: 19100 + at, protocol: "tcp" },
      }));
      const call = portmapOf(world, "a", pod, { ...ports(...shifted, ...same), backend });
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await using _low = await PeerServer.start(pod.netns, 8000);
      await using _high = await PeerServer.start(pod.netns, 8039);
      await using _middle = await PeerServer.start(pod.netns, 19120);
      await using _far = await PeerServer.start(out.netns, 18100);
      for (
        const [v4, port] of [[true, 18100], [true, 18139], [true, 19120], [false, 18139], [
          false,
          19120,
        ]] as const
      ) {
        const [to, from] = v4 ? [`${out.v4}.1`, `${out.v4}.2`] : [`${out.v6}1`, `${out.v6}2`];
        assertEquals(await seenAs(out.netns, to, port), from, `${to} ${port}`);
        const gateway = v4 ? `${world.subnet4}.1` : `${world.subnet6}::1`;
        assertEquals(await seenAs(neighbour.netns, to, port), gateway, `${to} ${port}`);
      }
      assertEquals(await seenOnce(out.netns, `${out.v4}.1`, 18110), undefined);
      assertEquals(await seenAs(neighbour.netns, `${out.v4}.2`, 18100), `${world.subnet4}.3`);
      assertDone(await OURS({ ...call, verb: "DEL" }));
    }),
  });

  Deno.test({
    name: `U35 masqAll hides every client behind this machine (${backend})`,
    ...needs,
    fn: inWorld(async (world) => {
      const out = await outside(world);
      const pod = await bridgePod(world, "a", 2);
      const mapping = { hostPort: 18080, containerPort: PORT, protocol: "tcp" };
      const call = portmapOf(world, "a", pod, { ...ports(mapping), masqAll: true, backend });
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await using _pod = await PeerServer.start(pod.netns, PORT);
      assertEquals(await seenAs(out.netns, `${out.v4}.1`, 18080), `${world.subnet4}.1`);
      assertEquals(await seenAs(out.netns, `${out.v6}1`, 18080), `${world.subnet6}::1`);
      assertEquals(await seenFromHere("127.0.0.1", 18080), `${world.subnet4}.1`);
      // Only what came by the port.
      assertEquals(await seenAs(out.netns, `${world.subnet4}.2`, PORT), `${out.v4}.2`);
      assertDone(await OURS({ ...call, verb: "DEL" }));
    }),
  });
}
