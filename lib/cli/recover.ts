import { withSignals } from "../plugin/signals.ts";
import { oneLine } from "../host/log.ts";
import type { RecoveryItem } from "../sandbox/recovery.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./settings.ts";

/** `podwire recover` */
export async function recover(input: CommandInput): Promise<number> {
  const { io } = input;
  const podwire = openPodwire(input);
  const report = await withSignals(io, (signal) => podwire.recover(signal));
  if (input.flag("json")) {
    io.write(`${JSON.stringify(report, null, 2)}\n`);
  } else {
    const lines = [
      ...report.removed.map((item) => `removed  ${itemText(item)}\n`),
      ...report.kept.map((item) => `kept     ${itemText(item)}\n`),
      ...report.failed.map((item) => `failed   ${itemText(item)}\n`),
    ];
    io.write(lines.join(""));
  }
  return report.failed.length === 0 ? 0 : 1;
}

function itemText({ kind, containerId, network, ifName, netns, why }: RecoveryItem): string {
  const place = kind === "attachment" ? ` ${network}:${ifName}` : kind === "namespace" ? ` ${netns}` : "";
  return oneLine(`${kind} ${containerId}${place}: ${why}`);
}
