// How often the daemon checks a container that has ended, on a machine that the test controls.
import { assertEquals } from "@std/assert";
import { emptyReport } from "../../lib/gc/report.ts";
import { ContainerWatch } from "../../lib/sandbox/container_watch.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import type { RecoveryItem } from "../../lib/sandbox/recovery_report.ts";
import { Lines } from "../attachment/world.ts";
import { FAKE_BOOT, FakeRun } from "../fake_run.ts";
import { storesIn } from "../stores.ts";

const NUMBERS = Array.from({ length: 29 }, () => 0).join(" ");

function recordOf(id: string, pid: number): SandboxRecord {
  return {
    id,
    name: id,
    namespace: "default",
    uid: id,
    phase: "ready",
    createdAt: "2026-01-01T00:00:00.000Z",
    bootId: FAKE_BOOT,
    netns: { path: `/run/netns/podwire-${id}`, owned: true, id: `4:${pid}` },
    pid,
    pidStart: pid * 10,
    infra: undefined,
    annotations: {},
    container: {
      bundle: "/b",
      pidNamespace: "pid:[1]",
      runtime: { program: "/usr/bin/runc", root: "/run/x" },
    },
  };
}

Deno.test("an ended container is torn down, and checked again after growing pauses while its runtime still has it", async () => {
  const dir = await Deno.makeTempDir({ prefix: "pwt-containers-" });
  try {
    const running = new Set([11, 12]);
    const host = new FakeRun(({ args = [] }) => ({
      stdout: args.map((path) => Number(path.split("/")[2])).filter((pid) => running.has(pid))
        .map((pid) => `${pid} (sh) S ${"0 ".repeat(18)}${pid * 10} ${NUMBERS} 0 0\n`).join(""),
    }));
    const sandboxes = storesIn(dir).sandboxes;
    for (const [id, pid] of [["a", 11], ["b", 12]] as const) await sandboxes.write(recordOf(id, pid));
    assertEquals((await sandboxes.read("a"))?.container, recordOf("a", 11).container);
    // A sandbox without a container is not watched.
    const { container: _, ...other } = recordOf("c", 13);
    await sandboxes.write(other);

    let now = 0;
    let isKept = true;
    const calls: string[] = [];
    const watch = new ContainerWatch({
      sandboxes,
      attachments: { boot: () => Promise.resolve(FAKE_BOOT) } as never,
      run: host.run,
      log: new Lines(),
      now: () => now,
      namespaceOf: (pid) => Promise.resolve(running.has(pid) ? `4:${pid}` : undefined),
      recovery: {
        tearDownEndedContainers: async (_signal, ids = []) => {
          calls.push(...ids.map((id) => `${id} at ${now / 1_000}`));
          const report = emptyReport<RecoveryItem>();
          if (isKept) {
            report.kept.push({ kind: "sandbox", containerId: ids[0] ?? "", why: "its runtime has it" });
          } else for (const id of ids) await sandboxes.remove(recordOf(id, 11));
          return report;
        },
      },
    });
    await watch.check();
    assertEquals(calls, []);
    running.delete(11);
    for (; now <= 200_000; now += 2_000) await watch.check();
    assertEquals(calls, [
      "a at 0",
      "a at 2",
      "a at 6",
      "a at 14",
      "a at 30",
      "a at 62",
      "a at 122",
      "a at 182",
    ]);
    isKept = false;
    now = 400_000;
    await watch.check();
    assertEquals({ last: calls.at(-1), left: await sandboxes.containers.all() }, {
      last: "a at 400",
      left: ["b"],
    });
    const before = host.requests.length;
    await watch.check();
    assertEquals(host.requests.length, before, "no program runs while nothing ends");
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
