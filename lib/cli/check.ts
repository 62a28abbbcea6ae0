import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { withSignals } from "../plugin/signals.ts";
import { podStatusToJson } from "../runtime/json_view.ts";
import { checkAttachment } from "./attachment.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";

/** `podwire check NETWORK NETNS` and `podwire check SANDBOX` */
export async function check(input: CommandInput): Promise<number> {
  const { io, operands: [sandbox = "", netns] } = input;
  if (netns !== undefined) return await checkAttachment(input);
  const { sandboxes } = openPodwire(input);
  const namespace = input.value("namespace");
  const status = await withSignals(io, (signal) => sandboxes.check(sandbox, { namespace, signal }));
  if (input.flag("json")) io.write(`${printJson(podStatusToJson(status), 2)}\n`);
  if (status.ready) return 0;
  const wrong = status.networks.flatMap(({ error }) => error === undefined ? [] : [error.message]);
  throw new CniError("conflict", `the sandbox "${status.name}" is not as its set-up left it`, {
    details: wrong.length === 0 ? status.reason : wrong.join("\n"),
  });
}
