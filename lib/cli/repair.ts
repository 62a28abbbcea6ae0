import { type JsonObject, printJson } from "../cni/json.ts";
import { oneLine } from "../host/log.ts";
import { withSignals } from "../plugin/signals.ts";
import type { RepairItem } from "../sandbox/repair.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";

/** `podwire repair [NAME...]` */
export async function repair(input: CommandInput): Promise<number> {
  const { io } = input;
  const namespace = input.value("namespace");
  const dryRun = input.flag("dry-run");
  const podwire = openPodwire(input);
  const sandbox = input.operands.length === 0 ? undefined : input.operands;
  const request = { dryRun, links: input.flag("links"), sandbox, namespace };
  const report = await withSignals(io, (signal) => podwire.sandboxes.repair(request, { signal }));
  if (input.flag("json")) io.write(`${printJson(report as unknown as JsonObject, 2)}\n`);
  else {
    const done = dryRun ? "would repair" : "repaired";
    const lines = [
      ...report.repaired.map((item) => `${done} ${itemText(item)}\n`),
      ...report.kept.map((item) => `kept ${itemText(item)}\n`),
    ];
    io.write(lines.join(""));
  }
  return report.kept.length === 0 ? 0 : 1;
}

function itemText({ kind, containerId, network, ifName, why, lost = [] }: RepairItem): string {
  const unknown = lost.length === 0 ? "" : `; lost: ${lost.join(", ")}`;
  const attachment = network === undefined ? "" : ` ${network}:${ifName}`;
  return oneLine(`${kind} ${containerId}${attachment}: ${why}${unknown}`);
}
