import { HostError, runOk } from "../host/command.ts";
import { all } from "./all.ts";
import type { Host } from "./host.ts";
import { chainsOfKernel, commentedRules, type NftChain, type NftScope } from "./nft_in_kernel.ts";

export type { NftChain, NftScope };

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
 * Removes rules, as {@linkcode changeNftScopes} changes them. Starts no program if this process can see that no rule of the
 * scopes that has a comment may go.
 */
export async function removeFromNft(
  host: Host,
  scopes: readonly NftScope[],
  { mayGo, plan }: {
    readonly mayGo: (rule: CommentedNftRule) => boolean;
    readonly plan: (rules: readonly (readonly NftRule[])[]) => readonly string[];
  },
): Promise<void> {
  for (const scope of scopes) {
    const seen = await commentedRules(host, scope);
    if (seen !== undefined && !seen.some(mayGo)) continue;
    await changeNftScopes(host, scopes, plan);
    return;
  }
}

/** A rule as far as its comment says what it is for. */
export type CommentedNftRule = Pick<NftRule, "chain" | "handle"> & { readonly comment: string };

/** Lists the rules with a comment; none if there is no such chain or table, or if nftables does not work on this machine. */
export async function listCommented(host: Host, scope: NftScope): Promise<readonly CommentedNftRule[]> {
  const seen = await commentedRules(host, scope);
  if (seen !== undefined) return seen;
  return (await listNft(host, scope) ?? []).flatMap(({ chain, handle, comment }) =>
    comment === undefined ? [] : [{ chain, handle, comment }]
  );
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
  const { batch, ...alone } = host;
  return await (batch === undefined
    ? listChainsNow(host)
    : batch.once("nft chains", () => listChainsNow(alone)));
}

async function listChainsNow(host: Host): Promise<readonly NftChain[] | undefined> {
  const listed = await chainsOfKernel(host);
  if (listed !== undefined) return listed;
  const items = await listItems<{ readonly chain?: Partial<NftChain> }>(host, "chains");
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
  const { batch, ...alone } = host;
  return await (batch === undefined
    ? listGuardedNow(host)
    : batch.once("nft tables", () => listGuardedNow(alone)));
}

async function listGuardedNow(host: Host): Promise<ReadonlySet<string>> {
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
