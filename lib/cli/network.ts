import type { CatalogEntry } from "../pod/catalog.ts";
import type { CommandInput } from "./command.ts";
import { openPodwire } from "./settings.ts";
import { table } from "./table.ts";

/** `podwire networks` */
export async function networks(input: CommandInput): Promise<number> {
  const { io } = input;
  const entries = await openPodwire(input).networks();
  if (input.flag("json")) io.write(`${JSON.stringify(entries.map(shownEntry), null, 2)}\n`);
  else io.write(networkTable(entries));
  return 0;
}

/** The object of the contract, with every member there. */
function shownEntry(entry: CatalogEntry) {
  const { file, status, plugins } = entry;
  return {
    file,
    name: entry.name ?? null,
    status,
    default: entry.default,
    cniVersion: entry.cniVersion ?? null,
    plugins,
    reason: entry.reason ?? null,
    line: entry.line ?? null,
    column: entry.column ?? null,
  };
}

function networkTable(entries: readonly CatalogEntry[]): string {
  return table(
    ["FILE", "NAME", "STATUS", "DEFAULT", "VERSION", "PLUGINS", "REASON"],
    entries.map((entry) => [
      entry.line === undefined ? entry.file : `${entry.file}:${entry.line}:${entry.column}`,
      entry.name ?? "-",
      entry.status,
      entry.default ? "yes" : "no",
      entry.cniVersion ?? "-",
      entry.plugins.join(",") || "-",
      entry.reason ?? "-",
    ]),
  );
}
