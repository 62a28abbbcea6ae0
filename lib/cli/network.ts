import type { CatalogEntry } from "../catalog/entry.ts";
import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { mtuProblem } from "../network/mtu.ts";
import { LARGEST_MTU } from "../network/network_request.ts";
import type { Network } from "../network/view_network.ts";
import { withSignals } from "../plugin/signals.ts";
import { entryToJson, networkToJson } from "../runtime/json_view.ts";
import type { CommandInput } from "./command.ts";
import { positive } from "./flag_value.ts";
import { forEachOperand } from "./for_each_operand.ts";
import { openPodwire } from "./open.ts";
import { fieldLines, table } from "./table.ts";

/** `podwire networks` */
export async function networks(input: CommandInput): Promise<number> {
  const { io } = input;
  const entries = await openPodwire(input).networks();
  if (input.flag("json")) io.write(`${JSON.stringify(entries.map(entryToJson), null, 2)}\n`);
  else io.write(fileTable(entries));
  return 0;
}

/** `podwire network ls` */
export async function networkLs(input: CommandInput): Promise<number> {
  const { io } = input;
  const shown = await openPodwire(input).listNetworks();
  if (input.flag("json")) io.write(`${printJson(shown.map(networkToJson), 2)}\n`);
  else if (input.flag("quiet")) io.write(shown.map(({ name }) => `${name}\n`).join(""));
  else io.write(networkTable(shown));
  return 0;
}

/** `podwire network inspect NAME` */
export async function networkInspect(input: CommandInput): Promise<number> {
  const { io, operands: [name = ""] } = input;
  const network = await openPodwire(input).inspectNetwork(name);
  if (input.flag("json")) io.write(`${printJson(networkToJson(network), 2)}\n`);
  else io.write(networkText(network));
  return 0;
}

/** `podwire network rm NAME...` */
export async function networkRm(input: CommandInput): Promise<number> {
  const podwire = openPodwire(input);
  return await forEachOperand(input, (name, signal) => podwire.removeNetwork(name, { signal }));
}

/** `podwire network set NAME` */
export async function networkSet(input: CommandInput): Promise<number> {
  const { io, operands: [name = ""] } = input;
  const text = input.value("mtu");
  if (text === undefined) {
    throw new CniError("usage", "--mtu is missing: it is all that can be set", { hint: "--mtu BYTES" });
  }
  const mtu = text === "default" ? null : positive("--mtu", text, LARGEST_MTU);
  const problem = mtu === null ? undefined : mtuProblem(mtu, false);
  if (problem !== undefined) throw new CniError("usage", `--mtu: ${problem}`);
  const podwire = openPodwire(input);
  await withSignals(io, (signal) => podwire.setNetwork(name, { mtu }, { signal }));
  const network = await podwire.inspectNetwork(name);
  io.write(input.flag("json") ? `${printJson(networkToJson(network), 2)}\n` : networkText(network));
  return 0;
}

const DEFAULT_WORDS = { name: "by name", first: "first file", pinned: "pinned" } as const;

function fileTable(entries: readonly CatalogEntry[]): string {
  return table(
    ["FILE", "NAME", "STATUS", "DEFAULT", "VERSION", "PLUGINS", "REASON"],
    entries.map((entry) => [
      entry.line === undefined ? entry.file : `${entry.file}:${entry.line}:${entry.column}`,
      entry.name ?? "-",
      entry.status,
      entry.default ? `yes (${DEFAULT_WORDS[entry.defaultBy ?? "first"]})` : "no",
      entry.cniVersion ?? "-",
      entry.plugins.join(",") || "-",
      entry.reason ?? "-",
    ]),
  );
}

function networkTable(networks: readonly Network[]): string {
  return table(
    ["NAME", "DRIVER", "SUBNETS", "MTU", "DEFAULT", "CONTAINERS", "FILE"],
    networks.map((network) => [
      network.name,
      network.driver,
      network.subnets.join(",") || "-",
      String(network.mtu ?? "-"),
      network.default ? "yes" : "no",
      String(network.attachments.length),
      network.file,
    ]),
  );
}

function networkText(network: Network): string {
  const rows = [
    ["name", network.name],
    ["driver", network.driver],
    ...network.subnets.map((subnet) => ["subnet", subnet]),
    ...(network.mtu === null ? [] : [["mtu", String(network.mtu)]]),
    ["default", network.default ? "yes" : "no"],
    ["plugins", network.plugins.join(", ")],
    ["file", network.file],
    ...(network.created === null ? [] : [["created", network.created]]),
    ...network.attachments.map(({ containerId, ifName, pod, state, addresses, mac }) => [
      "attached",
      `${pod ?? containerId} on ${ifName}: ${addresses.join(", ") || "no address"}` +
      `${mac === null ? "" : `, ${mac}`}${state === "attached" ? "" : ` (${state})`}`,
    ]),
  ];
  return fieldLines(rows);
}
