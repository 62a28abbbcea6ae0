import { assert, assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { RecordWatch } from "../../lib/daemon/record_watch.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { Lines } from "../attachment/world.ts";
import { EndlessWriter } from "../endless_writer.ts";
import { until } from "../until.ts";
import { SANDBOX } from "./fake_context.ts";
import { recordsDir } from "../../lib/state/record_files.ts";
import { recordFile } from "../stores.ts";

/** A watch of one sandbox whose state the test sets. */
class Watched implements AsyncDisposable {
  sandbox: Sandbox | undefined;
  reads = 0;
  readonly published: JsonObject[] = [];
  readonly log = new Lines();
  readonly watch: RecordWatch;

  private constructor(readonly dir: string, sandbox: Sandbox) {
    this.sandbox = sandbox;
    this.watch = RecordWatch.start({
      stateDir: dir,
      store: { ofContainer: () => Promise.resolve([]), containers: () => Promise.resolve([]) },
      sandbox: () => {
        this.reads++;
        if (this.sandbox === undefined) return Promise.reject(new CniError("not-found", "it is gone"));
        return Promise.resolve(this.sandbox);
      },
      isSettled: () => Promise.resolve(true),
      sandboxIds: () => Promise.resolve([SANDBOX.id]),
      publish: (event) => void this.published.push(event),
      log: this.log,
      collectMs: 1,
      pollMs: 5,
    });
  }

  static async make(sandbox: Partial<Sandbox>): Promise<Watched> {
    const watched = new Watched(await Deno.makeTempDir({ prefix: "pwt-watch-" }), { ...SANDBOX, ...sandbox });
    await watched.wasRead(0);
    return watched;
  }

  /** Waits until the sandbox is read again. */
  async wasRead(before: number): Promise<void> {
    const end = performance.now() + 60_000;
    while (this.reads === before) {
      if (performance.now() > end) throw new Error(`the sandbox is not read: ${this.log.all}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** Changes the sandbox and waits until the watch has read it. */
  async becomes(sandbox: Partial<Sandbox> | undefined): Promise<void> {
    const before = this.reads;
    this.sandbox = sandbox && { ...SANDBOX, ...sandbox };
    this.watch.changed(SANDBOX.id);
    await this.wasRead(before);
  }

  /** The published reasons, in order. */
  get reasons(): unknown[] {
    return this.published.map(({ sandbox }) =>
      sandbox === null ? null : (sandbox as JsonObject).reason ?? "ready"
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }
}

Deno.test("a state during an operation is not published, its outcome is, and only once", async () => {
  const watched = await Watched.make({});
  {
    await using _ended = watched;
    await watched.becomes({ state: "broken", reason: "it is being removed", underWay: true });
    await watched.becomes({ state: "broken", reason: "its container has ended" });
    await watched.becomes({ state: "broken", reason: "its container has ended" });
    await watched.becomes(undefined);
  }
  assertEquals(watched.reasons, ["its container has ended", null]);
  assertEquals(watched.log.all, []);
});

Deno.test("a namespace that disappears is noticed; as long as it exists, its sandbox is not read", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-watch-" });
  try {
    const netns = `${dir}/netns`;
    await Deno.symlink("/proc/self/ns/net", netns);
    const watched = await Watched.make({ netns });
    {
      await using _ended = watched;
      assertEquals(watched.reads, 1);
      watched.sandbox = { ...SANDBOX, netns, state: "broken", reason: "its namespace is gone" };
      await Deno.remove(netns);
      await watched.wasRead(1);
    }
    assertEquals(watched.reasons, ["its namespace is gone"]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("changes are still noticed after the watched directories were removed and made again", async () => {
  await using watched = await Watched.make({});
  const dirs = [recordsDir(watched.dir)];
  const publishes = async (reason: string, change = () => Promise.resolve()) => {
    watched.sandbox = { ...SANDBOX, reason };
    await change();
    await until(() => watched.reasons.includes(reason), `it publishes ${reason}`);
  };
  for (const round of [1, 2, 3]) {
    for (const dir of dirs) await Deno.remove(dir, { recursive: true });
    for (const dir of dirs) await Deno.mkdir(dir);
    await publishes(`others are in their place, ${round}`);
    const record = recordFile(watched.dir, SANDBOX.id);
    await Deno.writeTextFile(record, "{}");
    await publishes(`a record was written there, ${round}`, () => Deno.writeTextFile(record, "{}"));
  }
  assertEquals(watched.log.all, []);
});

Deno.test("while the records change without end, they are read again and again, but not for each change", async () => {
  // One that exists: the polling reads no record.
  await using watched = await Watched.make({ netns: "/proc/self/ns/net" });
  const { reads } = watched;
  const begin = performance.now();
  await using writer = new EndlessWriter(recordFile(watched.dir, SANDBOX.id));
  await writer.wrote(20_000);
  await watched.becomes({ reason: "it changed meanwhile" });
  await until(() => watched.reasons.includes("it changed meanwhile"));
  await writer.wrote(20_000);
  const ms = performance.now() - begin;
  assert(watched.reads - reads <= 96 * (ms / 150 + 2), `${watched.reads - reads} readings in ${ms} ms`);
});
