import type { AttachRequest } from "../attachment/attachments.ts";
import { CniError } from "../cni/error.ts";
import { isObject, type JsonObject, MAX_DEPTH, parseJson, printJson } from "../cni/json.ts";
import { printResult } from "../cni/libcni_text.ts";
import { parseCniArgs } from "../plugin/invocation.ts";
import { withSignals } from "../plugin/signals.ts";
import { attachmentToJson } from "../runtime/json_view.ts";
import type { Podwire } from "../runtime/podwire.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { failureReason } from "../state/failure_reason.ts";
import { CLI_OWNER } from "../state/owner.ts";
import type { CommandInput } from "./command.ts";
import { knownContainerId } from "./container_id.ts";
import { containerId, interfaceName, networkName } from "./flag_value.ts";
import { netnsPath } from "./netns_path.ts";
import { writeOrUndo } from "./output.ts";
import { openPodwire } from "./settings.ts";
import { table } from "./table.ts";
import { ageOf, nextTryOf } from "./time_text.ts";

/** `podwire add NETWORK NETNS`: prints the result as cnitool does. */
export async function add(input: CommandInput): Promise<number> {
  const podwire = openPodwire(input);
  const { network, request } = await attachRequest(input, podwire);
  const result = await withSignals(input.io, (signal) => podwire.addJson(network, request, { signal }));
  await writeOrUndo(input, () => input.io.write(printResult(result)), {
    what: `the attachment of ${request.netns} to network "${network}"`,
    hint: `podwire del ${network} ${request.netns} --id ${request.containerId} --ifname ${request.ifName}`,
    undo: (signal) => podwire.del(network, request, { signal }),
  });
  return 0;
}

/** `podwire check NETWORK NETNS` */
export async function check(input: CommandInput): Promise<number> {
  const podwire = openPodwire(input);
  const { network, request } = await attachRequest(input, podwire);
  await withSignals(input.io, (signal) => podwire.check(network, request, { signal }));
  return 0;
}

/** `podwire del NETWORK NETNS` */
export async function del(input: CommandInput): Promise<number> {
  const podwire = openPodwire(input);
  const { network, request } = await attachRequest(input, podwire);
  await withSignals(
    input.io,
    (signal) => podwire.del(network, request, { forceForeign: input.flag("force-foreign"), signal }),
  );
  return 0;
}

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

/** Reads the operands, options and variables of cnitool's verbs. */
async function attachRequest(
  input: CommandInput,
  podwire: Podwire,
): Promise<{ network: string; request: AttachRequest }> {
  const { io } = input;
  const [network = "", given = ""] = input.operands;
  const netns = netnsPath(input, given);
  const ifName = wantedInterface(input);
  const id = input.value("id");
  const isAttached = (containerId: string) => podwire.isAttached({ containerId, network, ifName });
  const args = parseCniArgs(io.env("CNI_ARGS") ?? "", "CNI_ARGS");
  const request = {
    capabilityArgs: capabilityArgs(io.env("CAP_ARGS") ?? ""),
    containerId: id === undefined ? await knownContainerId(netns, isAttached) : containerId("--id", id),
    netns,
    ifName,
    args,
    owner: CLI_OWNER,
  };
  return { network, request };
}

function wantedInterface({ io, value }: CommandInput): string {
  const [flag, variable] = [value("ifname"), io.env("CNI_IFNAME")];
  if (flag !== undefined) return interfaceName("--ifname", flag);
  return variable ? interfaceName("CNI_IFNAME", variable) : "eth0";
}

/** Reads the object of the variable `CAP_ARGS`. */
export function capabilityArgs(text: string): JsonObject {
  if (text === "") return {};
  const json = parseJson(text, { file: "CAP_ARGS", maxDepth: MAX_DEPTH });
  if (isObject(json)) return json;
  throw new CniError("usage", `CAP_ARGS is not a JSON object: ${text}`);
}
