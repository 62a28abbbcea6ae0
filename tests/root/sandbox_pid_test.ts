// Sandboxes in the namespace of a process, whose ID may belong to another one a moment later.
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { netnsId } from "../../lib/host/netns.ts";
import { readProcesses } from "../../lib/host/process.ts";
import { sandboxTest, until } from "./sandbox_world.ts";

const failing = (act: () => unknown) => assertRejects(async () => await act(), CniError);

/** A process in a network namespace of its own, until it is disposed. */
async function holder(): Promise<{ pid: number; end: () => Promise<void> } & AsyncDisposable> {
  const child = new Deno.Command("unshare", { args: ["--net", "sleep", "60"], stdin: "null" }).spawn();
  const own = await netnsId("/proc/self/ns/net");
  await until(async () => ![own, undefined].includes(await netnsId(`/proc/${child.pid}/ns/net`)));
  let isOver = false;
  const end = async () => {
    if (!isOver) child.kill("SIGKILL");
    isOver = true;
    await child.status;
  };
  return { pid: child.pid, end, [Symbol.asyncDispose]: end };
}

sandboxTest(
  "the process is on record with its start, and may end once its namespace is pinned",
  async (world) => {
    await world.network("a");
    await using process = await holder();
    const theirs = await netnsId(`/proc/${process.pid}/ns/net`);
    const { sandboxes } = world.podwire();
    const made = await sandboxes.run({ name: "web", id: "c1", source: { kind: "pid", pid: process.pid } });
    assertEquals({ pid: made.pid, state: made.state, netnsId: await netnsId(made.netns) }, {
      pid: process.pid,
      state: "ready",
      netnsId: theirs,
    });
    const start = (await readProcesses([process.pid])).get(process.pid)?.start;
    assertEquals((await world.sandboxes.read("c1"))?.pidStart, start);
    await process.end();
    const later = await sandboxes.get("web");
    assertEquals({ pid: later.pid, state: later.state, netnsId: await netnsId(later.netns) }, {
      pid: null,
      state: "ready",
      netnsId: theirs,
    });
    using netns = await sandboxes.hold("web");
    assert(netns.path !== later.netns);
    await sandboxes.remove("web");
  },
);

/**
 * Makes the process look as if it had started later, from the second look on, as if its ID had been reused
 * meanwhile.
 */
function withAnother(pid: number): RunCommand {
  let looks = 0;
  return async (request) => {
    const outcome = await runCommand(request);
    if (request.program !== "cat" || request.args?.[0] !== `/proc/${pid}/stat` || ++looks < 2) return outcome;
    return { ...outcome, stdout: outcome.stdout.replace(/( \d+){31}\n$/, (rest) => ` 9${rest.slice(1)}`) };
  };
}

sandboxTest(
  "a process whose ID another one got before it was pinned is refused, and nothing is left",
  async (world) => {
    await world.network("a");
    await using process = await holder();
    const { sandboxes } = world.podwire({ run: withAnother(process.pid) });
    const error = await failing(() =>
      sandboxes.run({ name: "web", source: { kind: "pid", pid: process.pid } })
    );
    assertEquals({ kind: error.kind, code: error.code }, { kind: "not-found", code: 8 });
    assertStringIncludes(
      error.msg,
      `process ${process.pid}: it has ended, and another process has its ID now`,
    );
    assertEquals({ verbs: await world.plugins.verbs(), left: await world.left() }, { verbs: [], left: [] });
  },
);

sandboxTest(
  "a process that ends before, or right after it was pinned, is refused, and nothing is left",
  async (world) => {
    await world.network("a");
    for (const when of ["mount", "nsenter"]) {
      await using process = await holder();
      const run: RunCommand = async (request) => {
        const isMoment = request.program === when && request.args?.some((arg) => arg.includes("podwire-c1"));
        if (isMoment) await process.end();
        return await runCommand(request);
      };
      const { sandboxes } = world.podwire({ run });
      const source = { kind: "pid", pid: process.pid } as const;
      const error = await failing(() => sandboxes.run({ name: "web", id: "c1", source }));
      assert(["not-found", "io"].includes(error.kind), error.kind);
      assertEquals(
        { verbs: await world.plugins.verbs(), left: await world.left() },
        { verbs: [], left: [] },
        when,
      );
    }
  },
);

sandboxTest(
  "a process that does not exist, or is in the namespace of podwire itself, is refused",
  async (world) => {
    await world.network("a");
    const { sandboxes } = world.podwire();
    const run = (pid: number) => failing(() => sandboxes.run({ source: { kind: "pid", pid } }));
    assertEquals((await run(2 ** 22 + 1)).kind, "not-found");
    const own = await run(Deno.pid);
    assertEquals(own.kind, "usage");
    assertStringIncludes(own.context.hint ?? "", "--host-network");
    assertEquals({ verbs: await world.plugins.verbs(), left: await world.left() }, { verbs: [], left: [] });
  },
);
