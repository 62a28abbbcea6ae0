import { printJson } from "../cni/json.ts";
import { oneLine } from "../host/log.ts";
import { withSignals } from "../plugin/signals.ts";
import { reportToJson } from "../runtime/json_view.ts";
import type { RecoveryItem, RecoveryProgress } from "../sandbox/recovery_report.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";
import { logger } from "./settings.ts";

/** `podwire recover` */
export async function recover(input: CommandInput): Promise<number> {
  const { io } = input;
  const podwire = openPodwire(input);
  const progress = progressOf(input);
  const report = await withSignals(io, async (signal) => {
    try {
      return await podwire.recover({ signal, onProgress: progress.show });
    } finally {
      progress.clear();
    }
  });
  if (input.flag("json")) {
    io.write(`${printJson(reportToJson(report), 2)}\n`);
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

interface Progress {
  readonly show: (progress: RecoveryProgress) => void;
  readonly clear: () => void;
}

/** Shows the progress: on a terminal as one line that is overwritten, else as lines of the log. */
function progressOf(input: CommandInput): Progress {
  const { io } = input;
  if (io.stderrIsTerminal && !input.flag("json")) {
    // The cursor stays at the start of the line, so that a line of the log overwrites it.
    const write = (text: string) => io.writeError(`\x1b[K${text}\r`);
    return {
      show: ({ done, total }) => write(`recovering ${done} of ${total}`),
      clear: () => write(""),
    };
  }
  const log = logger(input);
  return {
    show: ({ done, total, item }) => log.info(`recovering ${done} of ${total}`, { container: item }),
    clear: () => {},
  };
}

function itemText({ kind, containerId, network, ifName, netns, why }: RecoveryItem): string {
  const place = kind === "attachment" ? ` ${network}:${ifName}` : kind === "namespace" ? ` ${netns}` : "";
  return oneLine(`${kind} ${containerId}${place}: ${why}`);
}
