// Programs that a killed caller left running are ended, and nothing else; with real processes.
import { assert, assertEquals } from "@std/assert";
import { type CommandRequest, type RunCommand, runCommand } from "../../lib/host/command.ts";
import { CALL_VARIABLE, RunningPrograms } from "../../lib/host/running_programs.ts";
import { abandonedProgram, findByEnvironment, isAlive, killAll, leaveNote } from "../processes.ts";
import { need } from "../root/need.ts";
import { until } from "../until.ts";

const C1 = { subject: "c1", task: "ADD" };

async function withDir(fn: (dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-running-" });
  try {
    await fn(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const notesIn = (dir: string) => [...Deno.readDirSync(`${dir}/calls`)].map(({ name }) => name);

/** Waits until a script has written its process ID to the file. */
async function pidIn(path: string): Promise<number> {
  let text = "";
  await until(async () => (text = await Deno.readTextFile(path).catch(() => "")).endsWith("\n"));
  return Number(text);
}

Deno.test("a program whose caller lives has a file and is left alone, and its file is removed with it", () =>
  withDir(async (dir) => {
    const running = new RunningPrograms(dir);
    const cut = new AbortController();
    const command = running.noting(runCommand, C1)({
      program: "sh",
      args: ["-c", "sleep 300 & wait"],
      signal: cut.signal,
    });
    const entry = `${CALL_VARIABLE}=${notesIn(dir)[0]}`;
    await until(async () => (await findByEnvironment(entry)).length === 2);
    assertEquals(await running.endAbandonedOf("c1"), []);
    assertEquals((await findByEnvironment(entry)).length, 2);
    cut.abort();
    assertEquals((await command).ended, "aborted");
    assertEquals([await findByEnvironment(entry), notesIn(dir)], [[], []]);
  }));

Deno.test("a program whose caller was killed is ended with its session, even if it ignores TERM", () =>
  withDir(async (dir) => {
    const running = new RunningPrograms(dir);
    for (const script of ["sleep 300 & wait", "trap '' TERM; sleep 300 & while :; do wait; done"]) {
      await using program = await abandonedProgram(dir, C1, script);
      await until(async () => (await findByEnvironment(program.entry)).length === 2);
      assertEquals(await running.endAbandonedOf("c2"), []);
      assertEquals((await running.endAbandonedOf("c1")).length, 2);
      assertEquals([await findByEnvironment(program.entry), notesIn(dir)], [[], []]);
      assertEquals(await running.endAbandonedOf("c1"), []);
    }
  }));

Deno.test("processes that a hung program started in other sessions are ended too, also without the mark", () =>
  withDir(async (dir) => {
    const deep =
      `setsid sh -c 'echo $$ >${dir}/one; setsid env -i sh -c "echo \\$\\$ >${dir}/two; sleep 300; :"; :' &`;
    for (const script of [`${deep} wait`, `trap '' TERM; ${deep} while :; do wait; done`]) {
      await using _program = await abandonedProgram(dir, C1, script);
      const pids = [await pidIn(`${dir}/one`), await pidIn(`${dir}/two`)];
      await new RunningPrograms(dir).endAbandonedOf("c1");
      for (const pid of pids) assertEquals(await isAlive(pid), false);
      for (const name of ["one", "two"]) await Deno.remove(`${dir}/${name}`);
    }
  }));

Deno.test("no child escapes that a program in another session starts while it is ended", () =>
  withDir(async (dir) => {
    // Each has a child at any time, and soon another one.
    const loop = "while :; do sleep 300 & child=$!; sleep 0.001; kill $child; wait $child; done";
    await using program = await abandonedProgram(
      dir,
      C1,
      `for each in 1 2 3 4 5 6; do setsid sh -c 'trap "" TERM; echo $$ >${dir}/'$each'; ${loop}' 2>/dev/null & done; ` +
        `trap "" TERM; while :; do wait; done`,
    );
    for (const each of [1, 2, 3, 4, 5, 6]) await pidIn(`${dir}/${each}`);
    await new RunningPrograms(dir).endAbandonedOf("c1");
    assertEquals(await findByEnvironment(program.entry), []);
  }));

Deno.test("a daemon that left its session and its parent is left alone, with the mark of a program that hangs or has ended", () =>
  withDir(async (dir) => {
    const daemon = `(setsid sh -c 'echo $$ >${dir}/pid; exec sleep 300' &);`;
    for (const script of [`${daemon} sleep 300`, daemon]) {
      await using program = await abandonedProgram(dir, C1, script);
      const pid = await pidIn(`${dir}/pid`);
      const [hangs] = script === daemon ? [await program.status] : [undefined];
      const met = await new RunningPrograms(dir).endAbandonedOf("c1");
      assertEquals([met.includes(program.pid), met.includes(pid)], [hangs === undefined, false]);
      assertEquals([await isAlive(pid), notesIn(dir)], [true, []]);
      await killAll([pid]);
      await Deno.remove(`${dir}/pid`);
    }
  }));

Deno.test("the rest of the session of a program that has ended is ended", () =>
  withDir(async (dir) => {
    await using program = await abandonedProgram(dir, C1, "sleep 300 &");
    await program.status;
    assertEquals((await new RunningPrograms(dir).endAbandonedOf("c1")).length, 1);
    assertEquals(await findByEnvironment(program.entry), []);
  }));

Deno.test({
  name: "a copy of the environment in another user's process is neither ended nor waited for",
  ...need("root"),
  fn: () =>
    withDir(async (dir) => {
      // It could be the program that the caller had just started when it was killed.
      for (const pid of ["known", "unknown"]) {
        const id = crypto.randomUUID();
        const user = new Deno.Command("sleep", {
          args: ["300"],
          uid: 65534,
          cwd: "/",
          gid: 65534,
          env: { PATH: "/usr/bin:/bin", [CALL_VARIABLE]: id, CNI_CONTAINERID: "c1" },
          clearEnv: true,
          detached: true,
          stdin: "null",
        }).spawn();
        try {
          const entry = await leaveNote(dir, C1, pid === "known" ? user.pid : undefined, id);
          await until(async () => (await findByEnvironment(entry)).length === 1);
          const run: RunCommand = (request) => runCommand(request);
          assertEquals(await new RunningPrograms(dir, run).endAbandonedOf("c1"), []);
          assertEquals([await isAlive(user.pid), notesIn(dir)], [true, []]);
        } finally {
          user.kill("SIGKILL");
          await user.status;
        }
      }
    }),
});

Deno.test("two installations with equal container IDs and environments each end only their own programs", () =>
  withDir(async (dir) => {
    const script = "sleep 300 & wait";
    await using one = await abandonedProgram(`${dir}/one`, C1, script, { CNI_CONTAINERID: "c1" });
    await using two = await abandonedProgram(`${dir}/two`, C1, script, { CNI_CONTAINERID: "c1" });
    await using bare = await abandonedProgram(`${dir}/none`, C1, script, { CNI_CONTAINERID: "c1" });
    const counts = () =>
      Promise.all([one, two, bare].map(async ({ entry }) => (await findByEnvironment(entry)).length));
    await until(async () => (await counts()).every((count) => count === 2));
    await new RunningPrograms(`${dir}/one`).endAbandonedOf("c1");
    assertEquals(await counts(), [0, 2, 2]);
    await new RunningPrograms(`${dir}/two`).endAbandoned(({ task }) => task === "ADD");
    assertEquals(await counts(), [0, 0, 2]);
  }));

Deno.test("if the caller was killed during the start, the mark alone identifies the program", () =>
  withDir(async (dir) => {
    const id = crypto.randomUUID();
    const child = new Deno.Command("sleep", {
      args: ["300"],
      env: { [CALL_VARIABLE]: id },
      detached: true,
      stdin: "null",
    }).spawn();
    await leaveNote(dir, C1, undefined, id);
    await Deno.writeTextFile(`${dir}/calls/half-written`, '{"subject": "c1"');
    assertEquals(await new RunningPrograms(dir).endAbandonedOf("c1"), [child.pid]);
    assertEquals([(await child.status).signal, notesIn(dir)], ["SIGTERM", []]);
  }));

Deno.test("a program still runs if no file for it can be written", () =>
  withDir(async (dir) => {
    const seen: CommandRequest[] = [];
    const run: RunCommand = (request) => {
      seen.push(request);
      return runCommand(request);
    };
    await Deno.writeTextFile(`${dir}/file`, "");
    const outcome = await new RunningPrograms(`${dir}/file`).noting(run, C1)({ program: "true" });
    assertEquals(outcome.code, 0);
    assert(seen.every(({ env }) => env?.[CALL_VARIABLE] === undefined));
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["file"]);
    assertEquals(await new RunningPrograms(`${dir}/new`).endAbandonedOf("c1"), []);
  }));

Deno.test("a killed program is waited for until it is gone, because a busy machine may be slow", () =>
  withDir(async (dir) => {
    // No process has so large an ID.
    const entry = await leaveNote(dir, C1, 4194305);
    const started = performance.now();
    let isThere = true;
    const run: RunCommand = async ({ args = [] }) => {
      isThere = performance.now() - started < 2_500;
      const own = (await runCommand({ program: "sh", args: [...args] })).stdout;
      const fake = args[1]?.includes("environ")
        ? `/proc/4194305/environ:${entry}\0`
        : ["State:\tS", "PPid:\t1", "NSsid:\t4194305", `Uid:\t${"0\t".repeat(4)}`]
          .map((line) => `/proc/4194305/status:${line}\n`).join("");
      return {
        code: 0,
        signal: null,
        stdout: own + (isThere ? fake : ""),
        stderr: "",
        elapsedMs: 1,
        ended: "exit",
      };
    };
    assertEquals(await new RunningPrograms(dir, run).endAbandonedOf("c1"), [4194305]);
    assertEquals([isThere, notesIn(dir)], [false, []]);
  }));
