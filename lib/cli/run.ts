import { Interruption } from "../plugin/signals.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CommandInput } from "./command.ts";
import { daemonRun } from "./daemon_run.ts";
import { writeOrUndo } from "./output.ts";
import { printSandbox } from "./sandbox_text.ts";
import { openPodwire } from "./open.ts";
import { sandboxRequest } from "./sandbox_request.ts";

/** `podwire run [NAME]` */
export async function run(input: CommandInput): Promise<number> {
  if (input.flag("dry-run")) {
    const { plan } = await import("./plan.ts");
    return await plan(input);
  }
  const request = sandboxRequest(input);
  const { make, remove } = makerOf(input);
  const sandbox = await makeUntilInterrupted(request, input, make);
  await writeOrUndo(input, () => printSandbox(input, sandbox), {
    what: `the sandbox "${sandbox.name}"`,
    hint: `podwire rm -f ${sandbox.id}`,
    undo: remove && ((signal) => remove(sandbox.id, signal)),
  });
  return 0;
}

async function makeUntilInterrupted(
  request: SandboxRequest,
  { io }: CommandInput,
  make: Maker["make"],
): Promise<Sandbox> {
  using interruption = new Interruption(io);
  return await make(request, { signal: interruption.signal });
}

/** Makes sandboxes, and removes them if this process made them. */
interface Maker {
  readonly make: ReturnType<typeof daemonRun>;
  readonly remove?: (id: string, signal: AbortSignal) => Promise<void>;
}

/** This process or, with `--socket`, the daemon that serves there. */
function makerOf(input: CommandInput): Maker {
  const socket = input.value("socket");
  if (socket !== undefined) return { make: daemonRun(input, socket) };
  const { sandboxes } = openPodwire(input);
  return {
    make: (request, options) => sandboxes.run(request, options),
    remove: async (id, signal) => {
      const [failure] = await sandboxes.remove(id, { force: true, signal });
      if (failure !== undefined) throw failure;
    },
  };
}
