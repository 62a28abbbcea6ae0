// Against real directories, with a watch that tells what a test wants.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { PathWatch } from "../../lib/host/path_watch.ts";
import type { WatchDirs, WatchListener } from "../../lib/host/watch.ts";

class FakeWatch {
  /** What was watched, one list a call, and whether it still is. */
  readonly calls: { readonly dirs: readonly string[]; readonly listener: WatchListener; open: boolean }[] =
    [];
  readonly failures: unknown[] = [];
  changes = 0;
  /** Done just before a watch is made. */
  before: () => void = () => {};
  readonly paths: PathWatch;

  constructor(readonly dir: string) {
    const watch: WatchDirs = (dirs, listener) => {
      const { before } = this;
      this.before = () => {};
      try {
        before();
      } catch (error) {
        return Promise.reject(error);
      }
      const inside = dirs.filter((path) => path.startsWith(dir)).map((path) => path.slice(dir.length));
      const call = { dirs: inside, listener, open: true };
      this.calls.push(call);
      return Promise.resolve({ [Symbol.dispose]: () => void (call.open = false) });
    };
    this.paths = new PathWatch({
      watch,
      changed: () => void this.changes++,
      failed: (error) => void this.failures.push(error),
    });
  }

  cover(...paths: string[]): Promise<boolean> {
    return this.paths.cover(paths.map((path) => this.dir + path));
  }

  tell(call: number, ...paths: string[]): void {
    this.calls[call]?.listener.changed(paths.map((path) => this.dir + path));
  }

  get watched(): string[] {
    return this.calls.map(({ dirs, open }) => `${dirs.join()}${open ? "" : " (closed)"}`);
  }
}

async function inTempDir(fn: (fake: FakeWatch, dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.realPath(await Deno.makeTempDir({ prefix: "pwt-" }));
  try {
    await Deno.mkdir(`${dir}/etc/conf`, { recursive: true });
    await fn(new FakeWatch(dir), dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("what is watched already is not watched again, and what is new is watched beside it", () =>
  inTempDir(async (fake, dir) => {
    assertEquals(await fake.cover("/etc/conf"), true);
    assertEquals(await fake.cover("/etc/conf"), false);
    assertEquals(fake.watched, [",/etc,/etc/conf"]);
    await Deno.mkdir(`${dir}/bin`);
    assertEquals(await fake.cover("/etc/conf", "/bin"), true);
    assertEquals(fake.watched, [",/etc,/etc/conf", "/bin"]);
  }));

Deno.test("F44 of a directory that was replaced, the new one is watched; a watch of nothing that is there is closed", () =>
  inTempDir(async (fake, dir) => {
    await fake.cover("/etc/conf");
    for (let n = 0; n < 2; n++) {
      await Deno.rename(`${dir}/etc/conf`, `${dir}/former-${n}`);
      await Deno.mkdir(`${dir}/etc/conf`);
      assertEquals(await fake.cover("/etc/conf"), true);
    }
    assertEquals(fake.watched, [",/etc,/etc/conf", "/etc/conf (closed)", "/etc/conf"]);
  }));

Deno.test("F44 a directory that something is told of itself is watched anew: its watch may have gone with one of its name", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    fake.tell(0, "/etc/conf");
    assertEquals([await fake.cover("/etc/conf"), fake.changes], [true, 1]);
    assertEquals(fake.watched, [",/etc,/etc/conf", "/etc/conf"]);
    fake.tell(1, "/etc/conf/10-a.conf");
    assertEquals([await fake.cover("/etc/conf"), fake.changes], [false, 2]);
  }));

Deno.test("F44 a directory that is replaced while its watch is made, or goes then, is looked at again", () =>
  inTempDir(async (fake, dir) => {
    fake.before = () => {
      Deno.renameSync(`${dir}/etc/conf`, `${dir}/former`);
      Deno.mkdirSync(`${dir}/etc/conf`);
    };
    await fake.cover("/etc/conf");
    assertEquals(fake.watched, [",/etc,/etc/conf", "/etc/conf"]);
    await Deno.mkdir(`${dir}/bin`);
    fake.before = () => {
      Deno.removeSync(`${dir}/bin`);
      throw new Deno.errors.NotFound("no such directory");
    };
    assertEquals(await fake.cover("/etc/conf", "/bin"), true);
    assertEquals(fake.watched.length, 2);
  }));

Deno.test("only what concerns the paths is told of, or what names none", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    fake.tell(0, "/etc/passwd");
    fake.tell(0, "/other");
    assertEquals(fake.changes, 0);
    fake.tell(0, "/etc/passwd", "/etc/conf/a");
    fake.tell(0);
    assertEquals(fake.changes, 2);
  }));

Deno.test("F41 after a failure all is watched anew, and the failed watch has no say any more", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    const error = new RangeError("broken");
    fake.calls[0]?.listener.failed(error);
    fake.calls[0]?.listener.failed(error);
    assertEquals(fake.failures, [error]);
    fake.tell(0, "/etc/conf/a");
    assertEquals([fake.changes, await fake.cover("/etc/conf")], [0, true]);
    fake.paths.reset();
    assertEquals(await fake.cover("/etc/conf"), true);
    assertEquals(fake.watched, [
      ",/etc,/etc/conf (closed)",
      ",/etc,/etc/conf (closed)",
      ",/etc,/etc/conf",
    ]);
    fake.before = () => {
      throw error;
    };
    fake.paths.reset();
    await assertRejects(() => fake.cover("/etc/conf"), RangeError);
  }));

Deno.test("F113 once disposed of, nothing is watched", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    fake.paths[Symbol.dispose]();
    fake.paths[Symbol.dispose]();
    assertEquals(await fake.cover("/etc/conf"), false);
    assert(fake.calls.every(({ open }) => !open));
  }));
