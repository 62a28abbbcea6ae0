import type { Family } from "../cni/default_route.ts";
import { HostError, runOk } from "../host/command.ts";
import { all } from "./all.ts";
import type { Host } from "./host.ts";

/** A table of iptables. */
export type IptablesTable = "nat" | "filter";

/** Each family of addresses has its own. */
const PROGRAMS = { 4: "iptables", 6: "ip6tables" } as const;

/** If another process removes a rule between the listing and the change, the whole change fails. */
const ATTEMPTS = 4;

/** Exit code of iptables if another process holds its lock for too long, or if a privilege is missing. */
const RESOURCE_PROBLEM = 4;

/** The longest comment of xtables, without the closing zero byte. */
export const LONGEST_COMMENT = 255;

/** Returns an argument as the input of `iptables-restore` needs it. */
export function quote(text: string): string {
  return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
}

const COMMENT = / -m comment --comment (?:"(?<quoted>(?:[^"\\]|\\.)*)"|(?<plain>\S+))/;

/** Returns the comment of a listed line; empty if it has none. */
export function commentIn(line: string): string {
  const { quoted, plain = "" } = COMMENT.exec(line)?.groups ?? {};
  return quoted?.replaceAll(/\\(.)/g, "$1") ?? plain;
}

/** Returns a listed line without its comment: what the rule does. */
export function withoutComment(line: string): string {
  return line.replace(COMMENT, "");
}

/** Returns the line that removes what a listed line has added. */
export function deletion(line: string): string {
  return line.replace(/^-A /, "-D ");
}

/**
 * Lists the rules of a table, or of one of its chains, as `iptables -S` writes them; undefined if iptables does not work on this
 * machine for that family, or if there is no such chain.
 */
export async function listIptables(
  host: Host,
  family: Family,
  table: IptablesTable,
  chain: readonly [] | readonly [string] = [],
): Promise<string[] | undefined> {
  const { batch, ...alone } = host;
  if (batch === undefined) return await listNow(host, family, table, chain);
  const lines = await batch.once(`${family} ${table}`, () => listNow(alone, family, table, []));
  const [only] = chain;
  if (only === undefined || lines === undefined) return lines;
  const own = lines.filter((line) => line.split(" ", 2)[1] === only);
  return own.length === 0 ? undefined : own;
}

async function listNow(
  host: Host,
  family: Family,
  table: IptablesTable,
  chain: readonly [] | readonly [string],
): Promise<string[] | undefined> {
  try {
    const request = {
      program: PROGRAMS[family],
      args: ["-w", "-t", table, "-S", ...chain],
      signal: host.signal,
      ownGroup: false,
    };
    return (await runOk(host.run, request)).stdout.split("\n");
  } catch (error) {
    if (!(error instanceof HostError) || error.code === RESOURCE_PROBLEM) throw error;
    return undefined;
  }
}

/** Carries out the lines of tables, in one transaction for each table. */
export async function restoreIptables(
  { run, signal }: Host,
  family: Family,
  tables: ReadonlyMap<IptablesTable, readonly string[]>,
): Promise<void> {
  await runOk(run, {
    program: `${PROGRAMS[family]}-restore`,
    ownGroup: false,
    args: ["-w", "--noflush"],
    stdin: [...tables].flatMap(([table, lines]) => [`*${table}`, ...lines, "COMMIT", ""]).join("\n"),
    signal,
  });
}

/**
 * Plans a change of a table, in the lines of `iptables-restore`, and carries it out in one transaction. After a conflict with
 * another process it plans again. Without lines it changes nothing.
 */
export async function changeIptables(
  host: Host,
  family: Family,
  table: IptablesTable,
  plan: () => Promise<readonly string[]>,
): Promise<void> {
  for (let attempt = 1;; attempt++) {
    const lines = await plan();
    if (lines.length === 0) return;
    if (host.batch !== undefined) return host.batch.add(`${family} ${table}`, lines);
    try {
      await restoreIptables(host, family, new Map([[table, lines]]));
      return;
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "program-failed" || attempt === ATTEMPTS) {
        throw error;
      }
    }
  }
}

/**
 * Lists a table in each of the families, plans a change of each from its lines, and carries it out, see
 * {@linkcode changeIptables}. Returns false, and changes nothing, if iptables does not work on this machine for one of them.
 */
export async function changeListed(
  host: Host,
  families: readonly Family[],
  table: IptablesTable,
  plan: (lines: readonly string[], family: Family) => readonly string[] | Promise<readonly string[]>,
): Promise<boolean> {
  const listed = await all(families.map((family) => listIptables(host, family, table)));
  if (listed.includes(undefined)) return false;
  await all(families.map((family, index) => {
    let known = listed[index];
    return changeIptables(host, family, table, async () => {
      const lines = known ?? await listIptables(host, family, table) ?? [];
      known = undefined;
      return await plan(lines, family);
    });
  }));
  return true;
}
