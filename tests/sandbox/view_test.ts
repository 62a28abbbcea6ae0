import { assert, assertEquals, assertRejects } from "@std/assert";
import { isCniError } from "../../lib/cni/error.ts";
import type { RunCommand } from "../../lib/host/command.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { infraProblem } from "../../lib/sandbox/problem.ts";
import { type Sandbox, viewSandbox, viewSandboxes } from "../../lib/sandbox/view.ts";
import { Locks } from "../../lib/state/locks.ts";
import { storesIn } from "../stores.ts";

const RECORD: SandboxRecord = {
  id: "c1",
  name: "web",
  namespace: "default",
  uid: "u1",
  phase: "ready",
  createdAt: "2026-01-01T00:00:00.000Z",
  bootId: "b1",
  netns: { path: "/run/netns/podwire-c1", owned: true, id: "4:1" },
  pid: 4711,
  pidStart: 100,
  infra: { runtime: "runc", bundle: "/var/lib/podwire/infra/c1" },
  annotations: {},
};

/** A machine with one process or none. */
function machine(process?: { pid: number; start: number; state?: string }): { run: RunCommand } {
  const numbers = Array.from({ length: 49 }, (_, index) => index === 18 ? process?.start : 0).join(" ");
  const stdout = process === undefined
    ? ""
    : `${process.pid} (catatonit) ${process.state ?? "S"} ${numbers}\n`;
  return {
    run: () => Promise.resolve({ code: 0, signal: null, stdout, stderr: "", elapsedMs: 1, ended: "exit" }),
  };
}

Deno.test("an infra container exists as long as its process, and otherwise the problem says how the process ended", async () => {
  const gone = "its infra container has ended: its process 4711 is gone";
  const problem = (process?: Parameters<typeof machine>[0], record = RECORD) =>
    infraProblem(record, machine(process));
  assertEquals(await problem({ pid: 4711, start: 100 }), undefined);
  assertEquals(await problem(), gone);
  assertEquals(await problem({ pid: 4711, start: 100, state: "Z" }), gone);
  assertEquals(await problem({ pid: 4711, start: 101 }), `${gone}; another process has the ID 4711 now`);
  // For a record of a version without start times, any process with that ID counts.
  const { pidStart: _, ...earlier } = RECORD;
  assertEquals(await problem({ pid: 4711, start: 101 }, earlier), undefined);
});

Deno.test("a process whose namespace was borrowed may end", async () => {
  assertEquals(await infraProblem({ ...RECORD, infra: undefined }, machine()), undefined);
});

function stateOf({ state, reason, underWay }: Sandbox) {
  return { state, reason, underWay };
}

/** Runs `fn` with new records and locks, without networks. A sandbox in the namespace of the host has no namespace to inspect. */
async function withRecords(
  fn: (context: Parameters<typeof viewSandbox>[1], record: SandboxRecord) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-view-" });
  const { infra: _, pid: __, ...plain } = RECORD;
  const context = {
    ...machine(),
    sandboxes: storesIn(`${dir}/state`).sandboxes,
    locks: new Locks(`${dir}/run`),
    pods: { networks: () => Promise.resolve([]), networksNow: () => [] },
    attachments: { boot: () => Promise.resolve(RECORD.bootId) },
  } as unknown as Parameters<typeof viewSandbox>[1];
  try {
    await fn(context, { ...plain, infra: undefined, pid: undefined, hostNetwork: true });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("a sandbox shows an operation in progress, or how to clean up after an interrupted one", () =>
  withRecords(async (context, ready) => {
    const reasons = {
      creating: ["it is being created, or undone", "it was interrupted while it was being created"],
      stopping: ["it is being torn down", "it was interrupted while it was being torn down"],
      removing: ["it is being removed", "it was interrupted while it was being removed"],
    } as const;
    for (const phase of ["creating", "stopping", "removing"] as const) {
      const record = { ...ready, phase };
      await context.sandboxes.write(record);
      const lock = await context.locks.containers.lock(record.id);
      const underWay = await viewSandbox(record, context);
      const [now, interrupted] = reasons[phase];
      assertEquals(stateOf(underWay), { state: "broken", reason: now, underWay: true });
      // As if the process that holds the lock is killed: the file stays.
      lock[Symbol.dispose]();
      const left = await viewSandbox(record, context);
      const reason = `${interrupted}: \`podwire recover\` cleans it up`;
      assertEquals(stateOf(left), { state: "broken", reason, underWay: undefined });
    }
  }));

Deno.test("an operation that ends between two reads is shown by its outcome, and does not make the sandbox broken", () =>
  withRecords(async (context, ready) => {
    const endsAs = (record: SandboxRecord | undefined) => {
      const isBusy = async () => {
        if (record === undefined) await context.sandboxes.remove(ready);
        else await context.sandboxes.write(record);
        return false;
      };
      return { ...context, locks: { containers: { isBusy } } } as unknown as typeof context;
    };
    const creating = { ...ready, phase: "creating" as const };
    const made = await viewSandbox(creating, endsAs(ready));
    assertEquals(stateOf(made), { state: "ready", reason: undefined, underWay: undefined });
    const removing = { ...ready, phase: "removing" as const };
    assertEquals(await viewSandboxes([removing], endsAs(undefined)), []);
    const error = await assertRejects(() => viewSandbox(removing, endsAs(undefined)));
    assert(isCniError(error, "not-found"));
    // The record was read while the sandbox was ready, and then the sandbox was stopped.
    const ended = { ...ready, pid: 4711, pidStart: 100, infra: RECORD.infra };
    await context.sandboxes.write({ ...ended, pid: undefined, phase: "stopped" });
    const stopped = await viewSandbox(ended, context);
    assertEquals(stateOf(stopped), { state: "stopped", reason: undefined, underWay: undefined });
  }));
