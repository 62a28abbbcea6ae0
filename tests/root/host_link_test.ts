import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { type CommandRequest, HostError, runCommand } from "../../lib/host/command.ts";
import { type FailedLine, ipBatch, IpBatchError, ipJson } from "../../lib/host/link.ts";
import { need } from "./need.ts";

const unique = () => `pwt${crypto.randomUUID().slice(0, 8)}`;

/** A namespace that is at no path of its own but that of a sleeping process. */
async function inNetns(fn: (netns: string) => Promise<void>): Promise<void> {
  const child = new Deno.Command("unshare", {
    args: ["--net", "sh", "-c", "echo; exec sleep 60"],
    stdout: "piped",
  })
    .spawn();
  try {
    const reader = child.stdout.getReader();
    await reader.read();
    await fn(`/proc/${child.pid}/ns/net`);
    await reader.cancel();
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

function rootTest(name: string, fn: (netns: string) => Promise<void>): void {
  Deno.test({ name, ...need("root", "ip"), fn: () => inNetns(fn) });
}

const linkNames = async (netns: string) =>
  (await ipJson(["link", "show"], { netns }) as { ifname: string }[]).map(({ ifname }) => ifname);

rootTest("ipBatch() does all lines in one process", async (netns) => {
  let runs = 0;
  const run = (request: CommandRequest) => (runs++, runCommand(request));
  await ipBatch([
    "link add br0 type bridge",
    "link add v0 type veth peer name v1",
    "link set v0 master br0 up",
  ], {
    netns,
    run,
  });
  assertEquals(runs, 1);
  const names = await linkNames(netns);
  for (const name of ["br0", "v0", "v1"]) assert(names.includes(name));
  await ipBatch([], { netns, run });
  assertEquals(runs, 1);
});

rootTest("ipBatch() gives what the lines show, in words or as JSON, one document a line", async (netns) => {
  // Not the other way round: what `ip link` shows keeps `ip addr` behind it from showing addresses.
  const lines = ["link set dev lo up", "addr show dev lo", "link show dev lo"];
  assertStringIncludes(await ipBatch(lines, { netns }), "inet 127.0.0.1/8");
  const documents = (await ipBatch(lines, { netns, json: true })).trim().split("\n");
  assertEquals(documents.map((text) => JSON.parse(text)[0].ifname), ["lo", "lo"]);
  assertEquals(await ipBatch(["link set dev lo down"], { netns, json: true }), "");
});

rootTest("ipBatch() takes many lines", async (netns) => {
  const lines = Array.from({ length: 2_000 }, (_, i) => `addr add 10.${i >> 8}.${i & 255}.1/32 dev lo`);
  await ipBatch(lines, { netns });
  const [lo] = await ipJson(["-4", "addr", "show", "dev", "lo"], { netns }) as { addr_info: unknown[] }[];
  assertGreater(lo?.addr_info.length ?? 0, 1_999);
});

rootTest("ipBatch() stops at the line that fails and names it with ip's words", async (netns) => {
  const lines = [
    "link add br0 type bridge",
    "# a remark",
    "",
    "link add br0 type bridge",
    "link add br1 type bridge",
  ];
  const error = await assertRejects(() => ipBatch(lines, { netns }), IpBatchError);
  assertEquals(error.failed, [{
    index: 3,
    line: "link add br0 type bridge",
    reason: "RTNETLINK answers: File exists",
  }]);
  assertEquals(
    error.message,
    'Cannot run "ip link add br0 type bridge" (line 4 of 5): RTNETLINK answers: File exists',
  );
  assert(error instanceof HostError);
  assertEquals([error.program, error.reason], ["ip", "program-failed"]);
  const names = await linkNames(netns);
  assert(names.includes("br0") && !names.includes("br1"));
});

rootTest("ipBatch() goes on with force, and names all that failed", async (netns) => {
  const lines = ["link set nope up", "link add br0 type bridge", "link del nope"];
  const error = await assertRejects(() => ipBatch(lines, { netns, force: true }), IpBatchError);
  assertEquals(error.failed.map((failed: FailedLine) => failed.index), [0, 2]);
  assertStringIncludes(
    error.message,
    '(line 1 of 3): Cannot find device "nope"; Cannot run "ip link del nope"',
  );
  assert((await linkNames(netns)).includes("br0"));
});

rootTest("ipBatch() tells words that ip does not know", async (netns) => {
  const error = await assertRejects(() => ipBatch(["link add", "nonsense"], { netns }), IpBatchError);
  assertEquals(error.failed[0]?.index, 0);
  assertEquals(
    (await assertRejects(() => ipBatch(["nonsense"], { netns }), IpBatchError)).failed[0]?.index,
    0,
  );
});

Deno.test({
  name: "ipBatch() tells a namespace that is gone",
  ...need("root", "ip"),
  fn: async () => {
    const error = await assertRejects(() => ipBatch(["link"], { netns: "/run/pwt-absent" }), IpBatchError);
    assertEquals(error.failed, []);
    assertStringIncludes(error.message, "/run/pwt-absent");
  },
});

Deno.test({
  name: "ipJson() gives what ip prints, and its words when it fails",
  ...need("ip"),
  fn: async () => {
    const links = await ipJson(["link", "show", "dev", "lo"]) as { ifname: string; flags: string[] }[];
    assertEquals([links.length, links[0]?.ifname], [1, "lo"]);
    const name = unique();
    const error = await assertRejects(() => ipJson(["link", "show", "dev", name]), HostError);
    assertStringIncludes(error.message, `Device "${name}" does not exist`);
    assertEquals(await ipJson(["rule", "show", "priority", "4242"]), []);
  },
});
