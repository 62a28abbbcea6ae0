// The built-in bandwidth against the originals: the same queues, filters and interfaces, and each checks and removes what the
// other has made.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { runInside } from "../../lib/host/netns.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

type Caller = (call: Call, run: RunCommand) => Promise<Answer>;

const OURS: Caller = (call, run) => callBuiltin("bandwidth", call, run);
const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call, run) => callBinary(CNI_1_1_1, "bandwidth", call, run)],
  ["cni-1.9.1", (call, run) => callBinary(CNI_1_9_1, "bandwidth", call, run)],
];
const THEIRS = ORIGINALS[1]![1];

const INGRESS = { ingressRate: 8_000_000, ingressBurst: 1_600_000 };
const EGRESS = { egressRate: 16_000_000, egressBurst: 3_200_000 };
const BOTH = { ...INGRESS, ...EGRESS };

const CASES: Readonly<Record<string, JsonObject>> = {
  "nothing": {},
  "all zero": { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 },
  "ingress": INGRESS,
  "egress": EGRESS,
  "both": BOTH,
  "numbers that are not round": {
    ...{ ingressRate: 999_999, ingressBurst: 123_457 },
    ...{ egressRate: 7_777_777, egressBurst: 999_999 },
  },
  "the example of the documentation": {
    ingressRate: 123,
    ingressBurst: 456,
    egressRate: 123,
    egressBurst: 456,
  },
  "10 Gbit/s": { ...{ ingressRate: 1e10, ingressBurst: 1e9 }, ...{ egressRate: 1e10, egressBurst: 1e9 } },
  "50 Gbit/s": { ...{ ingressRate: 5e10, ingressBurst: 5e8 }, ...{ egressRate: 5e10, egressBurst: 5e8 } },
  "a long burst": { ...{ ingressRate: 8_000, ingressBurst: 800_000 }, ...EGRESS },
  "runtimeConfig": { runtimeConfig: { bandwidth: BOTH } },
  "runtimeConfig with ingress": { runtimeConfig: { bandwidth: INGRESS } },
  "a configuration that wins over runtimeConfig": { ...INGRESS, runtimeConfig: { bandwidth: EGRESS } },
  "a configuration of zero that wins over runtimeConfig": {
    ingressRate: 0,
    runtimeConfig: { bandwidth: EGRESS },
  },
  "a runtimeConfig without bandwidth": { ...EGRESS, runtimeConfig: {} },
};

/** A pod with a pair, and the calls for it. */
class Pod {
  private constructor(
    readonly netns: string,
    readonly name: string,
    readonly device: string,
    readonly run: RunCommand,
  ) {}

  /** `inside` is the namespace that stands for the machine; without it, it is this machine. */
  static async make(
    world: World,
    name: string,
    { inside, mtu = 1500 }: { inside?: string; mtu?: number } = {},
  ): Promise<Pod> {
    const netns = await world.netns(`pod-${name}`);
    const device = `v${name}${world.tag}`.slice(0, 15);
    const run: RunCommand = inside === undefined ? runCommand : (request) => runInside(inside, request);
    const pod = new Pod(netns, `${name}-${world.tag}`, device, run);
    await pod.addPair("eth0", device, mtu);
    return pod;
  }

  async addPair(ifName: string, device: string, mtu = 1500): Promise<void> {
    await this.host(
      `ip link add ${device} mtu ${mtu} type veth peer name ${ifName} mtu ${mtu} netns ${
        this.netns.replace(/.*\//, "")
      } && ` +
        `ip link set ${device} up`,
    );
    await sh(`ip link set ${ifName} up`, this.netns);
  }

  /** The output of a shell command on the machine. */
  async host(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.run({ program: "sh", args: ["-c", script] });
    assertEquals(code, 0, `${script}: ${stderr}`);
    return stdout;
  }

  call(
    verb: Verb,
    config: JsonObject,
    more: { ifName?: string; device?: string } & Partial<Call> = {},
  ): Call {
    const { ifName = "eth0", device = this.device } = more;
    const prevResult = {
      cniVersion: "1.0.0",
      interfaces: [{ name: "br0" }, { name: device }, { name: ifName, sandbox: this.netns }],
      ips: [{ address: "10.1.0.2/24", interface: 2 }],
      dns: {},
    };
    const own = { cniVersion: "1.0.0", name: "net", type: "bandwidth" };
    return {
      ...{ verb, containerId: this.name, netns: this.netns, ifName },
      config: { ...own, prevResult, ...config },
    };
  }

  /** Everything that the plugin may have made, apart from what is random. */
  async state(): Promise<unknown> {
    const json = async (command: string) => JSON.parse(await this.host(command) || "[]");
    const links = (await json("ip -d -j link show type ifb")).filter((link: JsonObject) =>
      String(link.ifname).startsWith("bwp")
    );
    const queues = async (device: string) => await json(`tc -j -d -r qdisc show dev ${device}`);
    const filters = await json(`tc -j filter show dev ${this.device} parent ffff: 2>/dev/null || :`);
    return {
      host: await queues(this.device),
      filters: filters.map(({ options, ...filter }: JsonObject) => ({ ...filter, ...firstAction(options) })),
      ifbs: await Promise.all(
        links.map(async ({ address: _, ifindex: __, ifalias: ___, ...link }: JsonObject) => ({
          ...link,
          queues: await queues(String(link.ifname)),
        })),
      ),
    };
  }
}

/** The original makes a second action, which no packet reaches. Their numbers are those of the whole machine. */
function firstAction(options: unknown): JsonObject {
  if (options === undefined) return {};
  const { actions = [], ...rest } = options as JsonObject & { actions?: JsonObject[] };
  return { ...rest, actions: actions.slice(0, 1).map(({ index: _, ...action }) => action) };
}

function comparable({ document }: Answer): unknown {
  const { dns = {}, interfaces, ...result } = document;
  // deno-lint-ignore no-explicit-any
  return { ...result, dns, interfaces: interfaces.map(({ mac: _, ...each }: any) => each) };
}

/** 1.1.1 leaves the queue of the ifb as the kernel makes it. */
function forRelease(state: unknown, needs: Component): unknown {
  return needs === "cni-1.1.1" ? JSON.parse(JSON.stringify(state).replaceAll(/"txqlen":\d+,?/g, "")) : state;
}

for (const [needs, original] of ORIGINALS) {
  for (const [name, config] of Object.entries(CASES)) {
    // Its CHECK crashes without any rate.
    if (needs === "cni-1.1.1" && Object.keys(config).length === 0) continue;
    Deno.test({
      name:
        `bandwidth: ${name}: the queues are those of ${needs}, and each checks and removes those of the other`,
      ...need("root", "ip", needs),
      fn: inWorld(async (world) => {
        const pod = await Pod.make(world, "a", { mtu: 1400 });
        const before = await pod.state();
        const seen: unknown[] = [];
        for (const [add, other] of [[OURS, original], [original, OURS]] as const) {
          const answer = await add(pod.call("ADD", config), runCommand);
          assertDone(answer);
          seen.push({ result: comparable(answer), state: forRelease(await pod.state(), needs) });
          const prevResult = answer.document;
          for (const caller of [add, other]) {
            assertDone(await caller(pod.call("CHECK", { ...config, prevResult }), runCommand));
          }
          for (const caller of [other, OURS, add]) {
            assertDone(await caller(pod.call("DEL", { ...config, prevResult }), runCommand));
          }
          assertEquals(await pod.state(), before);
        }
        assertEquals(seen[0], seen[1]);
      }),
    });
  }
}

Deno.test({
  name: "the bandwidth plugin makes the same queues by tc, and its CHECK and DEL work by tc too",
  ...need("root", "ip", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const inside = await world.netns("host");
    const pod = await Pod.make(world, "a", { inside });
    const before = await pod.state();
    const seen: unknown[] = [];
    for (const add of [OURS, THEIRS]) {
      const answer = await add(pod.call("ADD", BOTH), pod.run);
      assertDone(answer);
      // tc says of what link layer the packets are, which changes nothing.
      seen.push(JSON.parse(JSON.stringify(await pod.state()).replaceAll(/,"linklayer":"[a-z]+"/g, "")));
      const prevResult = answer.document;
      for (const caller of [OURS, THEIRS]) {
        assertDone(await caller(pod.call("CHECK", { ...BOTH, prevResult }), pod.run));
      }
      assertDone(await OURS(pod.call("DEL", { ...BOTH, prevResult }), pod.run));
      assertEquals(await pod.state(), before);
    }
    assertEquals(seen[0], seen[1]);
  }),
});

const REFUSED: Readonly<Record<string, readonly [config: JsonObject, code: number, says: RegExp]>> = {
  "a rate without a burst": [{ ingressRate: 1000 }, 7, /ingressBurst.*ingressRate/],
  "a burst without a rate": [{ egressBurst: 1000 }, 7, /egressRate/],
  "a rate of less than a byte": [{ egressRate: 7, egressBurst: 1000 }, 7, /egressRate.*at least 8/],
  "a burst of 4 GiB": [{ ingressRate: 1e12, ingressBurst: 2 ** 35 }, 7, /ingressBurst.*34359738360/],
  "a rate that is a text": [{ ingressRate: "1M", ingressBurst: 1 }, 7, /^ingressRate /],
  "a rate below zero": [{ ingressRate: -1, ingressBurst: 1 }, 7, /^ingressRate /],
  "a rate of runtimeConfig that is a text": [
    { runtimeConfig: { bandwidth: { egressRate: "x" } } },
    7,
    /egressRate/,
  ],
  "a latency of zero": [{ ...BOTH, latency: 0 }, 7, /^latency /],
  "subnets that are not limited": [{ ...BOTH, unshapedSubnets: ["10.0.0.0/8"] }, 2, /unshapedSubnets/],
  "subnets that are limited": [
    { runtimeConfig: { bandwidth: { ...BOTH, shapedSubnets: ["::/0"] } } },
    2,
    /shapedSubnets/,
  ],
  "no result": [{ ...BOTH, prevResult: null }, 7, /prevResult/],
  "a result without the end on the host": [
    { ...BOTH, prevResult: { cniVersion: "1.0.0", interfaces: [{ name: "lo" }] } },
    7,
    /"eth0": the other end/,
  ],
};

Deno.test({
  name:
    "U52 without the module ifb a limit of what a container sends is refused by that name, and nothing is made",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const pod = await Pod.make(world, "a");
    const before = await pod.state();
    const withoutIfb: RunCommand = async (request) => {
      const text = `${request.args?.join(" ")} ${request.stdin}`;
      if (!/\btype ifb\b/.test(text)) return await runCommand(request);
      return { ...await runCommand({ program: "true" }), code: 2, stderr: "Error: Unknown device type.\n" };
    };
    const { code, document } = await OURS(pod.call("ADD", BOTH), withoutIfb);
    assertEquals(code, 1);
    assertEquals(
      document.msg,
      "Cannot limit what the container sends: this kernel has no interfaces of the kind ifb",
    );
    assertStringIncludes(document.details, "load the module ifb");
    assertEquals(await pod.state(), before);
    // What the container receives needs none.
    assertDone(await OURS(pod.call("ADD", INGRESS), withoutIfb));
    assertDone(await OURS(pod.call("DEL", INGRESS), withoutIfb));
  }),
});

Deno.test({
  name: "U51 the bandwidth plugin refuses what it does not understand, names it, and changes nothing",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const pod = await Pod.make(world, "a");
    const before = await pod.state();
    for (const [name, [config, code, says]] of Object.entries(REFUSED)) {
      const { document } = await OURS(pod.call("ADD", config), runCommand);
      assertEquals(document.code, code, name);
      assertMatch(document.msg, says, name);
      assertEquals(await pod.state(), before, name);
    }
    const { document } = await OURS(pod.call("ADD", { ...BOTH, cniVersion: "0.2.0" }), runCommand);
    assertEquals(document.code, 1);
    assertDone(
      await OURS(pod.call("ADD", { ...BOTH, unshapedSubnets: [], shapedSubnets: null }), runCommand),
    );
    assertDone(await OURS(pod.call("DEL", { prevResult: null }), runCommand));
  }),
});

/** What changes after the ADD, and what the CHECK says of it. */
const DRIFT = (device: string, ifb: string): readonly (readonly [script: string, says: RegExp])[] => [
  [`tc qdisc del dev ${device} root`, new RegExp(`rate of "${device}" is not limited`)],
  [`tc qdisc replace dev ${device} root pfifo`, new RegExp(`rate of "${device}" is not limited`)],
  [
    `tc qdisc replace dev ${device} root handle 1: tbf rate 9mbit burst 200000b limit 225000b`,
    /is 9000000 bits a second with a burst of 1(?:599|600)\d{3} bits, not 8000000 with 1600000/,
  ],
  [
    `tc qdisc replace dev ${device} root handle 1: tbf rate 8mbit burst 200000b limit 300000b`,
    /is 8000000 bits a second/,
  ],
  [
    `tc qdisc replace dev ${device} root handle 1: tbf rate 8mbit burst 100000b limit 225000b`,
    /with a burst of 800000 bits/,
  ],
  [`tc qdisc del dev ${device} ingress`, new RegExp(`receives does not go through "${ifb}"`)],
  [`tc filter del dev ${device} parent ffff:`, new RegExp(`receives does not go through "${ifb}"`)],
  [`tc qdisc replace dev ${ifb} root pfifo`, new RegExp(`rate of "${ifb}" is not limited`)],
  [`ip link set ${ifb} down`, new RegExp(`"${ifb}" is down`)],
  [`ip link del ${ifb}`, new RegExp(`"${ifb}" is not there`)],
];

Deno.test({
  name: "the CHECK of bandwidth sees each change, and an ADD puts it right",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const pod = await Pod.make(world, "a");
    const added = await OURS(pod.call("ADD", BOTH), runCommand);
    const ifb = added.document.interfaces.at(-1).name;
    const prevResult = added.document;
    const state = await pod.state();
    for (const [script, says] of DRIFT(pod.device, ifb)) {
      await pod.host(script);
      const { code, document } = await OURS(pod.call("CHECK", { ...BOTH, prevResult }), runCommand);
      assertEquals(code, 1, script);
      assertMatch(document.msg, says);
      assertDone(await OURS(pod.call("ADD", BOTH), runCommand));
      assertDone(await OURS(pod.call("CHECK", { ...BOTH, prevResult }), runCommand));
      assertEquals(await pod.state(), state, script);
    }
    assertDone(await OURS(pod.call("DEL", BOTH), runCommand));
  }),
});

Deno.test({
  name:
    "two interfaces of a container in one network are limited each for itself, and lose only what is their own",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const pod = await Pod.make(world, "a");
    const second = `w${world.tag}`.slice(0, 15);
    await pod.addPair("eth1", second);
    const eth1 = { ifName: "eth1", device: second };
    const [first, other] = [
      await OURS(pod.call("ADD", BOTH), runCommand),
      await OURS(pod.call("ADD", BOTH, eth1), runCommand),
    ];
    for (const answer of [first, other]) assertDone(answer);
    const [a, b] = [first, other].map(({ document }) => document.interfaces.at(-1).name);
    assert(a !== b);
    assertDone(await OURS(pod.call("CHECK", { ...BOTH, prevResult: other.document }, eth1), runCommand));
    assertDone(await OURS(pod.call("DEL", { ...BOTH, prevResult: null }, eth1), runCommand));
    assertDone(await OURS(pod.call("CHECK", { ...BOTH, prevResult: first.document }), runCommand));
    assertEquals((await pod.host(`ip -o link show type ifb`)).includes(b), false);
    assertDone(await OURS(pod.call("DEL", { ...BOTH, prevResult: first.document }), runCommand));
  }),
});

Deno.test({
  name:
    "the DEL of bandwidth removes the ifb when the namespace, the interface or the result is gone, and the GC what no attachment holds",
  ...need("root", "ip", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const pod = await Pod.make(world, "a");
    const ifbs = async () => (await pod.host("ip -o link show type ifb")).match(/bwp[0-9a-f]{12}/g) ?? [];
    for (const add of [OURS, THEIRS]) {
      for (const config of [{ prevResult: null }, { egressRate: "x", prevResult: 7 }, {}]) {
        const { document } = await add(pod.call("ADD", EGRESS), runCommand);
        assertEquals(await ifbs(), [document.interfaces.at(-1).name]);
        const { netns: _, ...call } = pod.call("DEL", { prevResult: document, ...config });
        assertDone(await OURS({ ...call, netns: "" }, runCommand));
        assertDone(await OURS({ ...call, netns: "/run/netns/gone" }, runCommand));
        assertEquals(await ifbs(), []);
        await pod.host(`tc qdisc del dev ${pod.device} ingress`);
      }
    }
    const gc = (valid: readonly JsonObject[], network = "net"): Call => ({
      verb: "GC",
      config: {
        ...{ cniVersion: "1.1.0", name: network, type: "bandwidth" },
        "cni.dev/valid-attachments": valid,
      },
    });
    assertDone(await OURS(pod.call("ADD", EGRESS), runCommand));
    assertDone(await OURS(gc([{ containerID: pod.name, ifname: "eth0" }]), runCommand));
    assertDone(await OURS(gc([], "other"), runCommand));
    assertEquals((await ifbs()).length, 1);
    assertDone(await OURS(gc([]), runCommand));
    assertEquals(await ifbs(), []);
  }),
});

Deno.test({
  name:
    "U49 the burst that container engines fill in is cut to a second of the rate, and one that is too small is named",
  ...need("root", "ip", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const pod = await Pod.make(world, "a");
    const config = { ...EGRESS, ingressRate: 10_000_000, ingressBurst: 2 ** 31 - 1 };
    const { document, stderr } = await OURS(pod.call("ADD", config), runCommand);
    assertEquals(stderr.match(/is cut/g)?.length, 1, stderr);
    assertStringIncludes(stderr, "ingressBurst of 2147483647 bits is cut to one second of the rate");
    assertStringIncludes(await pod.host(`tc -r qdisc show dev ${pod.device}`), "rate 10Mbit burst 1250000b");
    assertDone(await OURS(pod.call("CHECK", { ...config, prevResult: document }), runCommand));
    assertDone(await OURS(pod.call("DEL", { ...config, prevResult: document }), runCommand));
    // That of the original is not cut, and not wrong.
    const theirs = await THEIRS(pod.call("ADD", config), runCommand);
    assertDone(await OURS(pod.call("CHECK", { ...config, prevResult: theirs.document }), runCommand));
    assertDone(await OURS(pod.call("DEL", { ...config, prevResult: theirs.document }), runCommand));
    const small = await OURS(pod.call("ADD", { egressRate: 8000, egressBurst: 8000 }), runCommand);
    assertStringIncludes(small.stderr, "egressBurst of 1000 bytes is smaller than a frame of 1514");
    assertDone(await OURS(pod.call("DEL", {}), runCommand));
  }),
});
