import { assertEquals, assertMatch } from "@std/assert";
import { type InfraEnded, InfraWatch } from "../../lib/sandbox/infra_watch.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import type { SandboxStore } from "../../lib/sandbox/store.ts";
import { Lines } from "../attachment/world.ts";
import { FAKE_BOOT, FakeRun } from "../fake_run.ts";
import { until } from "../until.ts";
import { storesIn } from "../stores.ts";

const NUMBERS = Array.from({ length: 29 }, () => 0).join(" ");

/** A machine whose processes end when the test ends them, with the records and bundles of infra containers. */
class Machine implements AsyncDisposable {
  /** The processes by ID, with their start time and namespace. */
  readonly processes = new Map<number, { start: number; netns: string }>();
  readonly ended: InfraEnded[] = [];
  readonly log = new Lines();
  readonly host = new FakeRun(({ program, args = [] }) => {
    assertEquals(program, "cat");
    if (args[0]?.startsWith("/sys/")) return { stdout: this.#outOfMemory ? "oom_kill 1\n" : "", code: 1 };
    const stdout = args.map((path) => {
      const pid = Number(path.split("/")[2]);
      const process = this.processes.get(pid);
      // 18 numbers, the start time, and more numbers.
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
    this.sandboxes = storesIn(`${dir}/state`).sandboxes;
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

  static async create(): Promise<Machine> {
    return new Machine(await Deno.makeTempDir({ prefix: "pwt-infra-" }));
  }

  /** Creates a sandbox whose container runs, or replaces its record. */
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

  /** Checks all containers once and returns how many programs that ran. */
  async check(): Promise<number> {
    const before = this.host.requests.length;
    await this.watch.check();
    return this.host.requests.length - before;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.watch[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }
}

Deno.test("the end of an infra container is reported once, and no program runs while nothing ends", async () => {
  await using machine = await Machine.create();
  assertEquals(await machine.check(), 0, "there is no container");
  await machine.start("a", 11);
  await machine.start("b", 12);
  assertEquals(await machine.check(), 1, "one program for both");
  assertEquals(await machine.check(), 0);
  await machine.start("c", 13);
  assertEquals(await machine.check(), 1, "only for the new one");
  assertEquals(machine.host.lines.at(-1), "cat /proc/13/stat");

  machine.processes.delete(12);
  await machine.check();
  const reason = "its infra container has ended: its process 12 is gone";
  assertEquals(machine.ended, [{ id: "b", pid: 12, reason }]);
  assertEquals([await machine.check(), machine.ended.length], [0, 1]);
});

Deno.test("another process with the ID of an ended one does not count as that process, and the end is not reported again", async () => {
  await using machine = await Machine.create();
  await machine.start("a", 11);
  await machine.check();
  machine.processes.set(11, { start: 999, netns: "4:host" });
  await machine.check();
  assertEquals(machine.ended.length, 1);
  assertMatch(machine.ended[0]?.reason ?? "", /is gone; another process has the ID 11 now$/);
  machine.processes.delete(11);
  await machine.check();
  assertEquals(machine.ended.length, 1);
});

Deno.test("a container that is torn down, is not ready yet, or is of another boot has not ended by itself", async () => {
  await using machine = await Machine.create();
  const record = await machine.start("a", 11);
  await machine.start("creating", 12, { phase: "creating", pid: undefined });
  await machine.start("other", 13, { bootId: "earlier" });
  machine.processes.delete(13);
  await machine.check();
  await machine.sandboxes.write({ ...record, phase: "stopping" });
  machine.processes.delete(11);
  await machine.check();
  await machine.sandboxes.remove(record);
  await machine.check();
  assertEquals(machine.ended, []);
});

Deno.test("a sandbox that is created again with the same ID is watched again", async () => {
  await using machine = await Machine.create();
  const first = await machine.start("a", 11);
  await machine.check();
  machine.processes.delete(11);
  await machine.check();
  await machine.removeBundle("a");
  await machine.start("a", 21, { createdAt: `${first.createdAt}+` });
  await machine.check();
  assertEquals(machine.ended.length, 1);
  machine.processes.delete(21);
  machine.outOfMemory();
  await machine.check();
  assertEquals(machine.ended.map(({ pid }) => pid), [11, 21]);
  assertMatch(
    machine.ended[1]?.reason ?? "",
    /21 is gone; the kernel has killed 1 of its processes because memory ran out$/,
  );
});

Deno.test("the watch checks by itself until it is disposed of, and logs a failure once", async () => {
  await using machine = await Machine.create();
  machine.watch.start();
  await Deno.mkdir(`${machine.dir}/state`);
  await Deno.writeTextFile(`${machine.dir}/state/infra`, "no directory");
  await until(() => machine.log.all.length > 0);
  assertMatch(machine.log.all[0] ?? "", /^error Cannot watch the infra containers: /);
  await Deno.remove(`${machine.dir}/state/infra`);
  await machine.start("a", 11);
  await until(() => machine.host.requests.length > 0);
  machine.processes.delete(11);
  await until(() => machine.ended.length > 0);
  assertEquals(machine.log.all.length, 1);
});
