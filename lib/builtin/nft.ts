import { HostError, runOk } from "../host/command.ts";
import { all } from "./all.ts";
import type { Host } from "./host.ts";

/** If another process removes a rule between the listing and the change, the whole change fails. */
const ATTEMPTS = 4;

/** A rule of nftables. */
export interface NftRule {
  readonly chain: string;
  readonly handle: number;
  /** Undefined if the rule has none. */
  readonly comment: string | undefined;
  /** What it does, as `nft -j` writes it. */
  readonly expr: readonly unknown[];
}

/** A chain of nftables, without its rules. */
export interface NftChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** What packets pass it, such as `forward`; undefined for a chain that only other chains jump to. */
  readonly hook: string | undefined;
  /** Such as `filter` or `nat`; undefined as `hook`. */
  readonly type: string | undefined;
  /** What becomes of a packet that no rule decides about, `accept` or `drop`; undefined as `hook`. */
  readonly policy: string | undefined;
}

/**
 * What to list: a chain such as `chain inet cni_plugins_masquerade masq_checks`, or all chains of a table, such as
 * `table ip cni_hostport`.
 */
export type NftScope = `chain ${string}` | `table ${string}`;

/** Returns what `nft` prints. It starts no other program, so it needs no process group of its own. */
export async function nft(
  { run, signal }: Host,
  args: readonly string[],
  stdin?: string,
): Promise<string> {
  return (await runOk(run, { program: "nft", args, stdin, signal, ownGroup: false })).stdout;
}

/** Carries out the lines in one transaction: all of them or none. */
export async function applyNft(host: Host, lines: readonly string[]): Promise<void> {
  await nft(host, ["-f", "-"], `${lines.join("\n")}\n`);
}

/** Same as {@linkcode changeNftScopes}, for one scope. */
export async function changeNft(
  host: Host,
  scope: NftScope,
  plan: (rules: readonly NftRule[]) => readonly string[],
): Promise<boolean> {
  return await changeNftScopes(host, [scope], ([rules = []]) => plan(rules));
}

/**
 * Plans a change of the rules that are there, a list of them for each scope, and carries it out in one transaction. After a
 * conflict with another process it lists and plans again. Without lines it changes nothing. Returns false if nftables does
 * not work on this machine.
 */
export async function changeNftScopes(
  host: Host,
  scopes: readonly NftScope[],
  plan: (rules: readonly (readonly NftRule[])[]) => readonly string[],
): Promise<boolean> {
  for (let attempt = 1;; attempt++) {
    const listed = await all(scopes.map((scope) => listNft(host, scope)));
    const rules = listed.filter((one) => one !== undefined);
    if (rules.length < scopes.length) return false;
    const lines = plan(rules);
    if (lines.length === 0) return true;
    if (host.batch !== undefined) {
      host.batch.add("nft", lines);
      return true;
    }
    try {
      await applyNft(host, lines);
      return true;
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "program-failed" || attempt === ATTEMPTS) {
        throw error;
      }
    }
  }
}

/**
 * Lists rules; none if there is no such chain or table, undefined if nftables does not work on this machine. Tries again if the
 * list is cut short.
 */
export async function listNft(host: Host, scope: NftScope): Promise<readonly NftRule[] | undefined> {
  const { batch, ...alone } = host;
  if (batch === undefined) return await listNow(host, scope);
  const [what, family, table, chain] = scope.split(" ");
  const rules = await batch.once(
    `nft ${family} ${table}`,
    () => listNow(alone, `table ${family} ${table}`),
  );
  return what === "chain" ? rules?.filter((rule) => rule.chain === chain) : rules;
}

async function listNow(host: Host, scope: NftScope): Promise<readonly NftRule[] | undefined> {
  for (let attempt = 1;; attempt++) {
    try {
      return await listOnce(host, scope);
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "bad-output" || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Lists the chains of all tables; undefined if nftables does not work on this machine. */
export async function listNftChains(host: Host): Promise<readonly NftChain[] | undefined> {
  const list = () => listItems<{ readonly chain?: Partial<NftChain> }>(host, "chains");
  const items = await (host.batch === undefined ? list() : host.batch.once("nft chains", list));
  return items?.flatMap(({ chain }) => {
    const { family, table, name, hook, type, policy } = chain ?? {};
    if (family === undefined || table === undefined || name === undefined) return [];
    return [{ family, table, name, hook, type, policy }];
  });
}

/**
 * Returns the tables that only one process may change, as `FAMILY NAME`, such as those of newer releases of firewalld; none if
 * nftables does not work on this machine.
 */
export async function listGuardedTables(host: Host): Promise<ReadonlySet<string>> {
  const items = await listItems<{ readonly table?: GuardedTable }>(host, "tables") ?? [];
  // A table without rules in use is the only other kind that has flags. nft 1.0.6 writes its own name for any of them.
  const guarded = items.filter(({ table }) => ![table?.flags ?? "dormant"].flat().includes("dormant"));
  return new Set(guarded.map(({ table }) => `${table?.family} ${table?.name}`));
}

interface GuardedTable {
  readonly family: string;
  readonly name: string;
  readonly flags?: string | readonly string[] | undefined;
}

async function listOnce(host: Host, scope: NftScope): Promise<readonly NftRule[] | undefined> {
  const items = await listItems<{ readonly rule?: Partial<NftRule> }>(host, scope);
  return items?.flatMap(({ rule }) => {
    const { chain, handle, comment, expr = [] } = rule ?? {};
    return chain === undefined || handle === undefined ? [] : [{ chain, handle, comment, expr }];
  });
}

async function listItems<T>(
  host: Host,
  scope: NftScope | "chains" | "tables",
): Promise<readonly T[] | undefined> {
  let text: string;
  try {
    text = await nft(host, ["-j", "list", ...scope.split(" ")]);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    // nft has one exit code for all failures. A missing chain has no rules.
    if (error.stderr.includes("No such file or directory")) return [];
    if (error.reason === "program-missing" || /not supported/i.test(error.stderr)) return undefined;
    throw error;
  }
  return readItems(text, scope);
}

function readItems<T>(text: string, scope: string): readonly T[] {
  try {
    return JSON.parse(text).nftables;
  } catch (cause) {
    throw new HostError(
      `Cannot read the rules that nft lists of ${scope.replace(/^\w+ /, "")}: ` +
        `its ${text.length} characters are not JSON`,
      { reason: "bad-output", program: "nft", cause },
    );
  }
}
