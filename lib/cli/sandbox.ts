import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { runAttachedInside } from "../host/netns.ts";
import { withSignals } from "../plugin/signals.ts";
import { sandboxToJson } from "../runtime/json_view.ts";
import type { CommandInput } from "./command.ts";
import { forEachOperand } from "./for_each_operand.ts";
import { sandboxFilter } from "./sandbox_filter.ts";
import { printSandbox, sandboxTable, warnFailures } from "./sandbox_text.ts";
import { openPodwire } from "./open.ts";

/** `podwire stop NAME...` */
export async function stop(input: CommandInput): Promise<number> {
  const { sandboxes } = openPodwire(input);
  return await forEachOperand(input, async (name, signal) => {
    warnFailures(input, await sandboxes.stop(name, { ...namespaceOf(input), signal }));
  });
}

/** `podwire rm [-f] NAME...` */
export async function rm(input: CommandInput): Promise<number> {
  const { sandboxes } = openPodwire(input);
  const force = input.flag("force");
  return await forEachOperand(input, async (name, signal) => {
    warnFailures(input, await sandboxes.remove(name, { ...namespaceOf(input), force, signal }));
  });
}

/** `podwire ps` */
export async function ps(input: CommandInput): Promise<number> {
  const { io } = input;
  const filters = input.list("filter").map((text) => sandboxFilter("--filter", text));
  const { sandboxes } = openPodwire(input);
  const shown = await withSignals(
    io,
    (signal) => sandboxes.list([namespaceOf(input), ...filters], { signal }),
  );
  if (input.flag("json")) io.write(`${printJson(shown.map(sandboxToJson), 2)}\n`);
  else if (input.flag("quiet")) io.write(shown.map(({ id }) => `${id}\n`).join(""));
  else io.write(sandboxTable(shown));
  return 0;
}

/** `podwire inspect NAME` */
export async function inspect(input: CommandInput): Promise<number> {
  const [name = ""] = input.operands;
  const { sandboxes } = openPodwire(input);
  const get = (signal: AbortSignal) => sandboxes.get(name, { ...namespaceOf(input), signal });
  printSandbox(input, await withSignals(input.io, get));
  return 0;
}

/** `podwire exec NAME -- CMD...`: runs CMD with the same streams, and returns its exit code. */
export async function exec(input: CommandInput): Promise<number> {
  const { io } = input;
  const [name = "", ...operands] = input.operands;
  const [program, ...args] = [...operands, ...input.rest];
  if (program === undefined) throw new CniError("usage", "exec needs a command: podwire exec NAME -- CMD");
  using netns = await openPodwire(input).sandboxes.hold(name, namespaceOf(input));
  const listeners: (() => void)[] = [];
  try {
    const { code } = await runAttachedInside(netns.path, { program, args, inheritEnv: true }, {
      onSpawn: (child) => {
        listeners.push(io.onSignal(["SIGTERM", "SIGHUP", "SIGQUIT"], (signal) => child.kill(signal)));
        // The terminal sends SIGINT to the whole process group. CMD has got it too, and decides.
        listeners.push(io.onSignal(["SIGINT"], () => {}));
      },
    });
    return code;
  } finally {
    for (const remove of listeners) remove();
  }
}

function namespaceOf(input: CommandInput): { namespace?: string } {
  const namespace = input.value("namespace");
  return namespace === undefined ? {} : { namespace };
}
