import type { CatalogEntry } from "../catalog/entry.ts";
import { entryToJson } from "../runtime/json_view.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./open.ts";
import { table } from "./table.ts";

/** `podwire networks` */
export async function networks(input: CommandInput): Promise<number> {
  const { io } = input;
  const entries = await openPodwire(input).networks();
  if (input.flag("json")) io.write(`${JSON.stringify(entries.map(entryToJson), null, 2)}\n`);
  else io.write(networkTable(entries));
  return 0;
}

const DEFAULT_WORDS = { name: "by name", first: "first file", pinned: "pinned" } as const;

function networkTable(entries: readonly CatalogEntry[]): string {
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
