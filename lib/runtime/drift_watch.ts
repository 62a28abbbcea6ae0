import { Coalescer } from "../async/coalesce.ts";
import { DriftChecks } from "../attachment/drift_checks.ts";
import { type Drift, type DriftChange, Drifts } from "../attachment/drifts.ts";
import { mayCheckAgain } from "../attachment/repeated_check.ts";
import { RuleWatch } from "../attachment/rule_watch.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { NetworkEvent } from "../kernel/network_event.ts";
import { watchNetwork } from "../kernel/network_watch.ts";
import type { RuntimeContext } from "./context.ts";

/** How a process that keeps running looks after what it has attached. */
export interface DriftOptions {
  /** Whether rules of built-in plugins that are lost are put back by themselves; otherwise they are reported. @default {true} */
  readonly repairRules?: boolean | undefined;
  /** Milliseconds between two CHECKs of each attachment; 0 for none. @default {0} */
  readonly checkIntervalMs?: number | undefined;
}

/** What a {@linkcode DriftWatch} works with. */
type DriftContext = Pick<
  RuntimeContext,
  "rules" | "attachments" | "store" | "locks" | "runner" | "sandboxContext"
>;

/** Between two looks at the rules: with events only iptables without nftables needs them. */
const POLL_MS = 30_000;
const POLL_WITHOUT_EVENTS_MS = 10_000;

/** Sees what attachments lose, by the events of the kernel and from time to time, and puts rules back. */
export class DriftWatch implements AsyncDisposable {
  readonly #context: Pick<RuntimeContext, "sandboxContext">;
  readonly #drifts = new Drifts();
  readonly #rules: RuleWatch;
  readonly #checks: DriftChecks;
  readonly #subscriptions = new DisposableStack();
  readonly #stop = new AbortController();
  /** The links that something happened to since the last look at their attachments; some are known by their index only. */
  readonly #links = new Set<string>();
  readonly #indexes = new Set<number>();
  readonly #looking = new Coalescer(() => this.#checkLinks());

  private constructor(
    context: DriftContext,
    { repairRules: repairs = true, checkIntervalMs: intervalMs = 0 }: DriftOptions,
  ) {
    const { rules, runner, sandboxContext: { run, log } } = context;
    const drifts = this.#drifts;
    this.#context = context;
    this.#checks = new DriftChecks({
      ...{ ...context, drifts, log, intervalMs },
      mayCheckAgain: (list, signal) => mayCheckAgain(list, { runner, run }, signal),
    });
    this.#subscriptions.use(drifts.onChange((change) => this.#follow(change)));
    const watch = watchNetwork(run)((event) => this.#take(event));
    if (watch !== undefined) this.#subscriptions.use(watch);
    const pollMs = watch === undefined ? POLL_WITHOUT_EVENTS_MS : POLL_MS;
    this.#rules = new RuleWatch({ rules, drifts, repairs, log, pollMs });
  }

  /** Begins to watch; the first look at the rules is made at once. */
  static start(
    context: DriftContext,
    options: DriftOptions,
  ): DriftWatch {
    const watch = new DriftWatch(context, options);
    watch.#rules.start();
    watch.#checks.start();
    return watch;
  }

  /** The attachments that have drifted. */
  get current(): readonly Drift[] {
    return this.#drifts.current;
  }

  /** Calls `listener` with each change of an attachment, until disposed of. */
  onChange(listener: (change: DriftChange) => void): Disposable {
    return this.#drifts.onChange(listener);
  }

  /** Looks soon at the rules, as after a reload of a firewall. */
  hurry(): void {
    this.#rules.hurry();
  }

  /** Ends the watch, and waits for what it has in progress. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#subscriptions.dispose();
    await this.#looking.idle();
    await this.#rules[Symbol.asyncDispose]();
    await this.#checks[Symbol.asyncDispose]();
  }

  #follow(change: DriftChange): void {
    // Something else may be wrong with it.
    if (change.state === "repaired" && this.#drifts.has(change)) this.#checks.hurry(change);
  }

  #take({ rules, links, addresses, forwarding, isIncomplete }: NetworkEvent): void {
    if (rules || forwarding || isIncomplete) this.#rules.hurry();
    if (links.size + addresses.size === 0) return;
    for (const name of links) this.#links.add(name);
    for (const index of addresses) this.#indexes.add(index);
    this.#looking.next().catch((error) => {
      const { log } = this.#context.sandboxContext;
      if (!this.#stop.signal.aborted) log.error(`Cannot check the attachments: ${asCniError(error).message}`);
    });
  }

  async #checkLinks(): Promise<void> {
    const { signal } = this.#stop;
    if (signal.aborted) return;
    const names = new Set(this.#links);
    const indexes = new Set(this.#indexes);
    this.#links.clear();
    this.#indexes.clear();
    if (indexes.size > 0) {
      const { run } = this.#context.sandboxContext;
      const [known] = await kernelFor(run).apply([{ kind: "show-links" }], { signal });
      for (const { index, name } of known) if (indexes.has(index)) names.add(name);
    }
    await this.#checks.hurryLinks(names);
  }
}
