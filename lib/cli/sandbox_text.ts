import { parseCidr } from "../cni/address.ts";
import { defaultRoutesOf } from "../cni/default_route.ts";
import type { CniError } from "../cni/error.ts";
import { type JsonObject, printJson } from "../cni/json.ts";
import { asResult } from "../cni/result.ts";
import { sandboxToJson, sandboxWithTrafficToJson } from "../runtime/json_view.ts";
import type { InterfaceTraffic } from "../sandbox/traffic.ts";
import type { Sandbox } from "../sandbox/view.ts";
import type { CommandInput } from "./command.ts";
import { logger } from "./settings.ts";
import { portTexts } from "./ports_text.ts";
import { byteText, sumOf, trafficText } from "./traffic_text.ts";
import { fieldLines, table } from "./table.ts";

const SHORT_ID = 12;

/** Prints a sandbox: as an object with `--json`, which has these members too, else as lines of text. */
export function printSandbox(
  { io, flag }: CommandInput,
  sandbox: Sandbox,
  traffic?: readonly InterfaceTraffic[] | null,
  more: JsonObject = {},
): void {
  const shown = traffic === undefined ? sandboxToJson(sandbox) : sandboxWithTrafficToJson(sandbox, traffic);
  const json = { ...shown, ...more };
  // Numbers in results keep the spelling of the plugins.
  if (flag("json")) io.write(`${printJson(json, 2)}\n`);
  else io.write(sandboxText(sandbox, traffic ?? []));
}

function sandboxText(sandbox: Sandbox, traffic: readonly InterfaceTraffic[]): string {
  const rows = [
    ["name", `${sandbox.namespace}/${sandbox.name}`],
    ["id", sandbox.id],
    ...(sandbox.attempt === 0 ? [] : [["attempt", String(sandbox.attempt)]]),
    ...(sandbox.uid === sandbox.id ? [] : [["uid", sandbox.uid]]),
    ...(sandbox.cri === undefined ? [] : [["owner", `CRI, handler "${sandbox.cri.handler}"`]]),
    ...(sandbox.nri === undefined ? [] : [["owner", `pod of ${sandbox.nri.engine}`]]),
    ["state", sandbox.reason === undefined ? sandbox.state : `${sandbox.state}: ${sandbox.reason}`],
    ["created", sandbox.createdAt],
    ["netns", sandbox.hostNetwork ? `${sandbox.netns} (of the host)` : sandbox.netns],
    ...Object.entries(sandbox.labels).map(([key, value]) => ["label", `${key}=${value}`]),
    ...(sandbox.pid === null ? [] : [["pid", String(sandbox.pid)]]),
    ...sandbox.networks.flatMap(({ name, ifName, result, ports = [] }) => [
      ["network", `${name} on ${ifName}: ${addresses(result)}${defaultRoute(result)}`],
      ...portTexts(ports).map((text) => ["port", text]),
    ]),
    ...traffic.map((each) => ["traffic", trafficText(each)]),
    ...(sandbox.files === null ? [] : [["hosts", sandbox.files.hosts], ["resolv", sandbox.files.resolvConf]]),
  ];
  return fieldLines(rows);
}

function addresses(result: JsonObject): string {
  const ips = Array.isArray(result.ips) ? result.ips as readonly { address: string }[] : [];
  return ips.map(({ address }) => address).join(", ") || "no address";
}

/** Says whether the pod's default route is in this network, and for which family if the network has addresses of both. */
function defaultRoute(result: JsonObject): string {
  const families = new Set(defaultRoutesOf(result).map(({ family }) => family));
  const [only] = families;
  if (only === undefined) return "";
  const others = (asResult(result).ips ?? []).map(({ address }) => parseCidr(address)?.ip.family);
  const isOfAll = others.every((family) => family === undefined || families.has(family));
  return isOfAll ? " (default route)" : ` (default route for IPv${only})`;
}

/** Returns the table of `ps`. */
export function sandboxTable(
  sandboxes: readonly Sandbox[],
  traffic?: readonly (readonly InterfaceTraffic[] | null)[],
): string {
  // These columns are last and only present if needed, so that the other columns stay where scripts expect them.
  const withPorts = sandboxes.some(({ networks }) => networks.some(({ ports }) => ports !== undefined));
  const withAttempt = sandboxes.some(({ attempt }) => attempt > 0);
  return table(
    [
      ...["ID", "NAMESPACE", "NAME", "STATE", "CREATED", "IPS", "NETWORKS"],
      ...(withAttempt ? ["ATTEMPT"] : []),
      ...(withPorts ? ["PORTS"] : []),
      ...(traffic ? TRAFFIC_COLUMNS : []),
    ],
    sandboxes.map((sandbox, at) => [
      sandbox.id.slice(0, SHORT_ID),
      sandbox.namespace,
      sandbox.name,
      sandbox.underWay ? "under way" : sandbox.state,
      sandbox.createdAt,
      sandbox.ips.join(",") || "-",
      sandbox.networks.map(({ name, ifName }) => `${name}:${ifName}`).join(",") || "-",
      ...(withAttempt ? [String(sandbox.attempt)] : []),
      ...(withPorts ? [portTexts(sandbox.networks.flatMap(({ ports = [] }) => ports)).join(",") || "-"] : []),
      ...(traffic ? trafficCells(traffic[at] ?? null) : []),
    ]),
  );
}

const TRAFFIC_COLUMNS = ["RECEIVED", "SENT", "PACKETS-IN", "PACKETS-OUT", "ERRORS", "DROPS"];

function trafficCells(traffic: readonly InterfaceTraffic[] | null): readonly string[] {
  if (traffic === null) return TRAFFIC_COLUMNS.map(() => "-");
  const [rx, tx] = [sumOf(traffic, "rx"), sumOf(traffic, "tx")];
  const counts = [rx.packets, tx.packets, rx.errors + tx.errors, rx.drops + tx.drops];
  return [byteText(rx.bytes), byteText(tx.bytes), ...counts.map(String)];
}

/** Logs what could not be torn down and stays on record. */
export function warnFailures(input: CommandInput, failures: readonly CniError[]): void {
  const log = logger(input);
  for (const { message } of failures) {
    log.warn(`${message}; the attachment stays on record, and \`podwire recover\` retries its removal`);
  }
}
