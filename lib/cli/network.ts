import type { CatalogEntry } from "../catalog/entry.ts";
import { printJson } from "../cni/json.ts";
import type { Network } from "../network/view_network.ts";
import { entryToJson, networkToJson } from "../runtime/json_view.ts";
import type { CommandInput } from "./command.ts";
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
    ["NAME", "DRIVER", "SUBNETS", "DEFAULT", "CONTAINERS", "FILE"],
    networks.map((network) => [
      network.name,
      network.driver,
      network.subnets.join(",") || "-",
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
