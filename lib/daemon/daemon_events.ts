import type { DriftChange } from "../attachment/drifts.ts";
import type { DhcpEvent } from "../dhcp/event.ts";
import type { Logger } from "../host/log.ts";
import { entryToJson, statusToJson } from "../runtime/json_view.ts";
import type { LiveRuntime } from "../runtime/live.ts";
import { EventHub } from "./event_hub.ts";
import { RecordWatch } from "./record_watch.ts";

/** Options of {@linkcode DaemonEvents}. */
export interface DaemonEventsOptions {
  readonly runtime: LiveRuntime;
  readonly log: Logger;
  /** Called when an infra container has ended by itself. */
  readonly onInfraEnded: () => void;
  /** Called when an attachment has drifted, was repaired, or is well again. */
  readonly onDrift: (change: DriftChange) => void;
}

/**
 * The events that clients read: changes of the networks, of their readiness, of sandboxes, of attachments and whether these have
 * drifted, and of leases of DHCP. The records are watched only while something reads or follows.
 */
export class DaemonEvents implements AsyncDisposable {
  readonly #options: DaemonEventsOptions;
  readonly #hub = new EventHub({ onAudience: () => this.#watchRecords() });
  readonly #followers = new Set<(id: string) => void>();
  readonly #subscriptions = new AsyncDisposableStack();
  #records: RecordWatch | undefined;
  /** Resolves when the watches of the records that are not needed any more have ended. */
  #ended: Promise<unknown> = Promise.resolve();

  /** Subscribes to the runtime. */
  constructor(options: DaemonEventsOptions) {
    this.#options = options;
    const { runtime, log, onInfraEnded, onDrift } = options;
    this.#subscriptions.use(
      runtime.onNetworks((entries) => this.#publish("catalogue", { networks: entries.map(entryToJson) })),
    );
    this.#subscriptions.use(runtime.onInfraEnded(({ id: sandbox, pid, reason }) => {
      log.warn("an infra container has ended by itself", { sandbox, pid, reason });
      onInfraEnded();
      this.#records?.changed(sandbox);
    }));
    this.#subscriptions.use(runtime.onDrift((change) => {
      const { state, why, ...attachment } = change;
      if (state === "drifted") log.warn(`an attachment has drifted: ${why}`, attachment);
      if (state === "well") log.info("an attachment is well again", attachment);
      onDrift(change);
      this.#publish("drift", { ...change });
    }));
    this.#subscriptions.use(
      runtime.onStatus((status) => this.#publish("status", { status: statusToJson(status) })),
    );
  }

  /** Returns a stream of the events from now on, as server-sent events. */
  subscribe(): ReadableStream<Uint8Array> {
    return this.#hub.subscribe();
  }

  /**
   * Calls `changed` with the ID of each sandbox that is made, changes or is removed, by whatever program, until it is disposed of.
   * Resolves once no change is missed any more.
   *
   * @throws if the records cannot be watched
   */
  async followSandboxes(changed: (id: string) => void): Promise<Disposable> {
    // Its own function, so that two that follow may give the same one.
    const follower = (id: string) => changed(id);
    this.#followers.add(follower);
    this.#watchRecords();
    const following = {
      [Symbol.dispose]: () => {
        if (this.#followers.delete(follower)) this.#watchRecords();
      },
    };
    try {
      await this.#records?.begun;
      return following;
    } catch (error) {
      following[Symbol.dispose]();
      throw error;
    }
  }

  /** Publishes what happened to a DHCP daemon or a lease. */
  onDhcp(event: DhcpEvent): void {
    this.#publish("dhcp", { dhcp: event });
  }

  /** Ends all streams, and those that clients still ask for. */
  close(): void {
    this.#hub.close();
  }

  /** Ends the subscriptions and the watch of the records. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    this.#followers.clear();
    this.#watchRecords();
    await this.#subscriptions.disposeAsync();
    await this.#ended;
  }

  /** Begins or ends the watch of the records, if others need it now than before. */
  #watchRecords(): void {
    const isNeeded = this.#hub.readers + this.#followers.size > 0;
    if (isNeeded === (this.#records !== undefined)) return;
    this.#ended = Promise.all([this.#ended, this.#records?.[Symbol.asyncDispose]()]);
    this.#records = isNeeded ? this.#startRecords() : undefined;
  }

  #startRecords(): RecordWatch {
    const { runtime, log } = this.#options;
    return RecordWatch.start({
      stateDir: runtime.stateDir,
      store: runtime.records.store,
      sandbox: (id) => runtime.sandboxes.get(id),
      isSettled: (id) => runtime.isSettled(id),
      sandboxIds: async () => (await runtime.sandboxes.list()).map(({ id }) => id),
      publish: (event) => this.#hub.publish(event),
      onSandbox: (id) => this.#followers.forEach((changed) => changed(id)),
      log,
    });
  }

  #publish(type: string, members: object): void {
    this.#hub.publish({ type, ...members, time: new Date().toISOString() });
  }
}
