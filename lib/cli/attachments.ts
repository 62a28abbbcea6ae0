import { type JsonObject, printJson } from "../cni/json.ts";
import { attachmentToJson } from "../runtime/json_view.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { failureReason } from "../state/failure_reason.ts";
import type { CommandInput } from "./command.ts";
import { containerId, networkName } from "./flag_value.ts";
import { openPodwire } from "./open.ts";
import { table } from "./table.ts";
import { ageOf, nextTryOf } from "./time_text.ts";

/** `podwire attachments [CONTAINER]` */
export async function attachments(input: CommandInput): Promise<number> {
  const { io, operands: [container] } = input;
  const network = input.value("network");
  const records = await openPodwire(input).attachments({
    failed: input.flag("failed"),
    containerId: container === undefined ? undefined : containerId("CONTAINER", container),
    network: network === undefined ? undefined : networkName("--network", network),
  });
  if (input.flag("json")) io.write(`${printJson(records.map(attachmentToJson), 2)}\n`);
  else io.write(attachmentTable(records, new Date()));
  return 0;
}

function attachmentTable(records: readonly AttachmentRecord[], now: Date): string {
  return table(
    ["CONTAINER", "NETWORK", "INTERFACE", "STATE", "AGE", "ATTEMPTS", "NEXT TRY", "REASON"],
    records.map(({ containerId, network, ifName, state, since, attempts, nextTry, error }) => [
      containerId,
      network,
      ifName,
      state,
      ageOf(since, now),
      String(attempts),
      nextTryOf(attempts, nextTry, now),
      failureText(error),
    ]),
  );
}

/** Returns the message of the last failure, and its plugin. */
function failureText(error: JsonObject | undefined): string {
  const reason = failureReason(error) ?? "-";
  return typeof error?.plugin === "string" ? `${error.plugin}: ${reason}` : reason;
}
