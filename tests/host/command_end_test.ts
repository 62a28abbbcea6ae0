import { findByEnvironment, killAll } from "../processes.ts";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { abortWhenUp, dies, kill, lives, pidsIn, sh, time } from "./shell.ts";

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

Deno.test("runCommand() lets no child escape that a hung program starts in another session while it is ended", async () => {
  const entry = `ESCAPE=${crypto.randomUUID()}`;
  const loop = "while :; do sleep 300 & child=$!; sleep 0.001; kill $child; wait $child; done";
  const script =
    `export ${entry}; for each in 1 2 3 4 5 6; do setsid sh -c 'trap "" TERM; ${loop}' 2>/dev/null & done; ` +
    'trap "" TERM; sleep 0.1; echo up >&2; while :; do wait; done';
  try {
    const [outcome] = await abortWhenUp(script, { graceMs: 400 });
    assertEquals(outcome.ended, "aborted");
    assertEquals(await findByEnvironment(entry), []);
  } finally {
    await killAll(await findByEnvironment(entry));
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
