import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { runCommand } from "../../lib/host/command.ts";
import { type Lock, lockFile, tryLockFile } from "../../lib/host/lock.ts";
import { linkTarget, namesIn } from "../../lib/host/stat.ts";
import { inTempDir } from "../temp_dir.ts";

const flock = (...args: string[]) => runCommand({ program: "flock", args });
/** Counts the open files of this process whose paths have this prefix. */
async function openFiles(path: string): Promise<number> {
  const dir = `/proc/${Deno.pid}/fd`;
  const files = (await namesIn(dir)).map((name) => linkTarget(`${dir}/${name}`).catch(() => undefined));
  return (await Promise.all(files)).filter((target) => target?.startsWith(path)).length;
}

Deno.test("lockFile() creates the file and its directory, which no other user can read", () =>
  inTempDir(async (dir) => {
    using _lock = await lockFile(`${dir}/a/b/lock`);
    assertEquals((Deno.statSync(`${dir}/a/b/lock`).mode ?? 0) & 0o777, 0o600);
    assertEquals((Deno.statSync(`${dir}/a/b`).mode ?? 0) & 0o777, 0o700);
  }));

Deno.test("lockFile() has one holder at a time, also within one process", () =>
  inTempDir(async (dir) => {
    let inside = 0;
    const turn = async () => {
      using _lock = await lockFile(`${dir}/lock`);
      assertEquals(++inside, 1);
      await delay(1);
      inside--;
    };
    // More than Deno has threads for its files.
    await Promise.all(Array.from({ length: 60 }, turn));
    assertEquals(await openFiles(dir), 0);
  }));

Deno.test("a lock file that is being created is never without its lock, so nothing in the process takes it for abandoned", () =>
  inTempDir(async (dir) => {
    for (let round = 0; round < 50; round++) {
      const path = `${dir}/lock${round}`;
      const [created, ...probes] = await Promise.all([
        tryLockFile(path),
        ...Array.from({ length: 3 }, () => tryLockFile(path, { create: false })),
      ]);
      using lock = created;
      assertEquals({ isLocked: lock !== undefined, probes }, {
        isLocked: true,
        probes: [undefined, undefined, undefined],
      });
    }
  }));

Deno.test("lockFile() and flock of util-linux exclude each other", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/lock`;
    {
      using _lock = await lockFile(path);
      assertEquals((await flock("-n", path, "true")).code, 1);
      assertEquals((await flock("-n", "-s", path, "true")).code, 1);
    }
    assertEquals((await flock("-n", path, "true")).code, 0);

    const stop = new AbortController();
    const held = Promise.withResolvers<void>();
    const other = runCommand({
      program: "flock",
      args: [path, "sh", "-c", "echo held >&2; exec sleep 300"],
      signal: stop.signal,
      onStderrLine: () => held.resolve(),
    });
    await held.promise;
    assertEquals(await tryLockFile(path), undefined);
    const waiting = lockFile(path);
    stop.abort();
    using _lock = await waiting;
    await other;
  }));

Deno.test("a shared lock of lockFile() is shared with other shared locks only", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/lock`;
    {
      using _one = await lockFile(path, { shared: true });
      using _two = await lockFile(path, { shared: true });
      assertEquals(await tryLockFile(path), undefined);
      assertEquals((await flock("-n", "-s", path, "true")).code, 0);
    }
    using _lock = await lockFile(path);
    assertEquals(await tryLockFile(path, { shared: true }), undefined);
  }));

Deno.test("lockFile() stops waiting when its signal fires, and leaves neither lock nor open file", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/lock`;
    const reason = new Error("enough");
    const stop = new AbortController();
    {
      using _lock = await lockFile(path);
      const waiting = lockFile(path, { signal: stop.signal });
      await delay(30);
      assertEquals(await openFiles(dir) <= 2, true);
      const start = performance.now();
      stop.abort(reason);
      assertEquals(await assertRejects(() => waiting), reason);
      assertLess(performance.now() - start, 60_000);
    }
    assertEquals(await assertRejects(() => lockFile(path, { signal: stop.signal })), reason);
    assertEquals(await openFiles(dir), 0);
    assertEquals((await flock("-n", path, "true")).code, 0);
  }));

Deno.test("tryLockFile() returns undefined at once if the lock is held", () =>
  inTempDir(async (dir) => {
    using lock = await tryLockFile(`${dir}/lock`);
    assertEquals(lock?.path, `${dir}/lock`);
    assertEquals(await tryLockFile(`${dir}/lock`), undefined);
    assertEquals(await openFiles(dir), 1);
  }));

Deno.test("a lock is released once, also before its end", () =>
  inTempDir(async (dir) => {
    const first = await lockFile(`${dir}/lock`);
    first[Symbol.dispose]();
    using second = await lockFile(`${dir}/lock`);
    first[Symbol.dispose]();
    assertEquals(await tryLockFile(`${dir}/lock`), undefined);
    await assertRejects(() => first.remove(), TypeError);
    await second.remove();
    await assertRejects(() => Deno.stat(`${dir}/lock`), Deno.errors.NotFound);
  }));

Deno.test("a shared lock does not remove the file", () =>
  inTempDir(async (dir) => {
    using lock = await lockFile(`${dir}/lock`, { shared: true });
    await assertRejects(() => lock.remove(), TypeError, "not held exclusively");
  }));

Deno.test("a lock is released even if a program starts meanwhile", () =>
  inTempDir(async (dir) => {
    const running = [];
    for (let i = 0; i < 30; i++) {
      const lock = await lockFile(`${dir}/lock`);
      running.push(runCommand({ program: "true" }));
      lock[Symbol.dispose]();
      const next = await tryLockFile(`${dir}/lock`);
      assert(next !== undefined);
      next?.[Symbol.dispose]();
    }
    await Promise.all(running);
  }));

Deno.test("removing the file never leads to two holders", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/lock`;
    let inside = 0;
    const turn = async (n: number) => {
      using lock: Lock = await lockFile(path);
      assertEquals(++inside, 1);
      await delay(1);
      inside--;
      if (n % 2 === 0) await lock.remove();
    };
    // Another process takes part, which removes the file without a second check.
    const script = 'for i in 1 2 3 4 5 6 7 8 9 10; do flock "$0" true; done';
    const other = runCommand({ program: "sh", args: ["-c", script, path] });
    await Promise.all(Array.from({ length: 40 }, (_, n) => turn(n)));
    await other;
    assertEquals(await openFiles(dir), 0);
  }));

Deno.test("a directory can be locked", () =>
  inTempDir(async (dir) => {
    using _lock = await lockFile(dir);
    assertEquals((await flock("-n", dir, "true")).code, 1);
  }));

Deno.test("a lock that cannot be taken is an error with its reason", () =>
  inTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/file`, "");
    await assertRejects(() => lockFile(`${dir}/file/lock`), Deno.errors.NotADirectory);
    await Deno.symlink("absent/lock", `${dir}/link`);
    await assertRejects(() => lockFile(`${dir}/link`), Error);
  }));
