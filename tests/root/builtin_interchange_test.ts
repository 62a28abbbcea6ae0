// What one program attached, the other can check and detach: the built-in plugins against the reference
// plugins, with real files, interfaces and rules.
import { assert, assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, masqueradeRules, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

type Caller = (type: string, call: Call) => Promise<Answer>;

const OURS: Caller = (type, call) => callBuiltin(type, call);
const THEIRS: Readonly<Record<"1.1.1" | "1.9.1", { readonly call: Caller; readonly needs: Component }>> = {
  "1.1.1": { call: (type, call) => callBinary(CNI_1_1_1, type, call), needs: "cni-1.1.1" },
  "1.9.1": { call: (type, call) => callBinary(CNI_1_9_1, type, call), needs: "cni-1.9.1" },
};

interface Way {
  readonly release: keyof typeof THEIRS;
  /** Undefined for the choice that each plugin makes by itself. */
  readonly ipMasqBackend?: "iptables" | "nftables";
}

const WAYS: readonly Way[] = [
  { release: "1.1.1" },
  { release: "1.9.1" },
  { release: "1.9.1", ipMasqBackend: "iptables" },
  { release: "1.9.1", ipMasqBackend: "nftables" },
];

function bridgeConfig(world: World, { ipMasqBackend }: Way): JsonObject {
  return {
    cniVersion: "1.0.0",
    name: `net-${world.tag}`,
    type: "bridge",
    bridge: world.bridge,
    isDefaultGateway: true,
    ipMasq: true,
    ...(ipMasqBackend === undefined ? {} : { ipMasqBackend }),
    ipam: {
      type: "host-local",
      dataDir: world.dir,
      ranges: [[{ subnet: `${world.subnet4}.0/24` }], [{ subnet: `${world.subnet6}::/64` }]],
    },
  };
}

function files(world: World): Record<string, string> {
  const dir = `${world.dir}/net-${world.tag}`;
  const names = Array.from(Deno.readDirSync(dir), ({ name }) => name).filter((name) => name !== "lock")
    .sort();
  return Object.fromEntries(names.map((name) => [name, Deno.readTextFileSync(`${dir}/${name}`)]));
}

async function rulesOf(containerId: string): Promise<string[]> {
  return (await masqueradeRules(containerId)).sort();
}

/**
 * DEL that accepts one failure of the reference plugin: after an ADD with nftables, its own included, it
 * removes everything and then reports that there is no chain in iptables, because it does not know the
 * message of iptables 1.8.
 */
async function detach(way: Way, del: Caller, call: Omit<Call, "verb">): Promise<void> {
  const answer = await del("bridge", { ...call, verb: "DEL" });
  const isKnown = way.ipMasqBackend === "nftables" && del !== OURS && answer.code === 1 &&
    String(answer.document.msg).includes("does not exist");
  if (!isKnown) assertDone(answer);
}

async function attachAndDetach(world: World, way: Way, add: Caller, del: Caller): Promise<void> {
  const netns = await world.netns("a");
  const containerId = `c-${world.tag}`;
  const call = { containerId, netns, ifName: "eth0", config: bridgeConfig(world, way) };
  const answer = await add("bridge", { ...call, verb: "ADD" });
  resultOf(answer);
  assert((await rulesOf(containerId)).length > 0, "no masquerading");
  const config = { ...call.config, prevResult: answer.document };
  assertDone(await del("bridge", { ...call, config, verb: "CHECK" }));
  await detach(way, del, { ...call, config });
  assertEquals(await rulesOf(containerId), []);
  assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
  assertEquals((await sh("ip -o link show", netns)).trim().split("\n").length, 1);
  assertEquals(Object.keys(files(world)), ["last_reserved_ip.0", "last_reserved_ip.1"]);
}

for (const way of WAYS) {
  const { call: theirs, needs } = THEIRS[way.release];
  const label = `${way.release}${way.ipMasqBackend === undefined ? "" : `, ${way.ipMasqBackend}`}`;
  Deno.test({
    name: `what the built-in bridge attached, the bridge of ${label} checks and detaches`,
    ...need("root", "ip", "nft", "iptables", needs),
    fn: inWorld((world) => attachAndDetach(world, way, OURS, theirs)),
  });
  Deno.test({
    name: `what the bridge of ${label} attached, the built-in one checks and detaches`,
    ...need("root", "ip", "nft", "iptables", needs),
    fn: inWorld((world) => attachAndDetach(world, way, theirs, OURS)),
  });
  Deno.test({
    name: `both bridges write the same files and rules (${label})`,
    ...need("root", "ip", "nft", "iptables", needs),
    fn: inWorld(async (world) => {
      const seen: unknown[] = [];
      for (const [name, caller] of [["a", OURS], ["b", theirs]] as const) {
        const call = {
          containerId: `c-${world.tag}`,
          netns: await world.netns(name),
          ifName: "eth0",
          config: bridgeConfig(world, way),
        };
        const { ips, routes } = resultOf(await caller("bridge", { ...call, verb: "ADD" }));
        seen.push({ ips, routes, files: files(world), rules: await rulesOf(call.containerId) });
        await detach(way, caller, call);
        await Deno.remove(`${world.dir}/net-${world.tag}`, { recursive: true });
      }
      assertEquals(seen[0], seen[1]);
    }),
  });
}

Deno.test({
  name: "both host-locals allocate from one store, in turn and at once",
  ...need("root", "cni-1.1.1", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const callers = [OURS, THEIRS["1.1.1"].call, THEIRS["1.9.1"].call];
    const config = {
      cniVersion: "1.0.0",
      name: `net-${world.tag}`,
      type: "bridge",
      ipam: {
        type: "host-local",
        dataDir: world.dir,
        ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00::/64" }]],
      },
    };
    const call = (n: number) => ({ containerId: `c${n}`, netns: "/run/netns/none", ifName: "eth0", config });
    const add = async (n: number) => {
      const { ips = [] } = resultOf(await callers[n % 3]!("host-local", { ...call(n), verb: "ADD" }));
      return ips.map(({ address }) => address);
    };
    for (let n = 0; n < 6; n++) assertEquals(await add(n), [`10.1.2.${n + 2}/24`, `fd00::${n + 2}/64`]);
    const more = await Promise.all(Array.from({ length: 24 }, (_, n) => add(n + 6)));
    assertEquals(new Set(more.flat()).size, 48);
    // Whichever plugin added it, the next of the three frees it.
    for (let n = 0; n < 30; n++) {
      const other = callers[(n + 1) % 3]!;
      assertDone(await other("host-local", { ...call(n), verb: "CHECK" }));
      assertDone(await other("host-local", { ...call(n), verb: "DEL" }));
    }
    assertEquals(Object.keys(files(world)), ["last_reserved_ip.0", "last_reserved_ip.1"]);
  }),
});
