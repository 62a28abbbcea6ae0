import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { inspectNetns } from "../../lib/pod/inspect_netns.ts";
import { loopbackUp } from "../../lib/pod/loopback.ts";
import { FakeRun } from "../fake_run.ts";

/** The namespace of the tests themselves; it only has to be a namespace. */
const NETNS = "/proc/self/ns/net";

/** What `ip` prints for `lo` with these addresses. */
function loJson(addresses: readonly string[], flags: readonly string[] = ["LOOPBACK", "UP"]): string {
  const addr_info = addresses.map((text) => {
    const [local = "", prefixlen] = text.split("/");
    return { family: local.includes(":") ? "inet6" : "inet", local, prefixlen: Number(prefixlen) };
  });
  return `${JSON.stringify([{ ifname: "lo", flags, addr_info }])}\n`;
}

const upWith = (host: FakeRun) => loopbackUp(NETNS, { run: host.run });
const refusal = (host: FakeRun) => assertRejects(() => upWith(host), CniError);

Deno.test("F99 one process brings lo up in the namespace and shows it", async () => {
  const host = new FakeRun([{ stdout: loJson(["127.0.0.1/8", "127.9.9.9/32", "::1/128"]) }]);
  await upWith(host);
  assertEquals(host.lines, [`nsenter --net=${NETNS} -- ip -d -json -batch -`]);
  assertEquals(host.requests[0]?.stdin, "link set dev lo up\naddr show dev lo\n");
});

Deno.test("F99 an address of lo that is not for loopback is refused, and the error names it", async () => {
  for (const address of ["10.9.9.9/32", "128.0.0.1/8", "fd00::1/64", "::2/128", "0.0.0.0/0"]) {
    const error = await refusal(new FakeRun([{ stdout: loJson(["127.0.0.1/8", address, "::1/128"]) }]));
    assertEquals(error.kind, "conflict");
    assertEquals(
      error.message,
      `Cannot bring up lo in network namespace "${NETNS}": it has the address ${address}, which is not for loopback`,
    );
  }
});

Deno.test("F99 the error for lo that cannot be brought up has the words of ip, and output that is not JSON is an error", async () => {
  const denied = { code: 1, stderr: "RTNETLINK answers: Operation not permitted\nCommand failed -:1\n" };
  const error = await refusal(new FakeRun([denied]));
  assertStringIncludes(error.message, "Operation not permitted");
  await refusal(new FakeRun([{ stdout: "" }]));
  await refusal(new FakeRun([{ stdout: "lo: <UP>" }]));
});

Deno.test("F100 lo that is down, and an address of it that is not for loopback, are reported", async () => {
  const problem = async (stdout: string) =>
    (await inspectNetns(NETNS, { run: new FakeRun([{ stdout }]).run })).problem;
  assertEquals(await problem(loJson(["127.0.0.1/8", "::1/128"])), undefined);
  assertEquals(await problem(loJson([])), undefined);
  assertEquals(await problem(loJson(["127.0.0.1/8"], ["LOOPBACK"])), "lo is down");
  assertEquals(await problem("[]"), "lo is down");
  assertEquals(
    await problem(loJson(["10.9.9.9/32"])),
    "lo has the address 10.9.9.9/32, which is not for loopback",
  );
});

Deno.test("F101 a path that does not exist or is not a namespace is reported without running anything", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-lo-" });
  try {
    await Deno.writeTextFile(`${dir}/plain`, "x");
    for (const [name, words] of [["gone", "does not exist"], ["plain", "is a plain file"]] as const) {
      const host = new FakeRun();
      const error = await assertRejects(() => loopbackUp(`${dir}/${name}`, { run: host.run }), CniError);
      assertEquals({ kind: error.kind, code: error.code }, { kind: "not-found", code: 8 });
      assertStringIncludes(error.message, `"${dir}/${name}": ${words}`);
      const { problem } = await inspectNetns(`${dir}/${name}`, { run: host.run });
      assertStringIncludes(problem ?? "", `the network namespace "${dir}/${name}" ${words}`);
      assertEquals(host.lines, []);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("F101 a namespace that disappears during the look-up is reported as missing", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-lo-" });
  const path = `${dir}/link`;
  // It exists at the first check, and is gone when nsenter starts.
  const host = new FakeRun(async () => {
    await Deno.remove(path);
    return { code: 1, stderr: `nsenter: cannot open ${path}: No such file or directory\n` };
  });
  try {
    await Deno.symlink(NETNS, path);
    const error = await assertRejects(() => loopbackUp(path, { run: host.run }), CniError);
    assertEquals({ kind: error.kind, code: error.code }, { kind: "not-found", code: 8 });
    await Deno.symlink(NETNS, path);
    assertEquals(
      (await inspectNetns(path, { run: host.run })).problem,
      `the network namespace "${path}" does not exist`,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the signal ends the look-up of lo", async () => {
  const signal = AbortSignal.abort();
  const { run } = new FakeRun();
  assertEquals((await assertRejects(() => loopbackUp(NETNS, { run, signal }), CniError)).kind, "cancelled");
  assertEquals(
    (await assertRejects(() => inspectNetns(NETNS, { run, signal }), CniError)).kind,
    "cancelled",
  );
});

Deno.test("F93-F96 F131 one process shows all interfaces with all their addresses", async () => {
  const shown = [
    { ifname: "lo", flags: ["LOOPBACK", "UP"], address: "00:00:00:00:00:00" },
    {
      ifname: "eth0",
      flags: ["UP"],
      address: "02:00:00:00:00:07",
      addr_info: [
        { local: "10.1.0.2", prefixlen: 24, scope: "global" },
        { local: "10.1.0.3", prefixlen: 32, scope: "global" },
        { local: "fd00::2", prefixlen: 64, scope: "global" },
        { local: "fe80::7", prefixlen: 64, scope: "link" },
      ],
    },
    { ifname: "tun0", flags: [], address: "192.0.2.1" },
    {},
  ];
  const host = new FakeRun([{ stdout: JSON.stringify(shown) }]);
  const { links, problem } = await inspectNetns(NETNS, { run: host.run });
  assertEquals(host.lines, [`nsenter --net=${NETNS} -- ip -j -d addr show`]);
  assertEquals(problem, undefined);
  assertEquals(links.slice(1), [
    {
      name: "eth0",
      mac: "02:00:00:00:00:07",
      up: true,
      addresses: [
        { address: "10.1.0.2/24", scope: "global" },
        { address: "10.1.0.3/32", scope: "global" },
        { address: "fd00::2/64", scope: "global" },
        { address: "fe80::7/64", scope: "link" },
      ],
    },
    { name: "tun0", mac: undefined, up: false, addresses: [] },
  ]);
  for (
    const [answer, words] of [[{ stdout: "lo: <UP>" }, "not JSON"], [
      { code: 1, stderr: "no" },
      "no",
    ]] as const
  ) {
    const look = () => inspectNetns(NETNS, { run: new FakeRun([answer]).run });
    const error = await assertRejects(look, CniError);
    assertEquals(error.kind, "io");
    assertStringIncludes(error.message, words);
  }
});
