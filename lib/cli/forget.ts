import type { ForgottenAttachment } from "../attachment/forget.ts";
import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { oneLine } from "../host/log.ts";
import { withSignals } from "../plugin/signals.ts";
import { reportToJson } from "../runtime/json_view.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";

/** `podwire forget ID [IFNAME] [NETWORK] --reason TEXT` */
export async function forget(input: CommandInput): Promise<number> {
  const { io, operands: [containerId = "", ifName, network] } = input;
  const reason = input.value("reason");
  if (reason === undefined) {
    throw new CniError("usage", "forget: --reason is missing", {
      hint: "give a reason; it is logged",
    });
  }
  const dryRun = input.flag("dry-run");
  const report = await withSignals(
    io,
    (signal) => openPodwire(input).forget({ containerId, ifName, network, reason, dryRun }, { signal }),
  );
  if (input.flag("json")) io.write(`${printJson(reportToJson(report), 2)}\n`);
  else io.write(report.forgotten.flatMap((each) => linesOf(each, dryRun)).join(""));
  return 0;
}

function linesOf(attachment: ForgottenAttachment, dryRun: boolean): readonly string[] {
  const { containerId, network, ifName, how, error, freed, remaining } = attachment;
  const line = (word: string, text: string) => `${word.padEnd(12)} ${oneLine(text)}\n`;
  const name = `attachment ${containerId} ${network}:${ifName}`;
  const outcome = dryRun ? "would forget" : how;
  return [
    line(outcome, error === undefined ? name : `${name}: ${error.message}`),
    ...freed.map((what) => line(dryRun ? "would free" : "freed", what)),
    ...remaining.map((what) => line("may be left", what)),
  ];
}
