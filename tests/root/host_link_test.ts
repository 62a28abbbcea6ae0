import { assert, assertEquals, assertGreater, assertRejects, assertStringIncludes } from "@std/assert";
import { type CommandRequest, HostError, runCommand } from "../../lib/host/command.ts";
import { ipBatch, IpBatchError, ipBatchJson } from "../../lib/host/ip_batch.ts";
import { ipJson } from "../../lib/host/ip_command.ts";
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

rootTest("ipBatch() runs all lines in one process", async (netns) => {
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

rootTest(
  "ipBatch() returns what the lines show as text, and ipBatchJson() as JSON, one list a line",
  async (netns) => {
    // Not in the other order: `ip link` keeps an `ip addr` after it from showing addresses.
    const lines = ["link set dev lo up", "addr show dev lo", "link show dev lo"];
    assertStringIncludes(await ipBatch(lines, { netns }), "inet 127.0.0.1/8");
    const lists = await ipBatchJson(lines, { netns }) as { ifname: string }[][];
    assertEquals(lists.map(([link]) => link?.ifname), ["lo", "lo"]);
    assertEquals(await ipBatch(["link set dev lo down"], { netns, flags: ["-json"] }), "");
  },
);

rootTest("ipBatch() takes many lines", async (netns) => {
  const lines = Array.from({ length: 2_000 }, (_, i) => `addr add 10.${i >> 8}.${i & 255}.1/32 dev lo`);
  await ipBatch(lines, { netns });
  const [lo] = await ipJson(["-4", "addr", "show", "dev", "lo"], { netns }) as { addr_info: unknown[] }[];
  assertGreater(lo?.addr_info.length ?? 0, 1_999);
});

rootTest("ipBatch() stops at the line that fails and names it with ip's message", async (netns) => {
  const lines = [
    "link add br0 type bridge",
    "# a remark",
    "",
    "link add br0 type bridge",
    "link add br1 type bridge",
  ];
  const error = await assertRejects(() => ipBatch(lines, { netns }), IpBatchError);
  assertEquals(error.failed, {
    index: 3,
    line: "link add br0 type bridge",
    reason: "RTNETLINK answers: File exists",
  });
  assertEquals(
    error.message,
    'Cannot run "ip link add br0 type bridge" (line 4 of 5): RTNETLINK answers: File exists',
  );
  assert(error instanceof HostError);
  const { program, reason } = error;
  assertEquals({ program, reason }, { program: "ip", reason: "program-failed" });
  const names = await linkNames(netns);
  assert(names.includes("br0") && !names.includes("br1"));
});

rootTest("ipBatch() reports words that ip does not know", async (netns) => {
  const error = await assertRejects(() => ipBatch(["link add", "nonsense"], { netns }), IpBatchError);
  assertEquals(error.failed?.index, 0);
  assertEquals(
    (await assertRejects(() => ipBatch(["nonsense"], { netns }), IpBatchError)).failed?.index,
    0,
  );
});

Deno.test({
  name: "ipBatch() reports a namespace that is gone",
  ...need("root", "ip"),
  fn: async () => {
    const error = await assertRejects(() => ipBatch(["link"], { netns: "/run/pwt-absent" }), IpBatchError);
    assertEquals(error.failed, undefined);
    assertStringIncludes(error.message, "/run/pwt-absent");
  },
});

Deno.test({
  name: "ipJson() returns what ip prints, and its message when it fails",
  ...need("ip"),
  fn: async () => {
    const links = await ipJson(["link", "show", "dev", "lo"]) as { ifname: string; flags: string[] }[];
    assertEquals({ linksCount: links.length, ifname: links[0]?.ifname }, { linksCount: 1, ifname: "lo" });
    const name = unique();
    const error = await assertRejects(() => ipJson(["link", "show", "dev", name]), HostError);
    assertStringIncludes(error.message, `Device "${name}" does not exist`);
    assertEquals(await ipJson(["rule", "show", "priority", "4242"]), []);
  },
});
