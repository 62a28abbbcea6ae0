import {
  assertEquals,
  assertInstanceOf,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseCidr, parseIp } from "../../lib/cni/address.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { HostError } from "../../lib/host/command.ts";
import { kernelFor } from "../../lib/kernel/choose_kernel.ts";
import { asKernelError, readAnswers } from "../../lib/kernel/ip_answers.ts";
import { IpKernel } from "../../lib/kernel/ip_kernel.ts";
import { KernelError } from "../../lib/kernel/kernel.ts";
import { findLink } from "../../lib/kernel/links.ts";
import type { Operation } from "../../lib/kernel/operation.ts";
import { FakeRun, type ScriptedOutcome } from "../fake_run.ts";

const LO = { ifname: "lo", ifindex: 1, flags: ["UP"] };
const ETH = {
  ifname: "eth0",
  ifindex: 2,
  altnames: ["long-name"],
  addr_info: [{ local: "10.1.0.2", prefixlen: 24 }],
};
const ADD: Operation = { kind: "remove-link", name: "eth0" };

/** What `apply` throws when the program ends in this way. */
async function failure(outcome: ScriptedOutcome, operations: readonly Operation[] = [ADD, ADD]) {
  const kernel = new IpKernel(new FakeRun([outcome]).run);
  return await assertRejects(() => kernel.apply(operations), KernelError);
}

Deno.test("answers are those of the questions, in their order; a change answers nothing", () => {
  const operations = [
    { kind: "set-link", name: "lo", up: true },
    { kind: "show-link", name: "lo" },
    { kind: "show-links", of: "veth" },
    { kind: "set-link", name: "lo", up: true },
    { kind: "show-link", name: "long-name" },
  ] as const;
  const [first, lo, veths, fourth, eth] = readAnswers(operations, [[LO], [ETH], [ETH]]);
  assertEquals({ first, lo: lo.isUp, veths: veths.length, fourth, eth: eth.index }, {
    first: undefined,
    lo: true,
    veths: 1,
    fourth: undefined,
    eth: 2,
  });
});

Deno.test("routes are read as ip prints them", () => {
  const question = { kind: "show-routes", family: 4 } as const;
  const [routes] = readAnswers([question], [[
    {},
    { dst: "default", gateway: "10.1.0.1", dev: "eth0", flags: [] },
    { type: "local", dst: "10.1.0.2", dev: "eth0", table: "local", protocol: "kernel" },
    {
      dst: "10.2.0.0/16",
      metric: 7,
      nexthops: [{ gateway: "10.1.0.8", dev: "eth0", weight: 3 }, { dev: 7 }],
    },
    { dst: "10.3.0.0/16", via: { family: "inet6", host: "fd00::9" }, dev: "eth1", protocol: "ra" },
    { type: "throw", dst: "odd" },
  ]]);
  const usual = {
    ...{
      isUnicast: true,
      isAdvertised: false,
      isMain: true,
      table: 254,
      metric: undefined,
      protocol: 3,
      scope: 0,
    },
    ...{ source: undefined, mtu: undefined, advmss: undefined },
  };
  const local = { isUnicast: false, isMain: false, table: 255, protocol: 2 };
  const hop = (device: string, gateway?: string) => ({ device, gateway: parseIp(gateway ?? "") });
  assertEquals(routes, [
    { ...usual, dst: parseCidr("0.0.0.0/0"), hops: [hop("eth0", "10.1.0.1")] },
    { ...usual, dst: parseCidr("10.1.0.2/32"), ...local, hops: [hop("eth0")] },
    { ...usual, dst: parseCidr("10.2.0.0/16"), metric: 7, hops: [{ ...hop("eth0", "10.1.0.8"), weight: 3 }] },
    {
      ...usual,
      dst: parseCidr("10.3.0.0/16"),
      isAdvertised: true,
      protocol: 9,
      hops: [hop("eth1", "fd00::9")],
    },
    { ...usual, dst: undefined, isUnicast: false, hops: [] },
  ]);
});

Deno.test("rules are read as ip prints them, with a table only if it has a number or a name of the kernel", () => {
  const [rules] = readAnswers([{ kind: "show-rules", family: 4 }], [[
    { priority: 0, src: "all", table: "local" },
    { priority: 5, src: "10.1.0.0", srclen: 24, table: "100", protocol: "0" },
    { priority: 6, src: "10.1.0.7", table: "office" },
    { priority: 7, not: null, src: "10.1.0.8", table: "101" },
    { priority: 8, src: "10.1.0.9", action: "blackhole" },
  ]]);
  assertEquals(rules, [
    { priority: 0, source: undefined, table: 255, isBySource: true },
    { priority: 5, source: parseCidr("10.1.0.0/24"), table: 100, isBySource: true },
    { priority: 6, source: parseCidr("10.1.0.7/32"), table: undefined, isBySource: true },
    { priority: 7, source: parseCidr("10.1.0.8/32"), table: 101, isBySource: false },
    { priority: 8, source: parseCidr("10.1.0.9/32"), table: undefined, isBySource: false },
  ]);
});

Deno.test("links shown by their kind have that kind, and addresses only if they were wanted", () => {
  const question = { kind: "show-links", of: "veth" } as const;
  const both = [question, { ...question, addresses: true }] as const;
  const [[without], [withThem]] = readAnswers(both, [[ETH], [{}, ETH]]);
  assertEquals([without?.kind, without?.addresses], ["veth", []]);
  assertEquals(withThem?.addresses, [{ address: "10.1.0.2/24", scope: "global" }]);
});

Deno.test("a link that ip shows under another name is missing", () => {
  const operations = [ADD, { kind: "show-link", name: "if1" }] as const;
  for (const shown of [[[LO]], [[]], []]) {
    const error = assertThrows(() => readAnswers(operations, shown), KernelError);
    assertEquals({ index: error.index, problem: error.problem }, { index: 1, problem: "missing" });
    assertEquals(error.message, 'Cannot show the interface "if1": ip does not show it');
  }
});

Deno.test("a failure has the operation, ip's words and what they mean", async () => {
  const cases: readonly [string, KernelError["problem"]][] = [
    ["RTNETLINK answers: File exists", "exists"],
    ["Error: ipv4: Address already assigned.", "exists"],
    ["Error: ipv6: address already assigned.", "exists"],
    ['Cannot find device "eth0"', "missing"],
    ['Device "eth0" does not exist.', "missing"],
    ["RTNETLINK answers: No such device", "missing"],
    ["Error: ipv4: Address not found.", "missing"],
    ["RTNETLINK answers: Cannot assign requested address", "missing"],
    ["RTNETLINK answers: Operation not permitted", "other"],
    ["Error: Nexthop has invalid gateway.", "other"],
  ];
  for (const [why, problem] of cases) {
    const stderr = `${why}\nCommand failed -:2\n`;
    const error = await failure({ code: 1, stderr });
    assertEquals(error.message, `Cannot remove the interface "eth0": ${why}`);
    assertEquals(
      {
        index: error.index,
        why: error.why,
        problem: error.problem,
        program: error.program,
        code: error.code,
      },
      { index: 1, why, problem, program: "ip", code: 1 },
    );
    assertEquals(error.stderr, stderr);
  }
});

Deno.test("a failure without a line has no operation", async () => {
  const words = 'Error: argument "br0" is wrong: Device does not exist';
  const unnamed = await failure({ code: 255, stderr: `${words}\n\n` });
  assertEquals({ index: unnamed.index, problem: unnamed.problem, message: unnamed.message }, {
    index: undefined,
    problem: "missing",
    message: `Cannot change the network: ${words}`,
  });
  const gone = { code: 1, stderr: "nsenter: cannot open /run/netns/a: No such file or directory\n" };
  assertEquals((await failure(gone, [{ kind: "show-links" }])).index, undefined);
  assertEquals((await failure(gone, [ADD])).index, undefined);
  assertEquals((await failure({ code: 3 })).message, "Cannot change the network: exit code 3");
});

Deno.test("where there is one operation only, it is the one at which ip ended", async () => {
  const stderr = 'Error: argument "br0" is wrong: Device does not exist\n\n';
  for (const operation of [ADD, { kind: "show-links", bridge: "br0" }] as const) {
    const { index, problem } = await failure({ code: 255, stderr }, [operation]);
    assertEquals({ index, problem }, { index: 0, problem: "missing" });
  }
  const netns = await failure(
    { code: 255, stderr: 'Error: argument "/a" is wrong: Invalid "netns" value\n' },
    [ADD],
  );
  assertEquals({ index: netns.index, problem: netns.problem }, { index: 0, problem: "missing" });
});

Deno.test("a kernel parameter that cannot be set fails before the first operation", async () => {
  const run = new FakeRun([{ code: 64, stderr: "net/ipv4/ip_forward stays 0\n" }]).run;
  const sysctls = [{ name: "net/ipv4/ip_forward", value: "1", required: true }] as const;
  const error = await assertRejects(() => new IpKernel(run).apply([ADD], { sysctls }), KernelError);
  assertEquals(error.index, undefined);
  assertEquals(
    error.message,
    "Cannot change the network: a kernel parameter cannot be set: net/ipv4/ip_forward stays 0",
  );
});

Deno.test("a refusal of the kernel is one of permission, with the hint to run as root", async () => {
  const error = asCniError(
    await failure({ code: 2, stderr: "RTNETLINK answers: Operation not permitted\nCommand failed -:1\n" }),
  );
  assertEquals({ kind: error.kind, hint: error.context.hint }, { kind: "permission", hint: "run as root" });
  const other = asCniError(await failure({ code: 2, stderr: "Cannot find device\nCommand failed -:1\n" }));
  assertEquals({ kind: other.kind, exitCode: other.context.exitCode }, { kind: "io", exitCode: 2 });
  assertStringIncludes(other.context.stderr ?? "", "Cannot find device");
});

Deno.test("errors that are not the kernel's stay what they are", async () => {
  for (const error of [new TypeError("x"), new HostError("x", { reason: "bad-output" }), "text"]) {
    assertEquals(asKernelError(error, []), error);
  }
  const missing = new IpKernel(new FakeRun([new Deno.errors.NotFound("ip")]).run);
  const error = await assertRejects(() => missing.apply([{ kind: "show-links" }]), HostError);
  assertEquals(error.reason, "program-missing");
  const broken = new IpKernel(new FakeRun([{ stdout: "[{" }]).run);
  assertEquals(
    (await assertRejects(() => broken.apply([{ kind: "show-links" }]), HostError)).reason,
    "bad-output",
  );
  const reason = new Error("stop");
  const signal = AbortSignal.abort(reason);
  assertEquals(await assertRejects(() => broken.apply([ADD], { signal })), reason);
});

Deno.test("each call starts one process, without a group of its own", async () => {
  const host = new FakeRun([{ stdout: JSON.stringify([LO]) }]);
  const kernel = new IpKernel(host.run);
  await kernel.apply([]);
  assertEquals(host.lines, []);
  await kernel.apply([{ kind: "show-links", of: "veth" }], { netns: "/run/netns/a" });
  await kernel.apply([{ kind: "show-links" }]);
  await kernel.apply([{ kind: "show-link", name: "lo" }]);
  await kernel.apply([ADD, { kind: "show-links" }]);
  assertEquals(host.lines, [
    "nsenter --net=/run/netns/a -- ip -j link show type veth",
    "ip -j -d link show",
    "ip -d -json -batch -",
    "ip -d -json -batch -",
  ]);
  assertEquals(host.requests.map(({ ownGroup = true }) => ownGroup), [false, false, false, false]);
});

Deno.test("nothing runs if a name of any operation cannot be written", async () => {
  const host = new FakeRun();
  const operations: readonly Operation[] = [ADD, { kind: "show-link", name: 'e"0' }];
  const error = await assertRejects(() => new IpKernel(host.run).apply(operations), KernelError);
  assertEquals(error.message, 'Cannot show the interface "e\\"0": ip does not accept the name "e\\"0"');
  assertEquals({ index: error.index, problem: error.problem, ran: host.lines }, {
    index: 1,
    problem: "other",
    ran: [],
  });
});

Deno.test("a link is missing only if ip says so: in a namespace that is gone nothing is known", async () => {
  const find = (outcome: ScriptedOutcome) => findLink(new IpKernel(new FakeRun([outcome]).run), "eth0");
  assertEquals(
    await find({ code: 1, stderr: 'Device "eth0" does not exist.\nCommand failed -:1\n' }),
    undefined,
  );
  assertEquals((await find({ stdout: JSON.stringify([ETH]) }))?.index, 2);
  const gone = { code: 1, stderr: "nsenter: cannot open /run/netns/a: No such file or directory\n" };
  assertInstanceOf(await find(gone).catch((error: unknown) => error), KernelError);
  const broken = { code: 1, stderr: "Cannot send link request: Invalid argument\nCommand failed -:1\n" };
  assertInstanceOf(await find(broken).catch((error: unknown) => error), KernelError);
});

Deno.test("there is one kernel for each way to run programs", () => {
  const [one, two] = [new FakeRun(), new FakeRun()];
  const kernel = kernelFor(one.run);
  assertStrictEquals(kernelFor(one.run), kernel);
  assertNotStrictEquals(kernelFor(two.run), kernel);
});
