import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import type { GcItem, GcReport } from "../gc/report.ts";
import type { AttachmentName } from "../gc/verdict.ts";
import { oneLine } from "../host/log.ts";
import { withSignals } from "../plugin/signals.ts";
import { reportToJson } from "../runtime/json_view.ts";
import type { CommandInput } from "./command.ts";
import { containerId, interfaceName } from "./flag_value.ts";
import { openPodwire } from "./open.ts";
import { requireVariables } from "./status.ts";

/** `podwire gc [NETWORK [NETNS]]` */
export async function gc(input: CommandInput): Promise<number> {
  const { io, operands: [network] } = input;
  const podwire = openPodwire(input);
  const valid = input.list("valid").map(attachmentName);
  if (network !== undefined) requireVariables(input);
  const report = await withSignals(io, (signal) =>
    podwire.gc({
      network,
      valid: valid.length === 0 ? undefined : valid,
      all: input.flag("all"),
      dryRun: input.flag("dry-run"),
    }, { signal }));
  print(input, report);
  return report.failed.length === 0 ? 0 : 1;
}

/** Reads ID:IFNAME. Neither an ID nor the name of an interface contains a colon. */
function attachmentName(text: string): AttachmentName {
  const [id = "", ifName = "", ...more] = text.split(":");
  if (id === "" || ifName === "" || more.length > 0) {
    throw new CniError("usage", `--valid: "${text}" is not ID:IFNAME`);
  }
  // An impossible name would match no attachment, and all attachments would be removed.
  return { containerId: containerId("--valid", id), ifName: interfaceName("--valid", ifName) };
}

function print(input: CommandInput, report: GcReport): void {
  const { io } = input;
  if (input.flag("json")) return io.write(`${printJson(reportToJson(report), 2)}\n`);
  const dryRun = input.flag("dry-run");
  const lines = [
    ...linesOf(dryRun ? "would remove" : "removed", report.removed),
    ...linesOf(dryRun ? "would keep" : "kept", report.kept),
    ...linesOf("failed", report.failed),
  ];
  // With the operands of cnitool, nothing is printed to standard output, as with cnitool.
  if (input.operands.length > 0 && !dryRun) io.writeError(lines.join(""));
  else io.write(lines.join(""));
  const undecided = report.kept.filter((item) => item.undecided).length;
  if (undecided === 0) return;
  const what = undecided === 1 ? "an attachment" : `${undecided} attachments`;
  io.writeError(
    `podwire: kept ${what} made by hand: --all removes all of them, --valid ID:IFNAME keeps only those in use\n`,
  );
}

function linesOf(word: string, items: readonly GcItem[]): readonly string[] {
  return items.map((item) => `${word.padEnd(8)} ${oneLine(`${placeOf(item)}: ${item.why}`)}\n`);
}

function placeOf({ kind, containerId, network, ifName, netns, plugin, file }: GcItem): string {
  if (kind === "attachment") return `attachment ${containerId} ${network}:${ifName}`;
  if (kind === "namespace") return `namespace ${containerId} ${netns}`;
  if (kind === "container" || kind === "sandbox") return `${kind} ${containerId}`;
  if (kind === "addresses") return `addresses ${network}`;
  return kind === "cache"
    ? `cache ${file}`
    : `network ${network}${plugin === undefined ? "" : ` plugin ${plugin}`}`;
}
