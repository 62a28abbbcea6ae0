import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  type CommandRequest,
  DEFAULT_PATH,
  HostError,
  runCommand,
  runOk,
  startProblem,
  withSystemDirs,
} from "../../lib/host/command.ts";
import { inOwnSession } from "../../lib/host/own_session.ts";
import { writeExecutable } from "../executable.ts";
import { delay } from "../../lib/async/wait.ts";

const MIB = 1024 * 1024;

/** Runs a script, with a very long time limit: a busy machine must not look like a failure. */
async function sh(script: string, more: Partial<CommandRequest> = {}) {
  return await runCommand({ program: "sh", args: ["-c", script], graceMs: 100_000, ...more });
}

async function time<T>(fn: () => Promise<T>): Promise<[T, number]> {
  const start = performance.now();
  return [await fn(), performance.now() - start];
}

function lives(pid: number): boolean {
  try {
    Deno.kill(pid, 0);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  // A process that has ended, and whose new parent does not wait for it, still has its ID.
  const { stdout } = new Deno.Command("cat", { args: [`/proc/${pid}/stat`], stderr: "null" }).outputSync();
  return !/\) [ZX] /.test(new TextDecoder().decode(stdout));
}

async function dies(pid: number): Promise<boolean> {
  for (let i = 0; i < 6_000 && lives(pid); i++) await delay(10);
  return !lives(pid);
}

/** Never 0 or less, which would mean the group of this process, or all processes. */
function pidsIn(text: string): number[] {
  const pids = text.trim().split(/\s+/).map(Number);
  assert(
    pids.length > 0 && pids.every((pid) => Number.isInteger(pid) && pid > 1),
    `no process IDs: "${text}"`,
  );
  return pids;
}

const kill = (pid: number) => Deno.kill(pid, "SIGKILL");

/** Runs a script, fires its signal after it wrote `up` to stderr, and measures the time from then on. */
async function abortWhenUp(script: string, more: Partial<CommandRequest> = {}) {
  const stop = new AbortController();
  let start = NaN;
  const onStderrLine = (line: string) => {
    if (line !== "up") return;
    start = performance.now();
    stop.abort();
  };
  const outcome = await sh(script, { signal: stop.signal, onStderrLine, ...more });
  return [outcome, performance.now() - start] as const;
}

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

Deno.test("runCommand() ends a program that obeys SIGTERM at once, and keeps its output", async () => {
  const [{ ended, signal, stdout }, ms] = await abortWhenUp("echo before; echo up >&2; sleep 300");
  assertEquals([ended, signal, stdout], ["aborted", "SIGTERM", "before\n"]);
  assertLess(ms, 50_000);
});

Deno.test("runCommand() gives a program the grace period to clean up", async () => {
  const script = "trap 'sleep 0.3; echo clean; exit 7' TERM; echo up >&2; while :; do sleep 0.05; done";
  const [outcome] = await abortWhenUp(script);
  assertEquals([outcome.ended, outcome.code, outcome.stdout], ["aborted", 7, "clean\n"]);
});

Deno.test("runCommand() kills a group that ignores SIGTERM after the grace period", async () => {
  const script = "trap '' TERM; sleep 300 & echo $$ $!; echo up >&2; wait";
  const [outcome, ms] = await abortWhenUp(script, { graceMs: 300 });
  assertEquals([outcome.ended, outcome.signal], ["aborted", "SIGKILL"]);
  assertGreater(ms, 290);
  assertLess(ms, 50_000);
  for (const pid of pidsIn(outcome.stdout)) assert(await dies(pid), `process ${pid} lives`);
});

Deno.test("runCommand() ends a silent grandchild soon after its parent", async () => {
  const silent = "trap '' TERM; echo $$; echo up >&2; exec sleep 300 >/dev/null 2>&1";
  const script = `sh -c "${silent.replace("$$", "\\$\\$")}" & exec sleep 300`;
  const [outcome, ms] = await abortWhenUp(script);
  assertEquals(outcome.signal, "SIGTERM");
  assertGreater(ms, 190);
  assertLess(ms, 50_000);
  for (const pid of pidsIn(outcome.stdout)) assert(await dies(pid), `process ${pid} lives`);
});

Deno.test("runCommand() gives a grandchild with a pipe the same grace period, then kills it", async () => {
  // The program itself obeys at once; its child ignores SIGTERM.
  const script = `sh -c "trap '' TERM; echo \\$\\$; echo up >&2; exec sleep 300" & exec sleep 300`;
  const [outcome, ms] = await abortWhenUp(script, { graceMs: 400 });
  assertEquals(outcome.signal, "SIGTERM");
  assertGreater(ms, 390);
  assertLess(ms, 50_000);
  for (const pid of pidsIn(outcome.stdout)) assert(await dies(pid), `process ${pid} lives`);
});

for (
  const [how, trap, signal] of [["obeys", "", "SIGTERM"], ["ignores", "trap '' TERM;", "SIGKILL"]] as const
) {
  Deno.test(`runCommand() returns in time though another session holds the pipes and the program ${how} SIGTERM`, async () => {
    // It has left its parent too when the shell continues.
    const daemon = `setsid sh -c "echo \\$\\$; exec sleep 300 >&3 3>&-" & :`;
    const script =
      `${trap} exec 3>&1; pid=$(sh -c '${daemon}'); echo $pid; echo up >&2; while :; do sleep 0.1; done`;
    const [outcome, ms] = await abortWhenUp(script, { graceMs: 400 });
    const pids = pidsIn(outcome.stdout);
    try {
      assertEquals([outcome.ended, outcome.signal], ["aborted", signal]);
      assertLess(ms, 50_000);
      assert(pids.every(lives));
    } finally {
      pids.forEach(kill);
    }
  });
}

Deno.test("runCommand() ends the children of a hung program in other sessions", async () => {
  const inner = `trap "" TERM; echo $$; setsid sleep 300 & echo $!; echo up >&2; while :; do wait; done`;
  for (const trap of ["", "trap '' TERM;"]) {
    const script = `${trap} setsid sh -c '${inner}' & while :; do wait; done`;
    const [outcome] = await abortWhenUp(script, { graceMs: 400 });
    const pids = pidsIn(outcome.stdout);
    assertEquals([outcome.ended, pids.length], ["aborted", 2]);
    for (const pid of pids) assert(await dies(pid), `process ${pid} lives`);
  }
});

Deno.test("runCommand() does not wait for a quiet process that a finished program left behind, and does not end it", async () => {
  const [outcome, ms] = await time(() => sh("sleep 300 & echo $!"));
  const pids = pidsIn(outcome.stdout);
  try {
    assertEquals([outcome.ended, outcome.code], ["exit", 0]);
    assertGreater(ms, 190);
    assertLess(ms, 50_000);
    assert(pids.every(lives));
  } finally {
    pids.forEach(kill);
  }
});

Deno.test("runCommand() reads the rest of the output of a process that was left behind", async () => {
  // Longer in total than the allowed silence, in steps that are shorter than it even on a busy machine.
  const { stdout } = await sh("(for i in $(seq 15); do sleep 0.02; echo $i; done; exec sleep 0.5) & echo 0");
  assertEquals(stdout, Array.from({ length: 16 }, (_, index) => `${index}\n`).join(""));
});

Deno.test("runCommand() does not take silence for the end while it gets no time to read", async () => {
  const stall = () => {
    for (const end = performance.now() + 350; performance.now() < end;) {
      /* as if others had the processor */
    }
  };
  const stalling = setInterval(stall, 0);
  try {
    const { stdout } = await sh("(sleep 1.5; echo late) & echo early");
    assertEquals(stdout, "early\nlate\n");
  } finally {
    clearInterval(stalling);
  }
});

Deno.test("runCommand() reads the output of a process that never falls silent for the grace period only", async () => {
  const script = "(for i in $(seq 6000); do echo x >&2; sleep 0.05; done) & echo $!";
  const [outcome, ms] = await time(() => sh(script, { graceMs: 500 }));
  pidsIn(outcome.stdout).forEach(kill);
  assertEquals(outcome.ended, "exit");
  assertLess(ms, 50_000);
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

Deno.test("runCommand() ends also a program that has not begun yet", async () => {
  await Promise.all(Array.from({ length: 20 }, async (_, n) => {
    const stop = new AbortController();
    let started = 0;
    const onStart = (pid: number) => {
      started = pid;
      setTimeout(() => stop.abort(), n / 2);
    };
    const outcome = await sh("trap '' TERM; sleep 60 & sleep 60", {
      onStart,
      signal: stop.signal,
      graceMs: 200,
    });
    assertEquals(outcome.ended, "aborted");
    assert(await dies(started));
  }));
});

Deno.test("runCommand() without a group of its own runs and ends the program itself", async () => {
  const group = 'test "$(ps -o pgid= -p $$)" = "$(ps -o pgid= -p $PPID)"';
  assertEquals((await sh(group, { ownGroup: false })).code, 0);
  assertEquals((await sh(group)).code, 1);
  const stubborn = "trap '' TERM; echo up >&2; while :; do sleep 0.02; done";
  const [outcome, ms] = await abortWhenUp(stubborn, { ownGroup: false, graceMs: 200 });
  assertEquals([outcome.ended, outcome.signal], ["aborted", "SIGKILL"]);
  assertLess(ms, 50_000);
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

Deno.test("delay() ends with its signal", async () => {
  const stop = new AbortController();
  const waiting = delay(60_000, stop.signal);
  stop.abort(new Error("stop"));
  await assertRejects(() => waiting, Error, "stop");
  await assertRejects(() => delay(60_000, stop.signal), Error, "stop");
  await delay(1, new AbortController().signal);
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
