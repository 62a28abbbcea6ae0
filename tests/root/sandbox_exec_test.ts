// Programs inside sandboxes, sandboxes that remove themselves, and the runtime for other people's tests.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../mod.ts";
import { TestRuntime } from "../../testing.ts";
import { need } from "./need.ts";
import { sandboxTest } from "./sandbox_world.ts";

sandboxTest("a program runs in the namespace of a sandbox, and its outcome is returned", async (world) => {
  await world.network("a");
  const { sandboxes } = world.podwire();
  await using sandbox = await sandboxes.run({ name: "web" });
  const script = 'cat; echo "$GREETING $#" >&2; ip -o link show lo; exit 7';
  const outcome = await sandboxes.exec("web", {
    program: "sh",
    args: ["-c", script, "sh", "x"],
    env: { GREETING: "hello" },
    stdin: "in\n",
  });
  assertEquals({ code: outcome.code, ended: outcome.ended, stderr: outcome.stderr }, {
    code: 7,
    ended: "exit",
    stderr: "hello 1\n",
  });
  assertStringIncludes(outcome.stdout, "in\n1: lo");
  const inode = await sandboxes.exec(sandbox.id, { program: "readlink", args: ["/proc/self/ns/net"] });
  assertEquals(inode.stdout.includes(`[${(await Deno.stat(sandbox.netns)).ino}]`), true, inode.stdout);

  const hanging = { program: "sleep", args: ["60"] };
  const signal = AbortSignal.timeout(300);
  const late = await assertRejects(() => sandboxes.exec("web", hanging, { signal }), CniError);
  assertEquals(late.kind, "timeout");
  const missing = await sandboxes.exec("web", { program: "no-such-program" });
  assertEquals(missing.code, 127);
  await sandboxes.stop("web");
  const stopped = await assertRejects(() => sandboxes.exec("web", { program: "true" }), CniError);
  assertEquals(stopped.kind, "conflict");
});

sandboxTest(
  "a sandbox is removed at the end of the block that ran it, and printing it shows nothing of that",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    {
      await using sandbox = await sandboxes.run({ name: "web" });
      assertEquals(Object.getOwnPropertySymbols({ ...sandbox }), []);
      assertEquals(sandbox, await sandboxes.get("web"));
      assertEquals(JSON.stringify(sandbox), JSON.stringify(await sandboxes.get("web")));
    }
    assertEquals(await sandboxes.list(), []);
    {
      // One that was removed meanwhile is gone, which is what was wanted.
      await using _sandbox = await sandboxes.run({ name: "web" });
      await sandboxes.remove("web");
    }
    assertEquals((await world.calls()).filter((line) => line.startsWith("a DEL")).length, 2);
  },
);

Deno.test({
  name: "the runtime for tests has plugins and directories of its own, and leaves nothing",
  ...need("root", "ip"),
  fn: async () => {
    let dir = "";
    let netns = "";
    {
      await using runtime = await TestRuntime.create();
      dir = runtime.confDir;
      await runtime.plugins.add("net", { ADD: { result: { ips: [{ address: "10.1.0.2/24" }] } } });
      await runtime.network("web", [{ type: "net" }]);
      await using sandbox = await runtime.sandbox({ name: "test" });
      assertEquals(sandbox.ips, ["10.1.0.2"]);
      // This one is left to the runtime.
      ({ netns } = await runtime.sandbox({ name: "left" }));
      const verbs = (await runtime.plugins.calls()).map(({ verb }) => verb);
      assertEquals(verbs.filter((verb) => verb === "ADD").length, 2);
    }
    for (const path of [dir, netns]) await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
  },
});
