import type { CallOptions } from "../async/call_options.ts";
import type { CniError } from "../cni/error.ts";
import { atLeast } from "../cni/version.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { PluginLocator } from "../plugin/locate.ts";
import type { RepairRulesOptions, RuleKeeper, RuleOwner } from "../plugin/rule_owner.ts";
import type { AttachmentKey, AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import { attachmentId, attachmentKey } from "../state/attachment_key.ts";
import type { Locks } from "../state/locks.ts";
import { listOnRecord } from "../state/recorded_config.ts";
import { checkRequests } from "./chain.ts";
import type { Removal } from "./removal.ts";

/** Dependencies of {@linkcode RuleRepair}. */
export interface RuleRepairContext {
  readonly store: AttachmentStore;
  readonly locks: Pick<Locks, "containers">;
  readonly runner: Pick<PluginLocator, "locate">;
  readonly removal: Pick<Removal, "isInNetns">;
  /** Loads what puts back the rules of the built-in plugins. */
  readonly keeper: () => Promise<RuleKeeper>;
}

/** Which attachments are looked at. */
export interface RuleRepairRequest extends CallOptions, Pick<RepairRulesOptions, "forwarding"> {
  /** Only those of these containers. @default {all} */
  readonly containers?: readonly string[] | undefined;
}

/** Which attachments are repaired. */
export interface RuleRepairOrder extends RuleRepairRequest {
  /** What {@linkcode RuleRepair.find} has just found. @default {undefined} (it looks itself) */
  readonly found?: readonly LostRules[] | undefined;
  /** Whether containers with an operation in progress are left out. @default {false} (they are waited for) */
  readonly skipBusy?: boolean | undefined;
}

/** An attachment that has lost something. */
export interface LostRules extends AttachmentKey {
  /** What was missing, as a CHECK says it. */
  readonly missing: readonly string[];
  /** Why it is not back, or why that cannot be found out. */
  readonly error: CniError | undefined;
}

/** What a repair did. */
export interface RuleRepairReport {
  /** In the order of the ADDs. */
  readonly lost: readonly LostRules[];
  /** The containers with an operation in progress, which were left out. */
  readonly busy: readonly string[];
}

/** Each lock is an open file. */
const MOST_LOCKS = 500;

/**
 * Finds the rules that attachments have lost, as a flush of all rules takes them, and puts them back: those of built-in plugins,
 * from the configuration and the result on record. Nothing in a namespace is touched, and what another runtime attached is left
 * alone.
 */
export class RuleRepair {
  readonly #context: RuleRepairContext;

  constructor(context: RuleRepairContext) {
    this.#context = context;
  }

  /** Returns the attachments that have lost something. Takes no lock and writes nothing. */
  async find(request: RuleRepairRequest = {}): Promise<readonly LostRules[]> {
    const { store, locks } = this.#context;
    const records = await this.#records(request.containers);
    const lost = await this.#apply(records, { ...request, dryRun: true });
    const since = new Map(records.map((record) => [attachmentId(record), record.since]));
    const still: LostRules[] = [];
    for (const each of lost) {
      // Its DEL may have removed the rules after the record was read.
      const now = await store.read(each);
      if (now?.state !== "attached" || now.since !== since.get(attachmentId(each))) continue;
      if (!await locks.containers.isBusy(each.containerId)) still.push(each);
    }
    return still;
  }

  /**
   * Puts back what the attachments have lost, with one transaction for many containers. Containers with an operation in progress
   * are waited for one by one, or left out if `skipBusy` is set.
   */
  async repair(request: RuleRepairOrder = {}): Promise<RuleRepairReport> {
    const lost = request.found ?? await this.find(request);
    // Of those that cannot be looked at nothing is known to be missing: their containers are not locked for it.
    const [broken, known] = [lost.filter(isBroken), lost.filter((each) => !isBroken(each))];
    const containers = [...new Set(known.map(({ containerId }) => containerId))];
    const repaired: LostRules[] = [];
    const busy: string[] = [];
    for (let at = 0; at < containers.length; at += MOST_LOCKS) {
      const round = await this.#repairFree(containers.slice(at, at + MOST_LOCKS), request);
      repaired.push(...round.lost);
      busy.push(...round.busy);
    }
    if (request.skipBusy) return { lost: [...broken, ...repaired], busy };
    for (const containerId of busy) {
      await using _lock = await this.#context.locks.containers.hold(containerId, request.signal);
      repaired.push(...await this.#apply(await this.#records([containerId]), request));
    }
    return { lost: [...broken, ...repaired], busy: [] };
  }

  async #repairFree(
    containers: readonly string[],
    request: RuleRepairRequest,
  ): Promise<RuleRepairReport> {
    await using held = new AsyncDisposableStack();
    const busy: string[] = [];
    const free: string[] = [];
    for (const containerId of containers) {
      const lock = await this.#context.locks.containers.tryHold(containerId);
      if (lock === undefined) busy.push(containerId);
      else {
        held.use(lock);
        free.push(containerId);
      }
    }
    return { lost: await this.#apply(await this.#records(free), request), busy };
  }

  async #records(containers: readonly string[] | undefined): Promise<readonly AttachmentRecord[]> {
    const { store } = this.#context;
    const records = containers === undefined
      ? await store.all()
      : (await Promise.all(containers.map((id) => store.ofContainer(id)))).flat();
    const attached = records.filter(({ state }) => state === "attached");
    // As they were made, so that the rules have the same order.
    return attached.toSorted((a, b) =>
      a.since < b.since ? -1 : a.since > b.since ? 1 : a.sequence - b.sequence
    );
  }

  /** Repairs, or looks only, and returns those that have lost something. */
  async #apply(
    records: readonly AttachmentRecord[],
    { forwarding, signal, dryRun }: RuleRepairRequest & RepairRulesOptions,
  ): Promise<readonly LostRules[]> {
    const keeper = await this.#context.keeper();
    const owners: RuleOwner[] = [];
    const keys: AttachmentKey[] = [];
    const lost = new Map<AttachmentKey, LostRules>();
    for (const record of records) {
      const key = attachmentKey(record);
      try {
        const own = await this.#ownersOf(record, keeper);
        owners.push(...own);
        keys.push(...own.map(() => key));
      } catch (error) {
        lost.set(key, { ...key, missing: [], error: asCniError(error, key) });
      }
    }
    const repaired = await keeper.repairRules(owners, { forwarding, signal, dryRun });
    for (const [index, { missing, error }] of repaired.entries()) {
      const key = keys[index];
      if (key === undefined || (missing.length === 0 && error === undefined)) continue;
      const before = lost.get(key);
      lost.set(key, {
        ...key,
        missing: [...before?.missing ?? [], ...missing],
        error: before?.error ?? (error && asCniError(error, key)),
      });
    }
    return [...lost.values()];
  }

  /** Returns the plugins of an attachment that make rules and are built in. */
  async #ownersOf(record: AttachmentRecord, keeper: RuleKeeper): Promise<readonly RuleOwner[]> {
    const { runner, removal } = this.#context;
    const list = listOnRecord(record);
    if (!list.plugins.some(({ type }) => keeper.makesRules(type)) || !atLeast(list.cniVersion, "0.4.0")) {
      return [];
    }
    const { netns, containerId, ifName, cniArgs: args } = record;
    // The pod is gone, or another one is there: its rules must not come back.
    if (!await removal.isInNetns(record, netns)) return [];
    const owners: RuleOwner[] = [];
    for (const { plugin: { type }, config } of checkRequests(list, record, record.result)) {
      if (!keeper.makesRules(type)) continue;
      const source = await runner.locate(type, config);
      if (source.kind === "builtin") owners.push({ type, config, containerId, netns, ifName, args });
    }
    return owners;
  }
}

function isBroken({ missing, error }: LostRules): boolean {
  return missing.length === 0 && error !== undefined;
}
