import { parseCniArgs } from "../plugin/invocation.ts";
import { withSignals } from "../plugin/signals.ts";
import type { NetworkStatus } from "../readiness/status.ts";
import { isRejectedFile } from "../readiness/status_target.ts";
import { statusToJson } from "../runtime/json_view.ts";
import { capabilityArgs } from "./attachment.ts";
import type { CommandInput } from "./command.ts";
import { reportFailure } from "./failure.ts";
import { openPodwire } from "./open.ts";
import { logger, parseDuration } from "./settings.ts";
import { table } from "./table.ts";

const NOT_READY = 6;

/** `podwire status [NETWORK [NETNS]]` */
export async function status(input: CommandInput): Promise<number> {
  const { io, operands: [network] } = input;
  const podwire = openPodwire(input);
  const grace = input.value("grace");
  const graceMs = grace === undefined ? 0 : parseDuration(grace, "--grace");
  if (network !== undefined) {
    await podwire.network(network);
    requireVariables(input);
  }
  const statuses = await withSignals(io, (signal) => podwire.status(network, { graceMs, signal }));
  print(input, statuses);
  // An unusable file does not affect the networks, unless there are only such files.
  const inUse = statuses.filter((one) => !isRejectedFile(one));
  return inUse.length > 0 && inUse.every(({ ready }) => ready) ? 0 : NOT_READY;
}

/** Validates the variables of all verbs, as cnitool does for any verb. */
export function requireVariables({ io }: CommandInput): void {
  capabilityArgs(io.env("CAP_ARGS") ?? "");
  parseCniArgs(io.env("CNI_ARGS") ?? "", "CNI_ARGS");
}

/**
 * Prints the networks. For a single one, only its error is printed, to standard error: scripts for cnitool expect no
 * output.
 */
function print(input: CommandInput, statuses: readonly NetworkStatus[]): void {
  const { io, operands } = input;
  if (input.flag("json")) return io.write(`${JSON.stringify(statuses.map(statusToJson), null, 2)}\n`);
  if (operands.length === 0) return io.write(statusTable(statuses));
  for (const { ready, error, warnings = [] } of statuses) {
    if (!ready && error) io.writeError(reportFailure(error, { json: false }).text);
    for (const warning of warnings) logger(input).warn(warning);
  }
}

function statusTable(statuses: readonly NetworkStatus[]): string {
  return table(
    ["NETWORK", "READY", "REASON", "SINCE", "MESSAGE"],
    statuses.map(({ network, ready, reason, since, graceUntil, msg, warnings = [] }) => [
      network ?? "-",
      ready ? "yes" : "no",
      reason ?? "-",
      formatTime(since),
      [
        ...(msg === undefined ? [] : [msg]),
        ...warnings.map((warning) => `warning: ${warning}`),
        ...(graceUntil === undefined ? [] : [`counts as ready until ${formatTime(graceUntil)}`]),
      ].join("; ") || "-",
    ]),
  );
}

/** Returns a time without fractions of a second. */
function formatTime(iso: string | undefined): string {
  return iso === undefined ? "-" : iso.replace(/\.\d+Z$/, "Z");
}
