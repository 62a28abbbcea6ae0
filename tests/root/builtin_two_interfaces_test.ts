// Two interfaces of one container in one network that masquerades through iptables: the rules of both are in one
// chain, as in the CNI plugins project, and what happens to one interface must not take the rules of the other.
import { assertEquals } from "@std/assert";
import { freeLeftovers } from "../../lib/builtin/leftovers.ts";
import { formatCidr, parseCidr } from "../../lib/cni/address.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

type IfName = "eth0" | "eth1";
type Caller = (call: Call) => Promise<Answer>;

const OURS: Caller = (call) => callBuiltin("bridge", call);
const RELEASES: readonly { release: string; needs: Component; theirs: Caller }[] = [
  { release: "1.1.1", needs: "cni-1.1.1", theirs: (call) => callBinary(CNI_1_1_1, "bridge", call) },
  { release: "1.9.1", needs: "cni-1.9.1", theirs: (call) => callBinary(CNI_1_9_1, "bridge", call) },
];
const BOTH: readonly IfName[] = ["eth0", "eth1"];
const NOT_AT_LAST = BOTH.flatMap((first) => [{ first, last: BOTH.find((name) => name !== first)! }]);

/** How a DEL is asked for. */
interface DelOptions {
  readonly by?: Caller;
  /** @default {true} */
  readonly hasResult?: boolean;
  /** @default {true} */
  readonly hasNetns?: boolean;
}

/** One container that has both interfaces. */
class Pair {
  readonly #results = new Map<IfName, JsonObject>();

  private constructor(readonly world: World, readonly netns: string, readonly hasIpv6: boolean) {}

  static async added(world: World, by: Caller = OURS, { hasIpv6 = true } = {}): Promise<Pair> {
    const pair = new Pair(world, await world.netns("a"), hasIpv6);
    for (const ifName of BOTH) await pair.add(ifName, by);
    return pair;
  }

  get network(): string {
    return `net-${this.world.tag}`;
  }

  get containerId(): string {
    return `c-${this.world.tag}`;
  }

  config(cniVersion = "1.0.0"): JsonObject {
    const { world } = this;
    const subnets = [`${world.subnet4}.0/24`, ...this.hasIpv6 ? [`${world.subnet6}::/64`] : []];
    return {
      cniVersion,
      name: this.network,
      type: "bridge",
      bridge: world.bridge,
      isGateway: true,
      ipMasq: true,
      ipMasqBackend: "iptables",
      ipam: {
        type: "host-local",
        dataDir: world.dir,
        ranges: subnets.map((subnet) => [{ subnet }]),
      },
    };
  }

  call(ifName: IfName): Omit<Call, "verb"> {
    const { containerId, netns } = this;
    return { containerId, netns, ifName, config: this.config() };
  }

  async add(ifName: IfName, by: Caller = OURS): Promise<void> {
    const answer = await by({ ...this.call(ifName), verb: "ADD" });
    resultOf(answer);
    this.#results.set(ifName, answer.document);
  }

  async del(
    ifName: IfName,
    { by = OURS, hasResult = true, hasNetns = true }: DelOptions = {},
  ): Promise<Answer> {
    const call = this.call(ifName);
    const prevResult = this.#results.get(ifName) ?? {};
    return await by({
      ...call,
      verb: "DEL",
      config: hasResult ? { ...call.config, prevResult } : call.config,
      netns: hasNetns ? this.netns : "",
    });
  }

  addresses(ifName: IfName): readonly string[] {
    const ips = this.#results.get(ifName)?.ips as readonly { readonly address: string }[];
    return ips.map(({ address }) => address);
  }

  /** Asserts that the rules are those of these interfaces, in one chain for each family, and no others. */
  async assertRules(...ifNames: readonly IfName[]): Promise<void> {
    const addresses = ifNames.flatMap((name) => this.addresses(name)).map((text) => text.split("/")[0]!);
    const { subnet4, subnet6 } = this.world;
    const words = (await rulesOf(this.containerId)).map((line) =>
      line.replace(/ -m comment --comment ".*" -j /, " -j ").replaceAll(/CNI-[0-9a-f]{24}/g, "CHAIN")
    );
    const family = (network: string, multicast: string) =>
      ifNames.length === 0
        ? []
        : [`-A CHAIN -d ${network} -j ACCEPT`, `-A CHAIN ! -d ${multicast} -j MASQUERADE`];
    const jumps = addresses.map((ip) => `-A POSTROUTING -s ${ip}/${ip.includes(":") ? 128 : 32} -j CHAIN`);
    assertEquals(words.filter((line) => line.includes("POSTROUTING")).sort(), jumps.sort());
    assertEquals(words.filter((line) => !line.includes("POSTROUTING")), [
      ...family(`${subnet4}.0/24`, "224.0.0.0/4"),
      ...family(formatCidr(parseCidr(`${subnet6}::/64`)!), "ff00::/8"),
    ]);
  }

  /** Asserts that neither rules nor chains are left. */
  async assertNothing(chains: readonly string[]): Promise<void> {
    await this.assertRules();
    const all = await sh("iptables-save -t nat; ip6tables-save -t nat");
    for (const chain of chains) assertEquals(all.includes(chain), false, all);
  }

  /** Returns the names of the chains. */
  async chains(): Promise<readonly string[]> {
    const found = (await rulesOf(this.containerId)).flatMap((line) => /CNI-[0-9a-f]{24}/.exec(line) ?? []);
    return [...new Set(found)];
  }
}

/** The rules of both families that name a container, IPv4 first. */
async function rulesOf(containerId: string): Promise<string[]> {
  const text = await sh("iptables-save -t nat; ip6tables-save -t nat");
  return text.split("\n").filter((line) => line.includes(containerId));
}

const needs = need("root", "ip", "iptables");

for (const { first, last } of NOT_AT_LAST) {
  for (
    const [how, options] of [
      ["", {}],
      [", without a result", { hasResult: false }],
      [", without a namespace", { hasNetns: false }],
      [", without both", { hasResult: false, hasNetns: false }],
    ] as const
  ) {
    Deno.test({
      name: `DEL of ${first}${how} leaves the rules of ${last}, and DEL of that leaves nothing`,
      ...needs,
      fn: inWorld(async (world) => {
        const pair = await Pair.added(world);
        const chains = await pair.chains();
        assertEquals(chains.length, 1);
        await pair.assertRules("eth0", "eth1");
        assertDone(await pair.del(first, options));
        await pair.assertRules(last);
        // A runtime may repeat it, and the address may be gone from the store meanwhile.
        assertDone(await pair.del(first, options));
        await pair.assertRules(last);
        assertDone(await pair.del(last, options));
        await pair.assertNothing(chains);
      }),
    });
  }
}

Deno.test({
  name:
    "an ADD after the DEL of one interface joins the rules of the other, and a failed ADD takes only its own",
  ...needs,
  fn: inWorld(async (world) => {
    const pair = await Pair.added(world);
    const chains = await pair.chains();
    assertDone(await pair.del("eth0"));
    await pair.add("eth0");
    await pair.assertRules("eth0", "eth1");
    assertDone(await pair.del("eth1"));
    // Fails after the rules are made, in the namespace.
    const run: RunCommand = async (request) => {
      if (!request.stdin?.includes("address add")) return await runCommand(request);
      for (let turn = 0; turn < 200 && (await rulesOf(pair.containerId)).length < 8; turn++);
      return await runCommand({ ...request, stdin: "address add nonsense\n" });
    };
    const answer = await callBuiltin("bridge", { ...pair.call("eth1"), verb: "ADD" }, run);
    assertEquals(answer.code === 0, false);
    await pair.assertRules("eth0");
    assertDone(await pair.del("eth0"));
    await pair.assertNothing(chains);
  }),
});

Deno.test({
  name: "rules of an address that the store has lost stay while the address is in the namespace",
  ...needs,
  fn: inWorld(async (world) => {
    const pair = await Pair.added(world);
    const chains = await pair.chains();
    await Deno.remove(`${world.dir}/${pair.network}`, { recursive: true });
    assertDone(await pair.del("eth1", { hasResult: false }));
    await pair.assertRules("eth0");
    assertDone(await pair.del("eth0", { hasResult: false }));
    await pair.assertNothing(chains);
  }),
});

Deno.test({
  name: "what is freed without the plugins is that of one interface, with and without its result",
  ...needs,
  fn: inWorld(async (world) => {
    const pair = await Pair.added(world);
    const chains = await pair.chains();
    const free = async (ifName: IfName, addresses: readonly string[]) => {
      const { containerId, network } = pair;
      const config = JSON.stringify(pair.config());
      const host = { run: runCommand, signal: new AbortController().signal };
      const { remaining } = await freeLeftovers(
        { network, containerId, ifName, config, netns: "", addresses },
        host,
      );
      assertEquals(remaining, []);
    };
    // As after a DEL of the CNI plugins project without a namespace, which frees the addresses only.
    assertDone(await callBuiltin("host-local", { ...pair.call("eth1"), verb: "DEL" }));
    await free("eth1", pair.addresses("eth1"));
    await pair.assertRules("eth0");
    await pair.add("eth1");
    await free("eth1", []);
    await pair.assertRules("eth0");
    await free("eth0", []);
    await pair.assertNothing(chains);
  }),
});

Deno.test({
  name: "GC removes the rules of an interface that is not valid any more, and keeps those of the valid one",
  ...needs,
  fn: inWorld(async (world) => {
    const pair = await Pair.added(world);
    const chains = await pair.chains();
    const gc = async (...valid: readonly IfName[]) => {
      const { containerId: containerID } = pair;
      const attachments = valid.map((ifname) => ({ containerID, ifname }));
      const config = { ...pair.config("1.1.0"), "cni.dev/valid-attachments": attachments };
      assertDone(await callBuiltin("bridge", { verb: "GC", config }));
    };
    await gc("eth0", "eth1");
    await pair.assertRules("eth0", "eth1");
    await gc("eth0");
    await pair.assertRules("eth0");
    await gc();
    await pair.assertNothing(chains);
  }),
});

for (const { release, needs: component, theirs } of RELEASES) {
  Deno.test({
    name: `the bridge of ${release} removes what the built-in one left of two interfaces`,
    ...need("root", "ip", "iptables", component),
    fn: inWorld(async (world) => {
      const pair = await Pair.added(world);
      const chains = await pair.chains();
      assertDone(await pair.del("eth1"));
      await pair.assertRules("eth0");
      assertDone(await pair.del("eth0", { by: theirs }));
      await pair.assertNothing(chains);
    }),
  });

  Deno.test({
    name: `the bridge of ${release} removes both interfaces of the built-in one`,
    ...need("root", "ip", "iptables", component),
    fn: inWorld(async (world) => {
      // It deletes the chain for each interface, and cannot while the jump of the other one is there. With two families
      // 1.1.1 gives up at the first, and leaves the rules of the second behind: its own as well.
      const pair = await Pair.added(world, OURS, { hasIpv6: false });
      const chains = await pair.chains();
      const { code, document } = await pair.del("eth1", { by: theirs });
      assertEquals([code, /CHAIN_DEL failed/.test(document?.msg)], [1, true]);
      assertDone(await pair.del("eth0", { by: theirs }));
      await pair.assertNothing(chains);
    }),
  });

  Deno.test({
    name: `the built-in bridge removes one interface after the other of what that of ${release} made`,
    ...need("root", "ip", "iptables", component),
    fn: inWorld(async (world) => {
      const pair = await Pair.added(world, theirs);
      const chains = await pair.chains();
      await pair.assertRules("eth0", "eth1");
      assertDone(await pair.del("eth1"));
      await pair.assertRules("eth0");
      await pair.add("eth1");
      await pair.assertRules("eth0", "eth1");
      assertDone(await pair.del("eth0", { hasResult: false }));
      await pair.assertRules("eth1");
      assertDone(await pair.del("eth1", { hasResult: false, hasNetns: false }));
      await pair.assertNothing(chains);
    }),
  });
}
