import { assert, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { DEFAULT_PATH, runCommand } from "../../lib/host/command.ts";
import { inOwnSession } from "../../lib/host/own_session.ts";
import { writeExecutable } from "../executable.ts";
import { MIB, pidsIn, sh, time } from "./shell.ts";

Deno.test("runCommand() returns the exit code, and both streams separately", async () => {
  const outcome = await sh("echo out; echo err >&2; exit 3");
  assertEquals({ ...outcome, elapsedMs: 0 }, {
    code: 3,
    signal: null,
    stdout: "out\n",
    stderr: "err\n",
    elapsedMs: 0,
    ended: "exit",
  });
});

Deno.test("runCommand() passes on exactly the requested environment", async () => {
  const program = "/usr/bin/env";
  assertEquals((await runCommand({ program, env: { A: "1", B: "x=y\nz" } })).stdout, "A=1\nB=x=y\nz\n");
  assertEquals((await runCommand({ program, env: {} })).stdout, "");
  const lines = (await runCommand({ program })).stdout.trim().split("\n").sort();
  assertEquals(lines, ["LC_ALL=C", `PATH=${DEFAULT_PATH}`]);
});

Deno.test("runCommand() only passes on what a program prints that is not kept, however much that is", async () => {
  const lines: string[] = [];
  const outcome = await runCommand({
    program: "sh",
    args: ["-c", "yes | head -c 3000000 >&2; echo out; echo last >&2"],
    keepOutput: false,
    maxStderr: 10,
    onStderrLine: (line) => void lines.push(line),
  });
  assertEquals({ ...outcome, elapsedMs: 0 }, {
    code: 0,
    signal: null,
    stdout: "",
    stderr: "",
    elapsedMs: 0,
    ended: "exit",
  });
  assertEquals([lines.length, lines.at(-1)], [1_500_001, "last"]);
});

Deno.test("runCommand() searches the PATH of the request for the program", async () => {
  const dir = await Deno.makeTempDir();
  try {
    writeExecutable(`${dir}/pwt-hello`, "#!/bin/sh\necho hello\n");
    assertEquals((await runCommand({ program: "pwt-hello", env: { PATH: dir } })).stdout, "hello\n");
    await assertRejects(() => runCommand({ program: "pwt-hello" }), Deno.errors.NotFound);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("runCommand() writes large input while it reads large output", async () => {
  const stdin = "0123456789abcde\n".repeat(4 * MIB / 16);
  const { stdout, code } = await runCommand({ program: "cat", stdin });
  assertEquals(code, 0);
  assert(stdout === stdin);
});

Deno.test("runCommand() accepts a program that never reads its input", async () => {
  const { code, ended } = await runCommand({ program: "true", stdin: "x".repeat(4 * MIB) });
  assertEquals([code, ended], [0, "exit"]);
});

Deno.test("runCommand() passes on no input if the request has none, and ends the input after it", async () => {
  assertEquals((await runCommand({ program: "cat" })).stdout, "");
  assertEquals((await runCommand({ program: "cat", stdin: "" })).stdout, "");
});

Deno.test("runCommand() decodes characters that are split between chunks of a pipe", async () => {
  const lines: string[] = [];
  const script =
    "printf '\\342\\202'; printf '\\360\\237' >&2; sleep 0.1; printf '\\254'; printf '\\230\\200' >&2";
  const { stdout, stderr } = await sh(script, { onStderrLine: (line) => lines.push(line) });
  assertEquals([stdout, stderr, lines], ["€", "😀", ["😀"]]);
});

Deno.test("runCommand() keeps a byte order mark for the parser of the output", async () => {
  assertEquals((await sh("printf '\\357\\273\\277{}'")).stdout, "\ufeff{}");
});

Deno.test("runCommand() passes on each line of stderr while the program runs", async () => {
  const lines: string[] = [];
  const dir = await Deno.makeTempDir({ prefix: "pwt-" });
  const script = `printf 'a\\nb' >&2; until [ -e ${dir}/go ]; do sleep 0.2; done; printf 'c\\n\\nd' >&2`;
  try {
    const { elapsedMs } = await sh(script, {
      onStderrLine: (line) => {
        lines.push(line);
        // The script continues only after its first line was passed on.
        if (line === "a") setTimeout(() => Deno.writeTextFileSync(`${dir}/go`, ""), 100);
      },
    });
    assertEquals(lines, ["a", "bc", "", "d"]);
    assertGreater(elapsedMs, 90);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("runCommand() ends the program and throws when the line listener throws", async () => {
  const [error, ms] = await time(() =>
    assertRejects(() =>
      sh("echo x >&2; sleep 300", {
        onStderrLine: () => {
          throw new RangeError("listener");
        },
      })
    )
  );
  assert(error instanceof RangeError);
  assertLess(ms, 50_000);
});

Deno.test("runCommand() distinguishes a signal from an exit code", async () => {
  const killed = await sh("kill -KILL $$");
  assertEquals([killed.code, killed.signal, killed.ended], [137, "SIGKILL", "exit"]);
  const exited = await sh("exit 137");
  assertEquals([exited.code, exited.signal], [137, null]);
});

Deno.test("runCommand() starts nothing if the signal has fired, and throws its reason", async () => {
  const file = `${await Deno.makeTempDir()}/started`;
  const reason = new Error("too late");
  const error = await assertRejects(() => sh(`touch ${file}`, { signal: AbortSignal.abort(reason) }));
  assertEquals(error, reason);
  await delay(50);
  await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
});

Deno.test("runCommand() leaves no listener on a signal that never fires", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener;
  const remove = signal.removeEventListener;
  signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add.apply(signal, args));
  signal.removeEventListener = (
    ...args: Parameters<typeof remove>
  ) => (listeners--, remove.apply(signal, args));
  await runCommand({ program: "true", signal });
  await assertRejects(() => runCommand({ program: "pwt-absent", signal }));
  assertEquals(listeners, 0);
});

Deno.test("runCommand() ends a program that prints too much, and reports that", async () => {
  const [flood, ms] = await time(() => runCommand({ program: "yes", maxStdout: 100_001 }));
  assertEquals([flood.ended, flood.stdout.length, flood.signal !== null], ["stdout-overflow", 100_001, true]);
  assertLess(ms, 50_000);
  const errors = await sh("yes >&2", { maxStderr: 1_000 });
  assertEquals([errors.ended, errors.stderr.length], ["stderr-overflow", 1_000]);
});

Deno.test("runCommand() reports too much output also if the program has ended before all could be read", async () => {
  const outcome = await sh("head -c 60000 /dev/zero", { maxStdout: 59_999 });
  assertEquals([outcome.ended, outcome.stdout.length], ["stdout-overflow", 59_999]);
  const exact = await sh("head -c 60000 /dev/zero", { maxStdout: 60_000 });
  assertEquals([exact.ended, exact.stdout.length], ["exit", 60_000]);
});

Deno.test("runCommand() leaves out the character that the limit splits", async () => {
  const outcome = await sh("printf '\\342\\202\\254\\342\\202\\254'", { maxStdout: 4 });
  assertEquals(outcome.stdout, "€");
});

Deno.test("runCommand() makes a session for a program without copying this process", async () => {
  const words = inOwnSession({ program: "sh", args: ["-c", "exit"] });
  assertEquals([words?.program.endsWith("/setsid"), words?.args.slice(1)], [true, ["-c", "exit"]]);
  assertEquals(inOwnSession({ program: "pwt-absent", args: [] }), undefined);
  let started = 0;
  const { stdout } = await sh("ps -o pid=,pgid=,sid= -p $$", { onStart: (pid) => started = pid });
  assertEquals(pidsIn(stdout), [started, started, started]);
});

Deno.test("runCommand() runs many programs concurrently without mixing them up", async () => {
  const numbers = Array.from({ length: 40 }, (_, i) => i);
  const outcomes = await Promise.all(
    numbers.map((n) => sh(`cat; echo ${n} >&2; exit ${n}`, { stdin: `in ${n}` })),
  );
  for (const n of numbers) {
    const outcome = outcomes[n];
    assertEquals([outcome?.code, outcome?.stdout, outcome?.stderr], [n, `in ${n}`, `${n}\n`]);
  }
});
