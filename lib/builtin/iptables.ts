import { HostError, runOk } from "../host/command.ts";
import { knownIptables, PROGRAMS } from "../iptables/host_iptables.ts";
import { IptablesInProcess, isForProgram, type ListRules } from "../iptables/in_process.ts";
import type { Family } from "../iptables/rule.ts";
import type { IptablesTable } from "../iptables/table.ts";
import { all } from "./all.ts";
import type { Host } from "./host.ts";

export type { IptablesTable };

/** How the names of the chains begin that the plugins make, or whose rules they look for. */
const OWN_CHAINS = "CNI-";

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

/** The lines of each chain, of the lists that were asked about. */
const sorted = new WeakMap<readonly string[], ReadonlyMap<string, readonly string[]>>();

/** Returns the lines of one chain out of a listed table: of many attachments each asks about its own. */
export function linesOfChain(lines: readonly string[], chain: string): readonly string[] {
  const known = sorted.get(lines) ?? Map.groupBy(lines, chainOf);
  sorted.set(lines, known);
  return known.get(chain) ?? [];
}

/** Whether a line is listed. */
export function isListed(lines: readonly string[], line: string): boolean {
  return linesOfChain(lines, chainOf(line)).includes(line);
}

/** The second word. */
function chainOf(line: string): string {
  const start = line.indexOf(" ") + 1;
  const end = line.indexOf(" ", start);
  return line.slice(start, end < 0 ? undefined : end);
}

/**
 * Lists the rules of a table, or of one of its chains, as `iptables -S` writes them; undefined if iptables does not work on this
 * machine for that family, or if there is no such chain. Starts no program where {@linkcode knownIptables} knows it.
 */
export async function listIptables(
  host: Host,
  family: Family,
  table: IptablesTable,
  chain?: string | undefined,
): Promise<readonly string[] | undefined> {
  const { batch, ...alone } = host;
  if (batch === undefined) return (await listNow(host, family, table, chain)).lines;
  const { lines } = await batch.once(`${family} ${table}`, () => listNow(alone, family, table));
  if (chain === undefined || lines === undefined) return lines;
  const own = linesOfChain(lines, chain);
  return own.length === 0 ? undefined : own;
}

/** Lists without the program, if that is possible here. */
async function listNow(
  host: Host,
  family: Family,
  table: IptablesTable,
  chain?: string | undefined,
): Promise<{ readonly isOwn: boolean; readonly lines: readonly string[] | undefined }> {
  const listed = await inProcess(host, family, table, async (own) => ({ lines: await own.list(chain) }));
  return listed === undefined
    ? { isOwn: false, lines: await listByProgram(host, family, table, chain) }
    : { isOwn: true, ...listed };
}

/** Calls `fn` where iptables need not be started; undefined if it has to be. */
async function inProcess<T>(
  host: Host,
  family: Family,
  table: IptablesTable,
  fn: (tables: IptablesInProcess) => Promise<T>,
): Promise<T | undefined> {
  host.signal.throwIfAborted();
  const form = await knownIptables(host.run, family);
  if (form === undefined) return undefined;
  try {
    return await fn(new IptablesInProcess(family, table, OWN_CHAINS, form));
  } catch (error) {
    if (!isForProgram(error)) throw error;
    return undefined;
  }
}

async function listByProgram(
  host: Host,
  family: Family,
  table: IptablesTable,
  chain: string | undefined,
): Promise<readonly string[] | undefined> {
  try {
    const request = {
      program: PROGRAMS[family],
      args: ["-w", "-t", table, "-S", ...(chain === undefined ? [] : [chain])],
      signal: host.signal,
      ownGroup: false,
    };
    return (await runOk(host.run, request)).stdout.split("\n");
  } catch (error) {
    if (!(error instanceof HostError) || error.code === RESOURCE_PROBLEM) throw error;
    return undefined;
  }
}

/** Plans a change of a table, in the lines of `iptables-restore`, from what `list` lists of it. */
export type PlanChange = (list: ListRules) => Promise<readonly string[]>;

/** What a program has just listed. */
interface Listed {
  readonly chain: string | undefined;
  readonly lines: readonly string[];
}

/**
 * Plans a change of a table and carries it out in one transaction. After a conflict with another process it plans again.
 * Without lines it changes nothing.
 */
export async function changeIptables(
  host: Host,
  family: Family,
  table: IptablesTable,
  plan: PlanChange,
): Promise<void> {
  if (host.batch !== undefined) {
    const lines = await plan((chain) => listIptables(host, family, table, chain));
    if (lines.length > 0) host.batch.add(`${family} ${table}`, lines);
    return;
  }
  if (!await changeInProcess(host, family, table, plan)) await changeByProgram(host, family, table, plan);
}

/** Returns false, and changes nothing, if the program has to do it. */
async function changeInProcess(
  host: Host,
  family: Family,
  table: IptablesTable,
  plan: PlanChange,
): Promise<boolean> {
  const done = await inProcess(host, family, table, async (own) => {
    await own.change(plan);
    return true;
  });
  return done ?? false;
}

/**
 * Carries out the lines of tables, in one transaction for each table. Starts no program where {@linkcode knownIptables} knows it.
 *
 * @throws {HostError} If iptables refuses them. Tables before the one that it refuses may have been changed.
 */
export async function restoreIptables(
  host: Host,
  family: Family,
  tables: ReadonlyMap<IptablesTable, readonly string[]>,
): Promise<void> {
  const left = new Map(tables);
  for (const [table, lines] of tables) {
    if (!await changeInProcess(host, family, table, () => Promise.resolve(lines))) break;
    left.delete(table);
  }
  if (left.size > 0) await restoreByProgram(host, family, left);
}

async function restoreByProgram(
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

/** The first plan gets `listed` instead of starting the program that lists. */
async function changeByProgram(
  host: Host,
  family: Family,
  table: IptablesTable,
  plan: PlanChange,
  listed?: Listed | undefined,
): Promise<void> {
  for (let attempt = 1, known = listed;; attempt++, known = undefined) {
    const lines = await plan(async (chain) =>
      known !== undefined && chain === known.chain
        ? known.lines
        : await listByProgram(host, family, table, chain)
    );
    if (lines.length === 0) return;
    try {
      await restoreByProgram(host, family, new Map([[table, lines]]));
      return;
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "program-failed" || attempt === ATTEMPTS) {
        throw error;
      }
    }
  }
}

/** What {@linkcode changeListed} needs to know. */
export interface ListedChange {
  readonly table: IptablesTable;
  /** The chain whose rules the plan needs. @default {undefined} (all of the table) */
  readonly chain?: string | undefined;
  /** Plans the change of a family from its rules; `list` lists those of other chains. */
  readonly plan: (
    lines: readonly string[],
    family: Family,
    list: ListRules,
  ) => readonly string[] | Promise<readonly string[]>;
}

/**
 * Lists a table in each of the families, plans a change of each from its lines, and carries it out, see
 * {@linkcode changeIptables}. Returns false, and changes nothing, if iptables does not work on this machine for one of them.
 */
export async function changeListed(
  host: Host,
  families: readonly Family[],
  { table, chain, plan }: ListedChange,
): Promise<boolean> {
  const plannedFor = (family: Family): PlanChange => async (list) =>
    await plan(await list(chain) ?? [], family, list);
  if (host.batch !== undefined) {
    const listed = await all(families.map((family) => listIptables(host, family, table, chain)));
    if (listed.includes(undefined)) return false;
    await all(families.map((family) => changeIptables(host, family, table, plannedFor(family))));
    return true;
  }
  const [only] = families;
  // Nothing has to be known of another family before.
  const isAlone = only !== undefined && families.length === 1;
  if (isAlone && await changeInProcess(host, only, table, plannedFor(only))) return true;
  const listed = await all(families.map((family) => listNow(host, family, table, chain)));
  if (listed.some(({ lines }) => lines === undefined)) return false;
  await all(families.map(async (family, index) => {
    const { isOwn = false, lines = [] } = listed[index] ?? {};
    if (isOwn) await changeIptables(host, family, table, plannedFor(family));
    else await changeByProgram(host, family, table, plannedFor(family), { chain, lines });
  }));
  return true;
}
