import { CniError } from "../cni/error.ts";
import { withSignals } from "../plugin/signals.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";
import { maskedPlan, planScript } from "./plan_script.ts";
import { sandboxRequest } from "./sandbox_request.ts";

/** `podwire plan [NAME]`, and `podwire run --dry-run [NAME]` */
export async function plan(input: CommandInput): Promise<number> {
  const { io } = input;
  if (input.value("socket") !== undefined) {
    throw new CniError("usage", "--socket: what a daemon would do is not known here", {
      hint: "leave --socket out, and give the options of the daemon",
    });
  }
  const request = sandboxRequest(input);
  if (request.source?.kind === "infra") {
    throw new CniError(
      "usage",
      "--infra: the namespace of an infra container is known when it runs, and not before",
    );
  }
  const planned = await withSignals(io, (signal) => openPodwire(input).planSandbox(request, { signal }));
  const shown = input.flag("show-secrets") ? planned : maskedPlan(planned);
  io.write(input.flag("json") ? `${JSON.stringify(shown, null, 2)}\n` : planScript(shown));
  return 0;
}
