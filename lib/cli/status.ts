import { withSignals } from "../plugin/signals.ts";
import type { NetworkStatus } from "../network/status.ts";
import type { NetworkConfigList } from "../spec/config.ts";
import { capabilityArgs, cniArgs } from "./attachment.ts";
import type { CommandInput } from "./command.ts";
import { reportFailure } from "./failure.ts";
import { openPodwire } from "./settings.ts";
import { table } from "./table.ts";

const NOT_READY = 6;

/** `podwire status [NETWORK [NETNS]]` */
export async function status(input: CommandInput): Promise<number> {
  const { io, operands: [network] } = input;
  const podwire = openPodwire(input);
  const list = network === undefined ? undefined : await podwire.network(network);
  if (list !== undefined) requireVariables(input);
  const statuses = await withSignals(io, (signal) => podwire.status(list, signal));
  print(input, statuses, list);
  return statuses.every(({ ready }) => ready) ? 0 : NOT_READY;
}

/** As cnitool does, which looks at the variables of all verbs whatever the verb. */
export function requireVariables({ io }: CommandInput): void {
  capabilityArgs(io.env("CAP_ARGS") ?? "");
  cniArgs(io.env("CNI_ARGS") ?? "");
}

/** Of a single network only its error is told, on standard error: scripts around cnitool expect silence. */
function print(
  input: CommandInput,
  statuses: readonly NetworkStatus[],
  one: NetworkConfigList | undefined,
): void {
  const { io } = input;
  if (input.flag("json")) io.write(`${JSON.stringify(statuses.map(shownStatus), null, 2)}\n`);
  else if (one === undefined) io.write(statusTable(statuses));
  else for (const { error } of statuses) if (error) io.writeError(reportFailure(error, { json: false }).text);
}

/** The object of the contract, with every member there. */
function shownStatus({ network, ready, reason, msg }: NetworkStatus) {
  return { network, ready, reason: reason ?? null, msg: msg ?? null, since: null };
}

function statusTable(statuses: readonly NetworkStatus[]): string {
  return table(
    ["NETWORK", "READY", "REASON", "MESSAGE"],
    statuses.map((
      { network, ready, reason, msg },
    ) => [network, ready ? "yes" : "no", reason ?? "-", msg ?? "-"]),
  );
}
