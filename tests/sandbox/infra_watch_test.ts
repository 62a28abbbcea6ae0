import { assertEquals, assertMatch } from "@std/assert";
import { type InfraEnded, InfraWatch } from "../../lib/sandbox/infra_watch.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { SandboxStore } from "../../lib/sandbox/store.ts";
import { FAKE_BOOT, FakeRun } from "../fake_run.ts";
import { Lines } from "../attachment/world.ts";
import { until } from "../until.ts";

const NUMBERS = Array.from({ length: 29 }, () => 0).join(" ");

/** A machine whose processes end as the test says, with the records and bundles of infra containers. */
class Machine implements AsyncDisposable {
  /** By their IDs, with their start and their namespace. */
  readonly processes = new Map<number, { start: number; netns: string }>();
  readonly ended: InfraEnded[] = [];
  readonly log = new Lines();
  readonly host = new FakeRun(({ program, args = [] }) => {
    assertEquals(program, "cat");
    if (args[0]?.startsWith("/sys/")) return { stdout: this.#outOfMemory ? "oom_kill 1\n" : "", code: 1 };
    const stdout = args.map((path) => {
      const pid = Number(path.split("/")[2]);
      const process = this.processes.get(pid);
      // 18 numbers, the start, and more than follow it.
      return process === undefined
        ? ""
        : `${pid} (catatonit) S ${"0 ".repeat(18)}${process.start} ${NUMBERS} 0 0\n`;
    });
    return { stdout: stdout.join("") };
  });
  #outOfMemory = false;
  readonly sandboxes: SandboxStore;
  readonly watch: InfraWatch;

  private constructor(readonly dir: string) {
    this.sandboxes = new SandboxStore(`${dir}/state`);
    this.watch = new InfraWatch({
      sandboxes: this.sandboxes,
      attachments: { boot: () => Promise.resolve(FAKE_BOOT) } as never,
      stateDir: `${dir}/state`,
      run: this.host.run,
      log: this.log,
      pollMs: 5,
      onEnded: (ended) => void this.ended.push(ended),
      namespaceOf: (pid) => Promise.resolve(this.processes.get(pid)?.netns),
    });
  }

  static async make(): Promise<Machine> {
    return new Machine(await Deno.makeTempDir({ prefix: "pwt-infra-" }));
  }

  /** Makes a sandbox whose container runs, or puts such a record in the place of another. */
  async start(id: string, pid: number, more: Partial<SandboxRecord> = {}): Promise<SandboxRecord> {
    const bundle = `${this.dir}/state/infra/${id}`;
    await Deno.mkdir(bundle, { recursive: true });
    const record: SandboxRecord = {
      id,
      name: id,
      namespace: "default",
      uid: id,
      phase: "ready",
      createdAt: new Date().toISOString(),
      bootId: FAKE_BOOT,
      netns: { path: `/run/netns/podwire-${id}`, owned: true, id: `4:${pid}` },
      pid,
      pidStart: pid * 10,
      infra: { runtime: "runc", bundle },
      annotations: {},
      ...more,
    };
    this.processes.set(pid, { start: pid * 10, netns: `4:${pid}` });
    await this.sandboxes.write(record);
    return record;
  }

  async removeBundle(id: string): Promise<void> {
    await Deno.remove(`${this.dir}/state/infra/${id}`, { recursive: true });
  }

  outOfMemory(): void {
    this.#outOfMemory = true;
  }

  /** How many programs a look has run. */
  async look(): Promise<number> {
    const before = this.host.requests.length;
    await this.watch.look();
    return this.host.requests.length - before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }
}

Deno.test("the end of an infra container is told once, and as long as nothing ends no program is run", async () => {
  await using machine = await Machine.make();
  assertEquals(await machine.look(), 0, "there is no container");
  await machine.start("a", 11);
  await machine.start("b", 12);
  assertEquals(await machine.look(), 1, "one program for both");
  assertEquals(await machine.look(), 0);
  await machine.start("c", 13);
  assertEquals(await machine.look(), 1, "only for the new one");
  assertEquals(machine.host.lines.at(-1), "cat /proc/13/stat");

  machine.processes.delete(12);
  await machine.look();
  const reason = "its infra container has ended: its process 12 is gone";
  assertEquals(machine.ended, [{ id: "b", pid: 12, reason }]);
  assertEquals([await machine.look(), machine.ended.length], [0, 1]);
});

Deno.test("another process with the ID of one that has ended is not taken for it, nor told of again", async () => {
  await using machine = await Machine.make();
  await machine.start("a", 11);
  await machine.look();
  machine.processes.set(11, { start: 999, netns: "4:host" });
  await machine.look();
  assertEquals(machine.ended.length, 1);
  assertMatch(machine.ended[0]?.reason ?? "", /is gone; another process has the ID 11 now$/);
  machine.processes.delete(11);
  await machine.look();
  assertEquals(machine.ended.length, 1);
});

Deno.test("a container that somebody takes down, that is not up yet, or is of another boot, has not ended by itself", async () => {
  await using machine = await Machine.make();
  const record = await machine.start("a", 11);
  await machine.start("making", 12, { phase: "creating", pid: undefined });
  await machine.start("other", 13, { bootId: "earlier" });
  machine.processes.delete(13);
  await machine.look();
  await machine.sandboxes.write({ ...record, phase: "stopping" });
  machine.processes.delete(11);
  await machine.look();
  await machine.sandboxes.remove(record);
  await machine.look();
  assertEquals(machine.ended, []);
});

Deno.test("a sandbox that is made again under its ID is followed anew", async () => {
  await using machine = await Machine.make();
  const first = await machine.start("a", 11);
  await machine.look();
  machine.processes.delete(11);
  await machine.look();
  await machine.removeBundle("a");
  await machine.start("a", 21, { createdAt: `${first.createdAt}+` });
  await machine.look();
  assertEquals(machine.ended.length, 1);
  machine.processes.delete(21);
  machine.outOfMemory();
  await machine.look();
  assertEquals(machine.ended.map(({ pid }) => pid), [11, 21]);
  assertMatch(
    machine.ended[1]?.reason ?? "",
    /21 is gone; the kernel has killed 1 of its processes for want of memory$/,
  );
});

Deno.test("it looks by itself until it is disposed of, and says once that it cannot", async () => {
  await using machine = await Machine.make();
  machine.watch.start();
  await Deno.mkdir(`${machine.dir}/state`);
  await Deno.writeTextFile(`${machine.dir}/state/infra`, "no directory");
  await until(() => machine.log.all.length > 0);
  assertMatch(machine.log.all[0] ?? "", /^error the infra containers cannot be followed: /);
  await Deno.remove(`${machine.dir}/state/infra`);
  await machine.start("a", 11);
  await until(() => machine.host.requests.length > 0);
  machine.processes.delete(11);
  await until(() => machine.ended.length > 0);
  assertEquals(machine.log.all.length, 1);
});
