import { CniError } from "../cni/error.ts";
import { type JsonObject, printJson } from "../cni/json.ts";
import { runAttached } from "../host/attached.ts";
import type { Io } from "../host/io.ts";
import { signalChildrenOf, type SignalName } from "../host/launch.ts";
import { withSignals } from "../plugin/signals.ts";
import { networkStatusOf, networkStatusToJson } from "../pod/network_status.ts";
import { sandboxToJson, sandboxWithTrafficToJson } from "../runtime/json_view.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CommandInput } from "./command.ts";
import { forEachOperand } from "./for_each_operand.ts";
import { sandboxFilter } from "./sandbox_filter.ts";
import { printSandbox, sandboxTable, warnFailures } from "./sandbox_text.ts";
import { openPodwire } from "./open.ts";
import { logger } from "./settings.ts";

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
  const wanted = input.flag("stats") && !input.flag("quiet");
  const traffic = wanted
    ? await withSignals(io, (signal) => sandboxes.traffic(shown, { signal }))
    : undefined;
  const asJson = (sandbox: Sandbox, at: number) =>
    traffic === undefined ? sandboxToJson(sandbox) : sandboxWithTrafficToJson(sandbox, traffic[at] ?? null);
  if (input.flag("json")) io.write(`${printJson(shown.map(asJson), 2)}\n`);
  else if (input.flag("quiet")) io.write(shown.map(({ id }) => `${id}\n`).join(""));
  else io.write(sandboxTable(shown, traffic));
  return 0;
}

/** `podwire inspect NAME` */
export async function inspect(input: CommandInput): Promise<number> {
  const [name = ""] = input.operands;
  const { sandboxes } = openPodwire(input);
  const get = (signal: AbortSignal) => sandboxes.get(name, { ...namespaceOf(input), signal });
  const sandbox = await withSignals(input.io, get);
  const more = statusMember(sandbox);
  if (!input.flag("stats")) printSandbox(input, sandbox, undefined, more);
  else {
    const [traffic = null] = await withSignals(
      input.io,
      (signal) => sandboxes.traffic([sandbox], { signal }),
    );
    printSandbox(input, sandbox, traffic, more);
  }
  return 0;
}

/** Of the pods of container engines, which get no such annotation. */
function statusMember({ nri, namespace, networks }: Sandbox): JsonObject {
  return nri === undefined
    ? {}
    : { networkStatus: networkStatusToJson(networkStatusOf(namespace, networks)) };
}

/** `podwire exec NAME -- CMD...`: runs CMD with the same streams, and returns its exit code. */
export async function exec(input: CommandInput): Promise<number> {
  const { io } = input;
  const [name = "", ...operands] = input.operands;
  const [program, ...args] = [...operands, ...input.rest];
  if (program === undefined) throw new CniError("usage", "exec needs a command: podwire exec NAME -- CMD");
  const options = { ...namespaceOf(input), infra: input.flag("infra") };
  await using entry = await openPodwire(input).sandboxes.enter(name, options);
  const passing = passSignals(io);
  const onUnsent = (error: Error) => logger(input).warn(`Cannot pass a signal on: ${error.message}`);
  const { code } = await runAttached({ ...entry.command(program, args), inheritEnv: true }, {
    onSpawn: ({ pid, kill }) =>
      passing.to(entry.forks ? (signal) => void signalChildrenOf(pid, signal).catch(onUnsent) : kill),
  });
  // Another process may get its ID.
  passing.to(() => {});
  return code;
}

/**
 * Keeps signals until there is a CMD to pass them to: it may be at work, and get a signal, before this process gets the processor
 * again. It listens until this process ends: one may come to CMD first, and here when CMD has ended already, where without a
 * listener it would end this process before it has returned the code of CMD.
 */
function passSignals(io: Io): { to(next: (signal: SignalName) => void): void } {
  const early: SignalName[] = [];
  let pass: (signal: SignalName) => void = (signal) => early.push(signal);
  io.onSignal(["SIGTERM", "SIGHUP", "SIGQUIT"], (signal) => pass(signal));
  // The terminal sends SIGINT to the whole process group. CMD has got it too, and decides.
  io.onSignal(["SIGINT"], () => {});
  return {
    to: (next) => {
      pass = next;
      for (const signal of early) next(signal);
    },
  };
}

function namespaceOf(input: CommandInput): { namespace?: string } {
  const namespace = input.value("namespace");
  return namespace === undefined ? {} : { namespace };
}
