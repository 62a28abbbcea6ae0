// One `ip` for many calls, against the kernel of this machine: it must never mistake one interface for another.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type CommandRequest, runCommand } from "../../lib/host/command.ts";
import { IpKernel } from "../../lib/kernel/ip_kernel.ts";
import { keepIp } from "../../lib/kernel/ip_use.ts";
import { type Kernel, KernelError } from "../../lib/kernel/kernel.ts";
import { findLink } from "../../lib/kernel/links.ts";
import type { Operation } from "../../lib/kernel/operation.ts";
import { Costs } from "../root/costs.ts";
import { need } from "../root/need.ts";
import { until } from "../until.ts";
import { printedBy } from "./denow_process.ts";
import { cidr, MAC, OTHER_MAC, sh } from "./world.ts";

interface World {
  readonly kernel: Kernel;
  /** The name of an interface that is removed at the end. */
  name(letter: string): string;
}

/** Runs a test in this process's own namespace, while `ip` is kept. */
function keptTest(sentence: string, fn: (world: World) => Promise<void>): void {
  Deno.test({
    name: sentence,
    ...need("root", "ip"),
    fn: async () => {
      const tag = crypto.getRandomValues(new Uint8Array(4)).toHex();
      const names = new Set<string>();
      try {
        await using _ip = keepIp();
        await fn({
          kernel: new IpKernel(runCommand),
          name: (letter) => {
            names.add(`k${tag}${letter}`);
            return `k${tag}${letter}`;
          },
        });
      } finally {
        for (const name of names) await sh('ip link delete dev "$0" 2>/dev/null || :', name);
      }
    },
  });
}

const bridge = (name: string, mac = MAC) => ({ kind: "create-bridge", name, mac }) as const;
const alias = (name: string, text: string) => ({ kind: "set-link", name, alias: text }) as const;

/** Fails, and says which operation did. */
async function failing(kernel: Kernel, ...operations: readonly Operation[]) {
  const { index, problem } = await assertRejects(() => kernel.apply(operations), KernelError);
  return [index, problem];
}

keptTest("many calls start no more programs, and get the answers to their own questions", async (world) => {
  const { kernel } = world;
  // One with details, and one without.
  await kernel.apply([{ kind: "show-link", name: "lo" }]);
  await kernel.apply([bridge(world.name("a"))]);
  using costs = new Costs();
  const names = Array.from({ length: 20 }, (_, n) => world.name(`${n}`));
  await Promise.all(names.map(async (name, n) => {
    const address = cidr(`10.99.${n}.1/24`);
    await kernel.apply([bridge(name), {
      kind: "set-link",
      name,
      alias: `the alias "${n}"`.replaceAll('"', ""),
      up: true,
    }]);
    const [, link] = await kernel.apply([{ kind: "add-address", device: name, address }, {
      kind: "show-link",
      name,
    }]);
    assertEquals(
      [link.name, link.kind, link.mac, link.alias, link.isUp, link.addresses[0]?.address],
      [name, "bridge", MAC, `the alias ${n}`, true, `10.99.${n}.1/24`],
    );
  }));
  assertEquals(costs.take().programs, []);
});

keptTest("the first operation that fails ends the call, and those before it stay done", async (world) => {
  const { kernel } = world;
  const [a, b] = [world.name("a"), world.name("b")];
  assertEquals(await failing(kernel, bridge(a), bridge(a), bridge(b)), [1, "exists"]);
  assert(await findLink(kernel, a) !== undefined);
  assertEquals(await findLink(kernel, b), undefined);
  for (const kind of ["remove-link", "show-link", "set-link"] as const) {
    assertEquals(await failing(kernel, alias(a, "x"), { kind, name: b, up: true }), [1, "missing"]);
  }
  const address = cidr("10.98.0.1/24");
  const add = { kind: "add-address", device: a, address } as const;
  assertEquals(await failing(kernel, add, add), [1, "exists"]);
  assertEquals(await failing(kernel, { ...add, kind: "remove-address", address: cidr("10.9.0.1/24") }), [
    0,
    "missing",
  ]);
  // Here ip ends, with the next line unread.
  const peer = { name: "eth0", mac: OTHER_MAC, netns: "/absent" };
  const pair = { kind: "create-veth", name: b, mac: MAC, bridge: a, peer } as const;
  assertEquals(await failing(kernel, pair, bridge(b)), [undefined, "missing"]);
  assertEquals(await failing(kernel, pair), [0, "missing"]);
  assertEquals(await findLink(kernel, b), undefined);
  const [link] = await kernel.apply([{ kind: "show-link", name: a }]);
  assertEquals([link.alias, link.addresses.length], ["x", 1]);
});

keptTest("an interface that was removed and made again is not mistaken for the old one", async (world) => {
  const { kernel } = world;
  const a = world.name("a");
  await kernel.apply([bridge(a), alias(a, "old")]);
  for (const operation of [alias(a, "new"), { kind: "show-link", name: a }] as const) {
    await kernel.apply([alias(a, "old")]);
    // Remembered, and gone.
    await kernel.apply([{ kind: "show-link", name: a }]);
    await sh('ip link delete dev "$0" && ip link add "$0" type bridge', a);
    await kernel.apply([operation]);
  }
  await kernel.apply([{ kind: "remove-link", name: a }]);
  await kernel.apply([bridge(a), alias(a, "third")]);
  assertStringIncludes(await sh('ip link show dev "$0"', a), "alias third");
  await sh('ip link delete dev "$0"', a);
  assertEquals(await failing(kernel, alias(a, "new")), [0, "missing"]);
  assertEquals(await findLink(kernel, a), undefined);
});

keptTest("an interface that has the name of another one by now is the one that is meant", async (world) => {
  const { kernel } = world;
  const [a, b, other] = [world.name("a"), world.name("b"), world.name("c")];
  await kernel.apply([bridge(a), bridge(b, OTHER_MAC), alias(a, "first"), alias(b, "second")]);
  const changes: readonly Operation[] = [
    alias(a, "changed"),
    { kind: "set-link", name: a, up: true },
    { kind: "add-address", device: a, address: cidr("10.97.0.1/24") },
    { kind: "remove-link", name: a },
  ];
  let macs = [MAC, OTHER_MAC];
  for (const change of changes) {
    for (const name of [a, b]) await kernel.apply([{ kind: "show-link", name }]);
    await sh(
      'ip link set dev "$0" name "$2" && ip link set dev "$1" name "$0" && ip link set dev "$2" name "$1"',
      a,
      b,
      other,
    );
    macs = macs.toReversed();
    const before = await sh('ip -d -o address show dev "$0"; ip -d -o link show dev "$0"', b);
    await kernel.apply([change]);
    assertEquals(await sh('ip -d -o address show dev "$0"; ip -d -o link show dev "$0"', b), before);
    if (change.kind === "remove-link") break;
    const [link] = await kernel.apply([{ kind: "show-link", name: a }]);
    assertEquals([link.name, link.mac], [a, macs[0]]);
    await sh('ip link set dev "$0" down', a);
  }
  assertEquals(await findLink(kernel, a), undefined);
  assertEquals((await findLink(kernel, b))?.mac, macs[1]);
});

keptTest("the other end of a pair that got another name is shown by that name", async (world) => {
  const { kernel } = world;
  const [a, b, c] = [world.name("a"), world.name("b"), world.name("c")];
  await sh('ip link add "$0" type veth peer name "$1"', a, b);
  const parent = async () => (await kernel.apply([{ kind: "show-link", name: b }]))[0].parent;
  assertEquals(await parent(), a);
  await sh('ip link set dev "$0" name "$1"', a, c);
  assertEquals(await parent(), c);
  // By an operation of this process too, and then an interface takes the name that is free.
  await kernel.apply([{ kind: "set-link", name: c, newName: a }]);
  await kernel.apply([bridge(c), alias(c, "another")]);
  assertEquals([await parent(), (await kernel.apply([{ kind: "show-link", name: c }]))[0].kind], [
    a,
    "bridge",
  ]);
});

keptTest("a bridge that got another name is shown by that name", async (world) => {
  const { kernel } = world;
  const [a, b, other] = [world.name("a"), world.name("b"), world.name("c")];
  await kernel.apply([bridge(a)]);
  await sh('ip link add "$1" master "$0" type veth peer name "${1}p"', a, b);
  const master = async () => (await kernel.apply([{ kind: "show-link", name: b }]))[0].master;
  assertEquals(await master(), a);
  await sh('ip link set dev "$0" name "$1"', a, other);
  assertEquals(await master(), other);
});

keptTest("no interface is found by a name that ip makes up for an index", async ({ kernel }) => {
  for (const name of ["if1", "if77", "a-name-that-is-too-long"]) {
    assertEquals(await findLink(kernel, name), undefined, name);
  }
});

keptTest("a call that is aborted ends, and the next one gets its own answer", async (world) => {
  const { kernel } = world;
  const reason = new Error("enough");
  for (let round = 0; round < 10; round++) {
    const stop = new AbortController();
    const names = Array.from({ length: 10 }, (_, n) => world.name(`${round}${n}`));
    const call = kernel.apply(names.map((name) => bridge(name)), { signal: stop.signal });
    await kernel.apply([{ kind: "show-link", name: "lo" }]).then(() => stop.abort(reason), () => {});
    const outcome = await call.then(() => "done", (error: unknown) => error);
    assert(outcome === "done" || outcome === reason, String(outcome));
    // What was under way is done or not; nothing comes later.
    const left = await sh('ip -o link show | grep -c "$0" || :', world.name(`${round}`));
    const [lo] = await kernel.apply([{ kind: "show-link", name: "lo" }]);
    assertEquals(lo.name, "lo");
    assertEquals(await sh('ip -o link show | grep -c "$0" || :', world.name(`${round}`)), left);
  }
  const stopped = AbortSignal.abort(reason);
  assertEquals(
    await assertRejects(() => kernel.apply([bridge(world.name("z"))], { signal: stopped })),
    reason,
  );
});

Deno.test("programs that run elsewhere, or are looked for elsewhere, are not kept", async () => {
  await using _ip = keepIp();
  const started: string[] = [];
  const kernel = new IpKernel((request: CommandRequest) => {
    started.push([request.program, ...request.args ?? []].join(" "));
    const outcome = { code: 0, signal: null, stdout: "", stderr: "", elapsedMs: 0, ended: "exit" } as const;
    return Promise.resolve(outcome);
  });
  await kernel.apply([bridge("br0")]);
  assertEquals(started, ["ip -json -batch -"]);
});

Deno.test({
  name: "an ip that is kept does not keep this process alive, and ends with it",
  ...need("root", "ip"),
  fn: async () => {
    const flags = ["--allow-read", "--allow-run"];
    const pid = await printedBy("./kept_ip_process.ts", flags);
    assert(/^\d+$/.test(pid), pid);
    await until(async () =>
      (await sh('test -e "/proc/$0" && echo there || echo gone', pid)).trim() === "gone"
    );
  },
});

Deno.test({
  name: "an ip that is kept ends when this process is killed",
  ...need("root", "ip"),
  fn: async () => {
    const flags = ["--allow-read", "--allow-run"];
    // 128 and the number of KILL.
    const pid = await printedBy("./kept_ip_process.ts", flags, ["kill"], { code: 137 });
    assert(/^\d+$/.test(pid), pid);
    await until(async () =>
      (await sh('test -e "/proc/$0" && echo there || echo gone', pid)).trim() === "gone"
    );
  },
});
