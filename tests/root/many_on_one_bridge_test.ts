// 200 pods at once on one bridge and one range, made by the built-in plugins and by the original ones on the same folder.
import { assertEquals } from "@std/assert";
import { type Answer, assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { CNI_1_9_1, need } from "./need.ts";
import { PeerServer, seenAs } from "./plugins_traffic.ts";

const PODS = 200;
const PORT = 80;

type Caller = (call: Call) => Promise<Answer>;
const OURS: Caller = (call) => callBuiltin("bridge", call);
const THEIRS: Caller = (call) => callBinary(CNI_1_9_1, "bridge", call);
/** One pod in five is the original's. */
const makerOf = (pod: number): Caller => pod % 5 === 0 ? THEIRS : OURS;

Deno.test({
  name:
    "U8 200 pods at once on one bridge get addresses of their own, beside the original plugins, and reach the host",
  ...need("root", "ip", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const network = `net-${world.tag}`;
    const config = {
      ...{ cniVersion: "1.0.0", name: network, type: "bridge", bridge: world.bridge, isDefaultGateway: true },
      ipam: {
        ...{ type: "host-local", dataDir: world.dir },
        ranges: [[{ subnet: `${world.subnet4}.0/24` }], [{ subnet: `${world.subnet6}::/64` }]],
      },
    };
    const pods = await Promise.all(
      Array.from({ length: PODS }, async (_, pod) => ({ pod, netns: await world.netns(`pod${pod}`) })),
    );
    const callOf = ({ pod, netns }: typeof pods[number]) => ({
      ...{ containerId: `c${pod}`, netns, ifName: "eth0" },
    });
    const made = await Promise.all(pods.map(async (pod) => {
      const result = resultOf(await makerOf(pod.pod)({ ...callOf(pod), verb: "ADD", config }));
      return { ...pod, result, ips: (result.ips ?? []).map(({ address }) => address.replace(/\/.*/, "")) };
    }));
    assertEquals(new Set(made.flatMap(({ ips }) => ips)).size, 2 * PODS);
    const reserved = filesIn(`${world.dir}/${network}`);
    for (const { pod, ips } of made) {
      for (const ip of ips) assertEquals(reserved.get(ip), `c${pod}\r\neth0`, ip);
    }
    assertEquals([...reserved.keys()].filter((name) => /^[\d.]+$|::/.test(name)).length, 2 * PODS);
    {
      await using _server = await PeerServer.start("/proc/self/ns/net", PORT);
      const gateways = [`${world.subnet4}.1`, `${world.subnet6}::1`];
      for (const { pod, netns, ips } of made) {
        const family = pod % 2;
        assertEquals(await seenAs(netns, gateways[family] ?? "", PORT), ips[family], `pod ${pod}`);
      }
      const [first, last] = [made[0], made.at(-1)] as [typeof made[number], typeof made[number]];
      await using _pod = await PeerServer.start(last.netns, PORT);
      for (const family of [0, 1]) {
        assertEquals(await seenAs(first.netns, last.ips[family] ?? "", PORT), first.ips[family]);
      }
    }
    // Each is removed by the other plugin.
    const answers = await Promise.all(made.map((pod) => {
      const other = makerOf(pod.pod) === OURS ? THEIRS : OURS;
      return other({
        ...callOf(pod),
        verb: "DEL",
        config: { ...config, prevResult: { ...pod.result } } as never,
      });
    }));
    for (const answer of answers) assertDone(answer);
    const names = [...filesIn(`${world.dir}/${network}`).keys()].sort();
    assertEquals(names, ["last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
    assertEquals(await sh(`ip -o link show master ${world.bridge} 2>/dev/null || :`), "");
  }),
});

function filesIn(dir: string): ReadonlyMap<string, string> {
  const files = Array.from(Deno.readDirSync(dir)).filter(({ isFile }) => isFile);
  return new Map(files.map(({ name }) => [name, Deno.readTextFileSync(`${dir}/${name}`)]));
}
