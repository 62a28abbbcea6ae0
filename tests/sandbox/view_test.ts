import { assertEquals } from "@std/assert";
import type { RunCommand } from "../../lib/host/command.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { infraProblem } from "../../lib/sandbox/view.ts";

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
