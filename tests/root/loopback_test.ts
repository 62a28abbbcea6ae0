// The loopback interface of namespaces that others made, on the real kernel.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { createNetns, removeNetns, runInside } from "../../lib/host/netns.ts";
import { inspectNetns } from "../../lib/pod/inspect_netns.ts";
import { loopbackUp } from "../../lib/pod/loopback.ts";
import { podwire } from "../cli/fake_io.ts";
import { need } from "./need.ts";
import { sandboxTest } from "./sandbox_world.ts";

/** A namespace with `lo` down, and `ip` inside it. */
async function inNetns(
  fn: (path: string, ip: (...args: string[]) => Promise<string>) => Promise<void>,
): Promise<void> {
  const path = `/run/netns/pwt-lo-${crypto.randomUUID().slice(0, 8)}`;
  await createNetns(path);
  const ip = async (...args: string[]) => {
    const { code, stdout, stderr } = await runInside(path, { program: "ip", args });
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, args.join(" "));
    return stdout;
  };
  try {
    await ip("link", "set", "dev", "lo", "down");
    await fn(path, ip);
  } finally {
    await removeNetns(path);
  }
}

const run = runCommand;

Deno.test({
  name: "F99 F100 lo of a namespace that was made elsewhere is down, then up, with its two addresses",
  ...need("root", "ip"),
  fn: () =>
    inNetns(async (path, ip) => {
      assertEquals((await inspectNetns(path, { run })).problem, "lo is down");
      const started: string[] = [];
      const counting: RunCommand = (request) => {
        started.push(request.program);
        return run(request);
      };
      await loopbackUp(path, { run: counting });
      assertEquals(started, ["nsenter"], "one process is started");
      assertStringIncludes(await ip("link", "show", "dev", "lo"), "LOOPBACK,UP,LOWER_UP");
      assertStringIncludes(await ip("-br", "addr", "show", "dev", "lo"), "127.0.0.1/8");
      assertEquals((await inspectNetns(path, { run })).problem, undefined);
      await loopbackUp(path, { run });
      await ip("addr", "add", "127.3.2.1/32", "dev", "lo");
      await loopbackUp(path, { run });
      assertEquals((await inspectNetns(path, { run })).problem, undefined);
    }),
});

Deno.test({
  name: "F99 F100 an address on lo that is not for loopback is refused, in either family",
  ...need("root", "ip"),
  fn: async () => {
    for (const address of ["10.99.0.1/32", "fd00:99::1/128"]) {
      await inNetns(async (path, ip) => {
        await ip("addr", "add", address, "dev", "lo");
        const { kind, message } = await assertRejects(() => loopbackUp(path, { run }), CniError);
        assertEquals(kind, "conflict");
        assertEquals(
          message,
          `Cannot bring up lo in network namespace "${path}": it has the address ${address}, which is not for loopback`,
        );
        const problem = (await inspectNetns(path, { run })).problem;
        assertEquals(problem, `lo has the address ${address}, which is not for loopback`);
      });
    }
  },
});

Deno.test({
  name: "F101 a namespace of another kind is refused, and one that is gone",
  ...need("root", "ip"),
  fn: async () => {
    const other = await assertRejects(() => loopbackUp("/proc/self/ns/mnt", { run }), CniError);
    assertEquals({ kind: other.kind, code: other.code }, { kind: "not-found", code: 8 });
    assertStringIncludes(other.message, "namespace of another kind");
    let gone = "";
    await inNetns((path) => Promise.resolve(void (gone = path)));
    assertStringIncludes(
      (await assertRejects(() => loopbackUp(gone, { run }), CniError)).message,
      "does not exist",
    );
    assertStringIncludes((await inspectNetns(gone, { run })).problem ?? "", "does not exist");
  },
});

sandboxTest("F71 F99 F101 nothing runs in a namespace whose lo is used for something else", async (world) => {
  const plugin = await world.network("a");
  const { sandboxes } = world.podwire();
  await inNetns(async (path, ip) => {
    await ip("addr", "add", "10.99.0.1/32", "dev", "lo");
    const source = { kind: "path", path } as const;
    const error = await assertRejects(() => sandboxes.run({ id: world.id("c"), source }), CniError);
    assertStringIncludes(error.message, "10.99.0.1/32");
    assertEquals(await plugin.calls(), []);
    assertEquals(await world.left(), []);
    await ip("addr", "del", "10.99.0.1/32", "dev", "lo");
    const { state, networks } = await sandboxes.run({ id: world.id("c"), source });
    assertEquals({ state, networksCount: networks.length }, { state: "ready", networksCount: 1 });
    await sandboxes.remove(world.id("c"));
  });
});

sandboxTest(
  "a sandbox without networks has lo and nothing else, and is removed like any other",
  async (world) => {
    const plugin = await world.network("a");
    const { sandboxes } = world.podwire();
    const made = await sandboxes.run({ id: world.id("c"), name: "alone", networks: "none" });
    assertEquals({ state: made.state, ips: made.ips, networks: made.networks }, {
      state: "ready",
      ips: [],
      networks: [],
    });
    const { stdout } = await runInside(made.netns, { program: "ip", args: ["-br", "link"] });
    assertEquals(stdout.trim().split("\n").map((line) => line.split(/ +/)[0]), ["lo"]);
    assertEquals((await inspectNetns(made.netns, { run })).problem, undefined);
    assertEquals(await sandboxes.get("alone"), made);
    assertEquals(await sandboxes.stop("alone"), []);
    assertEquals(await sandboxes.remove("alone"), []);
    assertEquals({ calls: await plugin.calls(), left: await world.left() }, { calls: [], left: [] });
  },
);

sandboxTest("run --network none makes a sandbox with lo alone, and rm removes it", async (world) => {
  const plugin = await world.network("a");
  const { confDir, stateDir, netnsDir, dir } = world;
  const dirs = [
    `--conf-dir=${confDir}`,
    `--state-dir=${stateDir}`,
    `--netns-dir=${netnsDir}`,
    `--cache-dir=${dir}/cache`,
  ];
  const done = async (...args: string[]) => {
    const { code, stdout, stderr } = await podwire([...dirs, ...args], { uid: 0 });
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, args.join(" "));
    return stdout;
  };
  const id = world.id("none");
  const made = JSON.parse(await done("run", "alone", "--id", id, "--network", "none", "--json"));
  assertEquals({ state: made.state, ips: made.ips, networks: made.networks }, {
    state: "ready",
    ips: [],
    networks: [],
  });
  assertEquals(JSON.parse(await done("inspect", "alone", "--json")), made);
  await done("rm", "alone");
  assertEquals({ parse: JSON.parse(await done("ps", "--json")), namespaces: await world.namespaces() }, {
    parse: [],
    namespaces: [],
  });
  assertEquals({ calls: await plugin.calls(), left: await world.left() }, { calls: [], left: [] });
});
