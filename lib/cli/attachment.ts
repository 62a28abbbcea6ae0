import type { AttachRequest } from "../attachment/attachments.ts";
import { CniError } from "../cni/error.ts";
import { isObject, type JsonObject, MAX_DEPTH, parseJson } from "../cni/json.ts";
import { printResult } from "../cni/libcni_text.ts";
import { parseCniArgs } from "../plugin/invocation.ts";
import { withSignals } from "../plugin/signals.ts";
import type { AttachOperations } from "../runtime/attach_operations.ts";
import { openAttach } from "../runtime/open_attach.ts";
import { CLI_OWNER } from "../state/owner.ts";
import type { CommandInput } from "./command.ts";
import { knownContainerId } from "./container_id.ts";
import { containerId, interfaceName } from "./flag_value.ts";
import { netnsPath } from "./netns_path.ts";
import { writeOrUndo } from "./output.ts";
import { runtimeOptions } from "./settings.ts";

/** `podwire add NETWORK NETNS`: prints the result as cnitool does. */
export async function add(input: CommandInput): Promise<number> {
  const operations = openAttach(runtimeOptions(input));
  const { network, request } = await attachRequest(input, operations);
  const result = await withSignals(input.io, (signal) => operations.add(network, request, { signal }));
  await writeOrUndo(input, () => input.io.write(printResult(result)), {
    what: `the attachment of ${request.netns} to network "${network}"`,
    hint: `podwire del ${network} ${request.netns} --id ${request.containerId} --ifname ${request.ifName}`,
    undo: (signal) => operations.del(network, request, { signal }),
  });
  return 0;
}

/** `podwire check NETWORK NETNS` */
export async function checkAttachment(input: CommandInput): Promise<number> {
  const operations = openAttach(runtimeOptions(input));
  const { network, request } = await attachRequest(input, operations);
  await withSignals(input.io, (signal) => operations.check(network, request, { signal }));
  return 0;
}

/** `podwire del NETWORK NETNS` */
export async function del(input: CommandInput): Promise<number> {
  const operations = openAttach(runtimeOptions(input));
  const { network, request } = await attachRequest(input, operations);
  await withSignals(
    input.io,
    (signal) => operations.del(network, request, { forceForeign: input.flag("force-foreign"), signal }),
  );
  return 0;
}

/** Reads the operands, options and variables of cnitool's verbs. */
async function attachRequest(
  input: CommandInput,
  operations: AttachOperations,
): Promise<{ network: string; request: AttachRequest }> {
  const { io } = input;
  const [network = "", given = ""] = input.operands;
  const netns = netnsPath(input, given);
  const ifName = wantedInterface(input);
  const id = input.value("id");
  const isAttached = (containerId: string) => operations.has({ containerId, network, ifName }, {});
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
