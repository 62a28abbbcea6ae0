// `recover`, in process and with recording plugins: its output and its progress.
import { assertEquals, assertMatch } from "@std/assert";
import { PluginFolder } from "../recording_plugin.ts";
import { type FakeProcess, podwire } from "./fake_io.ts";
import { storesIn } from "../stores.ts";

/** Recovery ends all processes of its containers, so no other test may use these IDs. */
const TAG = crypto.randomUUID().slice(-12);
const IDS = ["c1", "c2", "c3"].map((name) => `${name}-${TAG}`);

/** A directory with attachments whose ADD was killed. */
async function inWorld(
  fn: (run: (args: readonly string[], as?: FakeProcess) => ReturnType<typeof podwire>) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-recover-" });
  await using plugins = await PluginFolder.make();
  await plugins.install("web");
  try {
    await Deno.mkdir(`${dir}/net.d`);
    await Deno.symlink("/proc/self/ns/net", `${dir}/netns`);
    const json = { cniVersion: "1.1.0", name: "web", plugins: [{ type: "web", podwireExistingLink: true }] };
    await Deno.writeTextFile(`${dir}/net.d/web.conflist`, JSON.stringify(json));
    const dirs = ["cache", "state", "netns"].map((name) => `--${name}-dir=${dir}/${name}.d`);
    const run = (args: readonly string[], as: FakeProcess = {}) =>
      podwire([...args, ...dirs], {
        ...as,
        // The namespace is that of this process, so that the test needs no root.
        env: { NETCONFPATH: `${dir}/net.d`, CNI_PATH: plugins.dir, CNI_NETNS_OVERRIDE: "1", ...as.env },
      });
    for (const id of IDS) assertEquals((await run(["add", "web", `${dir}/netns`, "--id", id])).code, 0);
    const store = storesIn(`${dir}/state.d`).store;
    for (const record of await store.all()) await store.write({ ...record, state: "adding" });
    await fn(run);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const DONE = IDS.map((id) => `removed  attachment ${id} web:eth0: its ADD was interrupted\n`).join("");

Deno.test("recover shows its progress on a terminal, on a line that is cleared at the end", () =>
  inWorld(async (run) => {
    const { code, stdout, stderr } = await run(["recover"], { stderrIsTerminal: true });
    assertEquals({ code, stdout }, { code: 0, stdout: DONE });
    assertEquals(
      stderr.split("\r").map((text) => text.replace("\x1b[K", "")),
      ["recovering 1 of 3", "recovering 2 of 3", "recovering 3 of 3", "", ""],
    );
  }));

Deno.test("recover without a terminal shows its progress only in the log, and only at level info", () =>
  inWorld(async (run) => {
    const { stdout, stderr } = await run(["recover", "--log-level=info"]);
    assertEquals(stdout, DONE);
    assertMatch(stderr, /^info: recovering 1 of 3 container=c\d-\w+\n(info: recovering . of 3 .*\n){2}$/);
    const again = await run(["recover"]);
    assertEquals({ code: again.code, stdout: again.stdout, stderr: again.stderr }, {
      code: 0,
      stdout: "",
      stderr: "",
    });
  }));

Deno.test("recover --json prints only the report, on a terminal too", () =>
  inWorld(async (run) => {
    const { code, stdout, stderr } = await run(["recover", "--json"], { stderrIsTerminal: true });
    const { removed, kept, failed } = JSON.parse(stdout);
    assertEquals({ code, stderr, length: removed.length, kept, failed }, {
      code: 0,
      stderr: "",
      length: 3,
      kept: [],
      failed: [],
    });
  }));
