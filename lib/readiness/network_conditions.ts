import type { ReadyCondition } from "./condition.ts";
import { type ConditionOptions, NetworkCondition } from "./network_condition.ts";
import type { NetworkStatus } from "./status.ts";
import type { StatusTarget } from "./status_target.ts";

/** What changed when a catalog replaced another one. */
export interface ReplacedTargets {
  /** Conditions of networks that are new or that have another configuration now. */
  readonly changed: readonly NetworkCondition[];
  /** Conditions whose targets are gone, by key. */
  readonly removed: readonly (readonly [string, NetworkCondition])[];
}

/** The conditions of all targets of a catalog, by their keys, in the order of the catalog. */
export class NetworkConditions {
  readonly #options: ConditionOptions;
  #byKey: ReadonlyMap<string, NetworkCondition> = new Map();

  constructor(options: ConditionOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byKey.size;
  }

  get all(): readonly NetworkCondition[] {
    return [...this.#byKey.values()];
  }

  get(key: string): NetworkCondition | undefined {
    return this.#byKey.get(key);
  }

  /** Returns the conditions of the networks of that name, or of all. */
  ofNetwork(name: string | undefined): readonly NetworkCondition[] {
    return this.all.filter(({ target }) => name === undefined || target.network === name);
  }

  /** Returns the statuses of the networks of that name, or of all. */
  statuses(name: string | undefined): readonly NetworkStatus[] {
    return this.ofNetwork(name).map((condition) => condition.status());
  }

  /** Returns what is to be remembered: every condition that comes from an answer. */
  get known(): ReadonlyMap<string, ReadyCondition> {
    return new Map(
      [...this.#byKey].flatMap(([key, { condition }]) =>
        condition === undefined ? [] : [[key, condition] as const]
      ),
    );
  }

  /** Replaces the targets. A target that stays keeps its condition; a new one starts with what is remembered. */
  replace(
    targets: readonly StatusTarget[],
    remembered: ReadonlyMap<string, ReadyCondition>,
  ): ReplacedTargets {
    const before = this.#byKey;
    const changed: NetworkCondition[] = [];
    this.#byKey = new Map(targets.map((target) => {
      const { key } = target;
      const known = before.get(key);
      const condition = known ?? new NetworkCondition(target, this.#options, remembered.get(key));
      if (known === undefined || known.update(target)) changed.push(condition);
      return [key, condition];
    }));
    return { changed, removed: [...before].filter(([key]) => !this.#byKey.has(key)) };
  }
}
