import { assertEquals } from "@std/assert";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { endUnheard, findByEnvironment } from "../../lib/host/orphans.ts";
import { until } from "../until.ts";

const markOf = () => `PODWIRE_TEST_MARK=${crypto.randomUUID()}` as const;

Deno.test("a process that somebody listens to is left alone", async () => {
  const mark = markOf();
  const [name = "", value = ""] = mark.split("=");
  const cut = new AbortController();
  const env = { PATH: "/usr/bin:/bin", [name]: value };
  const command = runCommand({
    program: "sh",
    args: ["-c", "sleep 300 & wait"],
    env,
    signal: cut.signal,
  });
  await until(async () => (await findByEnvironment(mark)).length === 2);
  assertEquals(await endUnheard([mark, markOf()]), []);
  assertEquals((await findByEnvironment(mark)).length, 2);
  cut.abort();
  assertEquals((await command).ended, "aborted");
  assertEquals(await findByEnvironment(mark), []);
});

Deno.test("a process whose listener was killed is ended with all that it has started, be it deaf to TERM", async () => {
  for (const script of ["sleep 300 & wait", "trap '' TERM; sleep 300 & while :; do wait; done"]) {
    const mark = markOf();
    // The shell is its parent, and ends at once.
    const { code } = await new Deno.Command("sh", {
      args: ["-c", `${mark} setsid sh -c "$1" | : & exit 0`, "sh", script],
      stdout: "null",
      stderr: "null",
    }).output();
    assertEquals(code, 0);
    await until(async () => (await findByEnvironment(mark)).length === 2);
    assertEquals((await endUnheard([markOf(), mark])).length, 1);
    await until(async () => (await findByEnvironment(mark)).length === 0);
    assertEquals(await endUnheard([mark]), []);
  }
});

Deno.test("who has to be killed is waited for until it is gone: a busy machine takes its time for that, too", async () => {
  const started = performance.now();
  let isThere = true;
  const run: RunCommand = () => {
    isThere = performance.now() - started < 2_500;
    // No process has so large an ID.
    const stdout = isThere ? "4194305\n" : "";
    return Promise.resolve({ code: 0, signal: null, stdout, stderr: "", elapsedMs: 1, ended: "exit" });
  };
  assertEquals(await endUnheard([markOf()], run), [4194305]);
  assertEquals(isThere, false);
});
