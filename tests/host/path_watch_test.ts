// With real directories, and a watch that reports what a test wants.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { PathWatch } from "../../lib/host/path_watch.ts";
import type { WatchDirs, WatchListener } from "../../lib/host/watch.ts";
import { until } from "../until.ts";

class FakeWatch implements AsyncDisposable {
  /** The watched directories of each call, and whether the watch is still open. */
  readonly calls: { readonly dirs: readonly string[]; readonly listener: WatchListener; open: boolean }[] =
    [];
  readonly failures: unknown[] = [];
  changes = 0;
  /** Runs just before a watch is made. */
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
      lookMs: 10,
      changed: () => void this.changes++,
      failed: (error) => void this.failures.push(error),
    });
  }

  /** Covers the paths; of the names in them, all but `*.log` matter. */
  cover(...paths: string[]): Promise<boolean> {
    return this.paths.cover(
      paths.map((path) => ({ path: this.dir + path, concerns: (name) => !name.endsWith(".log") })),
    );
  }

  emit(call: number, ...paths: string[]): void {
    this.calls[call]?.listener.changed(paths.map((path) => this.dir + path));
  }

  get watched(): string[] {
    return this.calls.map(({ dirs, open }) => `${dirs.join()}${open ? "" : " (closed)"}`);
  }

  /** Waits until the looks find nothing more. */
  async isCalm(): Promise<void> {
    for (let before = -1; before < this.changes;) {
      before = this.changes;
      await delay(300);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.paths[Symbol.asyncDispose]();
  }
}

async function inTempDir(fn: (fake: FakeWatch, dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.realPath(await Deno.makeTempDir({ prefix: "pwt-" }));
  try {
    await Deno.mkdir(`${dir}/etc/conf`, { recursive: true });
    await using fake = new FakeWatch(dir);
    await fn(fake, dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("a watched directory is not watched again, and a new one gets a watch of its own", () =>
  inTempDir(async (fake, dir) => {
    assertEquals(await fake.cover("/etc/conf"), true);
    assertEquals(await fake.cover("/etc/conf"), false);
    assertEquals(fake.watched, ["/etc/conf"]);
    await Deno.mkdir(`${dir}/bin`);
    assertEquals(await fake.cover("/etc/conf", "/bin"), true);
    assertEquals(fake.watched, ["/etc/conf", "/bin"]);
  }));

Deno.test("F44 after a directory is replaced, the new one is watched, and the watch without existing directories is closed", () =>
  inTempDir(async (fake, dir) => {
    await fake.cover("/etc/conf");
    for (let n = 0; n < 2; n++) {
      await Deno.rename(`${dir}/etc/conf`, `${dir}/former-${n}`);
      await Deno.mkdir(`${dir}/etc/conf`);
      assertEquals(await fake.cover("/etc/conf"), true);
    }
    assertEquals(fake.watched, ["/etc/conf (closed)", "/etc/conf (closed)", "/etc/conf"]);
  }));

Deno.test("F44 after an event about a directory itself it is watched again: its watch may be lost with a former one of that name", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    fake.emit(0, "/etc/conf");
    assertEquals({ added: await fake.cover("/etc/conf"), changes: fake.changes }, {
      added: true,
      changes: 1,
    });
    assertEquals(fake.watched, ["/etc/conf (closed)", "/etc/conf"]);
    fake.emit(1, "/etc/conf/10-a.conf");
    assertEquals({ added: await fake.cover("/etc/conf"), changes: fake.changes }, {
      added: false,
      changes: 2,
    });
  }));

Deno.test("F44 a directory that is replaced or removed while its watch is made is checked again", () =>
  inTempDir(async (fake, dir) => {
    fake.before = () => {
      Deno.renameSync(`${dir}/etc/conf`, `${dir}/former`);
      Deno.mkdirSync(`${dir}/etc/conf`);
    };
    await fake.cover("/etc/conf");
    assertEquals(fake.watched, ["/etc/conf (closed)", "/etc/conf"]);
    await Deno.mkdir(`${dir}/bin`);
    fake.before = () => {
      Deno.removeSync(`${dir}/bin`);
      throw new Deno.errors.NotFound("no such directory");
    };
    assertEquals(await fake.cover("/etc/conf", "/bin"), true);
    assertEquals(fake.watched.length, 2);
  }));

Deno.test("only events about the paths, about names in them that matter, or without a path, are reported", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    fake.emit(0, "/etc/passwd");
    fake.emit(0, "/etc/conf/a.log");
    fake.emit(0, "/etc/conf/a/b");
    fake.emit(0, "/other");
    assertEquals(fake.changes, 0);
    fake.emit(0, "/etc/passwd", "/etc/conf/a");
    fake.emit(0);
    fake.emit(0, "/etc/conf");
    assertEquals(fake.changes, 3);
  }));

Deno.test("F44 what happens on the way to a path, or to the target of a link, is found by looking", () =>
  inTempDir(async (fake, dir) => {
    await Deno.writeTextFile(`${dir}/target`, "one");
    await Deno.symlink("../target", `${dir}/etc/link`);
    await Deno.mkdir(`${dir}/next/conf`, { recursive: true });
    await fake.cover("/etc/conf", "/etc/link", "/absent/conf");
    const changes: readonly (readonly [what: string, change: () => Promise<void>])[] = [
      ["the target is written", () => Deno.writeTextFile(`${dir}/target`, "another")],
      ["the link is removed", () => Deno.remove(`${dir}/etc/link`)],
      ["a directory appears", () => Deno.mkdir(`${dir}/absent/conf`, { recursive: true })],
      ["a directory above is moved", () => Deno.rename(`${dir}/etc`, `${dir}/former`)],
      ["another one is in its place", () => Deno.rename(`${dir}/next`, `${dir}/etc`)],
      ["a link is in its place", async () => {
        await Deno.rename(`${dir}/etc`, `${dir}/next`);
        await Deno.symlink("former", `${dir}/etc`);
      }],
    ];
    for (const [what, change] of changes) {
      // A file that was written just now is looked at again.
      await fake.isCalm();
      const before = fake.changes;
      await change();
      await until(() => fake.changes > before, what);
    }
    await fake.cover("/etc/conf", "/absent/conf");
    assertEquals(fake.watched, ["/etc/conf (closed)", "/former/conf,/absent/conf"]);
  }));

Deno.test("a file that is looked at for the first time may have changed before", () =>
  inTempDir(async (fake, dir) => {
    await fake.cover("/etc/conf");
    await Deno.writeTextFile(`${dir}/target`, "");
    assertEquals({ first: await fake.cover("/etc/conf", "/target"), then: await fake.cover("/target") }, {
      first: true,
      then: false,
    });
  }));

Deno.test("F41 after a failure everything is watched again, and events of the failed watch are ignored", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    const error = new RangeError("broken");
    fake.calls[0]?.listener.failed(error);
    fake.calls[0]?.listener.failed(error);
    assertEquals(fake.failures, [error]);
    fake.emit(0, "/etc/conf/a");
    assertEquals({ changes: fake.changes, added: await fake.cover("/etc/conf") }, {
      changes: 0,
      added: true,
    });
    fake.paths.reset();
    assertEquals(await fake.cover("/etc/conf"), true);
    assertEquals(fake.watched, [
      "/etc/conf (closed)",
      "/etc/conf (closed)",
      "/etc/conf",
    ]);
    fake.before = () => {
      throw error;
    };
    fake.paths.reset();
    await assertRejects(() => fake.cover("/etc/conf"), RangeError);
  }));

Deno.test("F113 nothing is watched after the disposal", () =>
  inTempDir(async (fake) => {
    await fake.cover("/etc/conf");
    await fake.paths[Symbol.asyncDispose]();
    await fake.paths[Symbol.asyncDispose]();
    assertEquals(await fake.cover("/etc/conf"), false);
    assert(fake.calls.every(({ open }) => !open));
  }));
