import { turnIfDue } from "../async/breathe.ts";
import { inParallel } from "../async/parallel.ts";
import { FAMILIES } from "../cni/default_route.ts";
import { CniError } from "../cni/error.ts";
import { printJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { HostError } from "../host/command.ts";
import { encodeEnvironment } from "../plugin/invocation.ts";
import type { RepairedRules, RepairRulesOptions, RuleOwner } from "../plugin/rule_owner.ts";
import { type Plugin, servePlugin } from "../plugin/serve.ts";
import { all } from "./all.ts";
import type { Host } from "./host.ts";
import { holdIsolation } from "./isolation_use.ts";
import { type IptablesTable, restoreIptables } from "./iptables.ts";
import { builtins } from "./mod.ts";
import { applyNft } from "./nft.ts";
import { RuleBatch } from "./rule_batch.ts";
import type { RepairRules } from "./rule_repair.ts";

/** What puts back the rules of each built-in plugin that makes some. */
const REPAIRS: Readonly<Record<string, () => Promise<RepairRules>>> = {
  bridge: async () => (await import("./bridge_repair.ts")).repairBridge,
  firewall: async () => (await import("./firewall.ts")).repairFirewall,
  portmap: async () => (await import("./portmap.ts")).repairPorts,
  ptp: async () => (await import("./ptp.ts")).repairPtp,
};

/** Another process may change rules between the listing and the change. */
const ATTEMPTS = 4;
/** Some steps start a program. */
const AT_ONCE = 8;
const TABLES = ["nat", "filter"] as const satisfies readonly IptablesTable[];

/** Whether a built-in plugin makes rules that {@linkcode repairRules} can put back. */
export function makesRules(type: string): boolean {
  return Object.hasOwn(REPAIRS, type);
}

/**
 * Puts back the missing rules of many attachments, in their order and with one transaction for nftables and one for each family
 * of iptables. Nothing is written if nothing is missing. One attachment that cannot be repaired does not keep the others from it.
 *
 * The caller holds the locks of the containers.
 */
export async function repairRules(
  owners: readonly RuleOwner[],
  host: Host,
  options: RepairRulesOptions = {},
): Promise<readonly RepairedRules[]> {
  if (owners.length === 0) return [];
  if (options.dryRun) return (await plan(owners, host, options)).planned;
  using _held = await holdIsolation(host.signal);
  for (let attempt = 1;; attempt++) {
    const { planned, batch } = await plan(owners, host, options);
    try {
      await commit(host, batch);
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "program-failed") throw error;
      if (attempt < ATTEMPTS) continue;
      const [only] = planned;
      if (owners.length === 1) return [{ missing: only?.missing ?? [], error: asCniError(error) }];
      return await oneByOne(owners, host, options);
    }
    return await inParallel(planned, AT_ONCE, finish);
  }
}

async function oneByOne(
  owners: readonly RuleOwner[],
  host: Host,
  options: RepairRulesOptions,
): Promise<readonly RepairedRules[]> {
  const repaired: RepairedRules[] = [];
  for (const owner of owners) repaired.push(...await repairRules([owner], host, options));
  return repaired;
}

interface Planned extends RepairedRules {
  /** What is to be done when the rules are in place. */
  readonly steps: readonly (() => Promise<void>)[];
}

async function plan(
  owners: readonly RuleOwner[],
  host: Host,
  options: RepairRulesOptions,
): Promise<{ readonly planned: readonly Planned[]; readonly batch: RuleBatch }> {
  const batch = new RuleBatch();
  const planned: Planned[] = [];
  for (const owner of owners) {
    const turn = turnIfDue();
    if (turn !== undefined) await turn;
    host.signal.throwIfAborted();
    const before = batch.steps.length;
    const found = await planOne(owner, host, batch, options);
    planned.push({ ...found, steps: batch.steps.slice(before) });
  }
  return { planned, batch };
}

/** Asks a plugin as a CHECK does, so that its configuration is read and refused as there. */
async function planOne(
  { type, config, ...target }: RuleOwner,
  host: Host,
  batch: RuleBatch,
  options: RepairRulesOptions,
): Promise<RepairedRules> {
  const { run, signal } = host;
  const [repair, plugin] = await all([REPAIRS[type]?.() ?? noRepair(), loadPlugin(type)]);
  let missing: readonly string[] = [];
  let failure: unknown;
  const env = encodeEnvironment({ ...target, verb: "CHECK", path: ["/"] });
  const asking: Plugin = {
    about: plugin.about,
    versions: plugin.versions,
    verbs: {
      CHECK: async (request) => {
        missing = await repair(request, { run, signal, batch }, options);
      },
    },
  };
  const { code, stdout } = await servePlugin(asking, {
    env: (name) => env[name],
    stdin: () => Promise.resolve(printJson(config)),
    signal,
    run,
    onFailure: (error) => failure = error,
  });
  const error = code === 0 ? undefined : asCniError(failure ?? new Error(stdout));
  return { missing, error };
}

async function loadPlugin(type: string): Promise<Plugin> {
  const plugin = builtins[type];
  if (plugin === undefined) return await noRepair();
  return typeof plugin === "function" ? await plugin() : plugin;
}

function noRepair(): Promise<never> {
  return Promise.reject(new CniError("internal", "the plugin makes no rules"));
}

async function commit(host: Host, batch: RuleBatch): Promise<void> {
  const nft = batch.lines("nft");
  const families = FAMILIES.map((family) => {
    const tables = TABLES.map((table) => [table, batch.lines(`${family} ${table}`)] as const);
    return { family, tables: new Map(tables.filter(([, lines]) => lines.length > 0)) };
  }).filter(({ tables }) => tables.size > 0);
  await all([
    nft.length === 0 ? Promise.resolve() : applyNft(host, nft),
    ...families.map(({ family, tables }) => restoreIptables(host, family, tables)),
  ]);
}

async function finish({ missing, error, steps }: Planned): Promise<RepairedRules> {
  try {
    for (const step of steps) await step();
    return { missing, error };
  } catch (cause) {
    return { missing, error: error ?? asCniError(cause) };
  }
}
