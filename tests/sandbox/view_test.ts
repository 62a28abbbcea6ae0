import { assert, assertEquals, assertRejects } from "@std/assert";
import type { RunCommand } from "../../lib/host/command.ts";
import { Locks } from "../../lib/state/locks.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { SandboxStore } from "../../lib/sandbox/store.ts";
import { infraProblem, viewSandbox, viewSandboxes } from "../../lib/sandbox/view.ts";
import { isCniError } from "../../lib/cni/error.ts";

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

/** A machine on which there is one process, if any. */
function machine(process?: { pid: number; start: number; state?: string }): { run: RunCommand } {
  const numbers = Array.from({ length: 49 }, (_, index) => index === 18 ? process?.start : 0).join(" ");
  const stdout = process === undefined
    ? ""
    : `${process.pid} (catatonit) ${process.state ?? "S"} ${numbers}\n`;
  return {
    run: () => Promise.resolve({ code: 0, signal: null, stdout, stderr: "", elapsedMs: 1, ended: "exit" }),
  };
}

Deno.test("an infra container is there as long as its very process is, and else it is said what became of it", async () => {
  const gone = "its infra container has ended: its process 4711 is gone";
  const problem = (process?: Parameters<typeof machine>[0], record = RECORD) =>
    infraProblem(record, machine(process));
  assertEquals(await problem({ pid: 4711, start: 100 }), undefined);
  assertEquals(await problem(), gone);
  assertEquals(await problem({ pid: 4711, start: 100, state: "Z" }), gone);
  assertEquals(await problem({ pid: 4711, start: 101 }), `${gone}; another process has the ID 4711 now`);
  // Of a record from before the start was kept, any process of that ID counts.
  const { pidStart: _, ...earlier } = RECORD;
  assertEquals(await problem({ pid: 4711, start: 101 }, earlier), undefined);
});

Deno.test("a process that only lent its namespace may end", async () => {
  assertEquals(await infraProblem({ ...RECORD, infra: undefined }, machine()), undefined);
});

/** Records and locks of their own, without networks. In the namespace of the host there is nothing to look at. */
async function withRecords(
  fn: (parts: Parameters<typeof viewSandbox>[1], record: SandboxRecord) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "pwt-view-" });
  const { infra: _, pid: __, ...plain } = RECORD;
  const parts = {
    ...machine(),
    sandboxes: new SandboxStore(`${dir}/state`),
    locks: new Locks(`${dir}/run`),
    pods: { networks: () => Promise.resolve([]) },
    attachments: { boot: () => Promise.resolve(RECORD.bootId) },
  } as unknown as Parameters<typeof viewSandbox>[1];
  try {
    await fn(parts, { ...plain, infra: undefined, pid: undefined, hostNetwork: true });
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("a sandbox that somebody is at work on says so, one that nobody is at work on says what settles it", () =>
  withRecords(async (parts, ready) => {
    const words = {
      creating: ["it is being made, or undone", "it was interrupted while it was being made"],
      stopping: ["it is being taken down", "it was interrupted while it was being taken down"],
      removing: ["it is being removed", "it was interrupted while it was being removed"],
    } as const;
    for (const phase of ["creating", "stopping", "removing"] as const) {
      const record = { ...ready, phase };
      await parts.sandboxes.write(record);
      const lock = await parts.locks.containers.lock(record.id);
      const underWay = await viewSandbox(record, parts);
      assertEquals([underWay.state, underWay.reason, underWay.underWay], ["broken", words[phase][0], true]);
      // As whoever holds it is killed: the file stays.
      lock[Symbol.dispose]();
      const left = await viewSandbox(record, parts);
      assertEquals(
        [left.state, left.reason, left.underWay],
        ["broken", `${words[phase][1]}: \`podwire recover\` cleans it up`, undefined],
      );
    }
  }));

Deno.test("an operation that ends between two looks is shown as it ended, and is no fault of the sandbox", () =>
  withRecords(async (parts, ready) => {
    const endsAs = (record: SandboxRecord | undefined) => {
      const isBusy = async () => {
        if (record === undefined) await parts.sandboxes.remove(ready);
        else await parts.sandboxes.write(record);
        return false;
      };
      return { ...parts, locks: { containers: { isBusy } } } as unknown as typeof parts;
    };
    const creating = { ...ready, phase: "creating" as const };
    const made = await viewSandbox(creating, endsAs(ready));
    assertEquals([made.state, made.reason], ["ready", undefined]);
    const removing = { ...ready, phase: "removing" as const };
    assertEquals(await viewSandboxes([removing], endsAs(undefined)), []);
    const error = await assertRejects(() => viewSandbox(removing, endsAs(undefined)));
    assert(isCniError(error, "not-found"));
    // Its record was read as that of one that is ready, and then it was stopped.
    const ended = { ...ready, pid: 4711, pidStart: 100, infra: RECORD.infra };
    await parts.sandboxes.write({ ...ended, pid: undefined, phase: "stopped" });
    const stopped = await viewSandbox(ended, parts);
    assertEquals([stopped.state, stopped.reason], ["stopped", undefined]);
  }));
