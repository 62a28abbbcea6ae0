import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import {
  DEFAULT_PATH,
  HostError,
  runCommand,
  runOk,
  startProblem,
  withSystemDirs,
} from "../../lib/host/command.ts";
import { writeExecutable } from "../executable.ts";

Deno.test("startProblem() returns why a program did not start", async () => {
  const dir = await Deno.makeTempDir();
  const problem = async (program: string) => {
    const error = await assertRejects(() => runCommand({ program }));
    return startProblem(error);
  };
  try {
    writeExecutable(`${dir}/text`, "hello");
    await Deno.writeTextFile(`${dir}/plain`, "#!/bin/sh\n", { mode: 0o644 });
    writeExecutable(`${dir}/interpreter`, "#!/nowhere/sh\n");
    assertEquals(await problem(`${dir}/absent`), "not-found");
    assertEquals(await problem("pwt-absent"), "not-found");
    assertEquals(await problem(`${dir}/interpreter`), "not-found");
    assertEquals(await problem(`${dir}/plain`), "permission");
    assertEquals(await problem(dir), "permission");
    assertEquals(await problem(`${dir}/text`), "not-executable");
    writeExecutable(`${dir}/script`, "#!/bin/sh\n");
    using _file = await Deno.open(`${dir}/script`, { write: true });
    assertEquals(await problem(`${dir}/script`), "busy");
    assertEquals(startProblem(new Error("other")), undefined);
    // Files that a shell would run as a script, with no or unknown effects.
    const elf = new Uint8Array(64).fill(0);
    elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    elf.set([2, 0, 243, 0], 16);
    const own = (await Deno.readFile(Deno.execPath())).subarray(0, 60);
    const blank = new TextEncoder().encode("#! \t\ntouch ran\n");
    const halves = [["cut", own], ["blank", blank], [
      "no-first-line",
      new TextEncoder().encode("exit 0\n"),
    ]] as const;
    for (
      const [name, bytes] of [
        ["empty", []],
        ["zeros", new Uint8Array(4096)],
        ["riscv", elf],
        ...halves,
      ] as const
    ) {
      writeExecutable(`${dir}/${name}`, new Uint8Array(bytes));
      assertEquals(await problem(`${dir}/${name}`), "not-executable");
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("runOk() returns the outcome if the exit code is 0, and throws in every other case", async () => {
  assertEquals((await runOk(runCommand, { program: "echo", args: ["a"] })).stdout, "a\n");
  const run = (script: string) =>
    assertRejects(() => runOk(runCommand, { program: "sh", args: ["-c", script], maxStdout: 10 }), HostError);

  const failed = await run("echo one >&2; echo two >&2; exit 4");
  assertEquals([failed.reason, failed.program, failed.code, failed.stderr], [
    "program-failed",
    "sh",
    4,
    "one\ntwo\n",
  ]);
  assertEquals(
    failed.message,
    'Cannot run "sh -c echo one >&2; echo two >&2; exit 4": exit code 4: one; two',
  );

  const killed = await run("kill -9 $$");
  assertEquals([killed.signal, killed.code], ["SIGKILL", 137]);
  assertStringIncludes(killed.message, "ended by SIGKILL");
  assertStringIncludes((await run("echo 0123456789ab")).message, "stdout-overflow");

  const missing = await assertRejects(() => runOk(runCommand, { program: "pwt-absent" }), HostError);
  assertEquals(missing.reason, "program-missing");
  assert(missing.cause instanceof Deno.errors.NotFound);
});

Deno.test("runOk() throws the reason of the signal that ended the program", async () => {
  const stop = new AbortController();
  const reason = new Error("enough");
  const running = runOk(runCommand, { program: "sleep", args: ["300"], signal: stop.signal });
  await delay(50);
  stop.abort(reason);
  assertEquals(await assertRejects(() => running), reason);
});

Deno.test("a PATH without the directories of the system gets them at its end, and an empty one becomes theirs", () => {
  assertEquals(withSystemDirs(undefined), DEFAULT_PATH);
  assertEquals(withSystemDirs(""), DEFAULT_PATH);
  assertEquals(
    withSystemDirs("/home/me/bin:/usr/bin:/bin"),
    "/home/me/bin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin",
  );
  assertEquals(withSystemDirs(DEFAULT_PATH), DEFAULT_PATH);
});
