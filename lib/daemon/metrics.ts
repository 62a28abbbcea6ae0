import { type Clock, systemClock } from "../async/clock.ts";
import type { DriftState } from "../attachment/drifts.ts";
import { FILE_STATUSES } from "../catalog/entry.ts";
import type { DhcpEvent } from "../dhcp/event.ts";
import type { LockWaitEvent, Observer, OperationEvent, PluginCallEvent } from "../plugin/instrumentation.ts";
import { SANDBOX_STATES } from "../sandbox/view.ts";
import { ATTACHMENT_STATES } from "../state/attachment_store.ts";
import { Counter, Histogram, type Labels, type Sample, writeGauge } from "./exposition.ts";
import { GAUGE_PARTS, type GaugeValues } from "./gauges.ts";
import type { ServedRequest } from "./handler.ts";
import { isHttpMethod } from "./http_message.ts";
import type { PoolMiss, PoolObserver } from "./pool.ts";

/** Options of {@linkcode Metrics}. */
export interface MetricsOptions {
  /** The version of podwire. */
  readonly version: string;
  /** @default {systemClock} */
  readonly clock?: Clock | undefined;
}

/** In seconds: from a plugin that only reads something to one that waits for a DHCP server, and beyond its timeout. */
const DURATIONS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
const WAITS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 300];
const STATES_OF_SANDBOXES = [...SANDBOX_STATES, "under_way"];
/** How long the series of a removed network are kept, so that Prometheus gets their last values. */
const KEPT_MS = 10 * 60_000;

/**
 * Counts what happens, and prints the counts and the gauges in the text format of Prometheus. It is the `observer` of a
 * runtime.
 */
export class Metrics implements Observer, PoolObserver {
  readonly #clock: Clock;
  readonly #version: string;
  readonly #startedAt: number;
  readonly #pluginDuration = new Histogram({
    name: "podwire_plugin_duration_seconds",
    help: "Duration of plugin calls, including their retries; the network of VERSION is empty.",
    labels: ["verb", "network", "plugin"],
  }, DURATIONS);
  readonly #pluginErrors = new Counter({
    name: "podwire_plugin_errors_total",
    help: "Plugin calls that failed, by the kind of the error.",
    labels: ["verb", "network", "plugin", "kind"],
  });
  readonly #pluginRetries = new Counter({
    name: "podwire_plugin_retries_total",
    help: "Retries of plugin calls after the plugin answered to try again later.",
    labels: ["verb", "network", "plugin"],
  });
  readonly #operationDuration = new Histogram({
    name: "podwire_operation_duration_seconds",
    help: "Duration of operations, including those that failed.",
    labels: ["operation"],
  }, DURATIONS);
  readonly #operationErrors = new Counter({
    name: "podwire_operation_errors_total",
    help: "Operations that failed, by the kind of the error.",
    labels: ["operation", "kind"],
  });
  readonly #lockWait = new Histogram({
    name: "podwire_lock_wait_seconds",
    help: "Duration of waits for locks, including those that were in vain.",
    labels: ["lock"],
  }, WAITS);
  readonly #requests = new Counter({
    name: "podwire_http_requests_total",
    help: "Requests that have been answered.",
    labels: ["route", "method", "status"],
  });
  readonly #requestDuration = new Histogram({
    name: "podwire_http_request_duration_seconds",
    help: "Duration until the response to a request began; the duration of an event stream does not count.",
    labels: ["route", "method", "status_class"],
  }, DURATIONS);

  readonly #infraDeaths = new Counter({
    name: "podwire_infra_deaths_total",
    help: "Infra containers that ended by themselves.",
    labels: [],
  });
  readonly #dhcpDaemons = new Counter({
    name: "podwire_dhcp_daemon_events_total",
    help: "Starts, ends and failed starts of DHCP daemons.",
    labels: ["socket", "event"],
  });
  readonly #dhcpLeases = new Counter({
    name: "podwire_dhcp_leases_total",
    help: "Leases that a new DHCP daemon was asked for: renewed, changed (another address), or failed.",
    labels: ["outcome"],
  });
  readonly #drifts = new Counter({
    name: "podwire_attachment_drifts_total",
    help: "Attachments that drifted, whose rules were put back, or that were well again.",
    labels: ["state"],
  });
  readonly #uncaught = new Counter({
    name: "podwire_uncaught_errors_total",
    help: "Uncaught errors; the daemon continues, and each one is a defect.",
    labels: [],
  });
  readonly #others: (() => string)[] = [];
  readonly #poolSizes = new Map<string, number>();
  readonly #handedOut = new Counter({
    name: "podwire_pool_handed_out_total",
    help: "Requests that got a sandbox of the pool.",
    labels: ["network"],
  });
  readonly #poolMisses = new Counter({
    name: "podwire_pool_missed_total",
    help:
      "Requests that fit the pool but got none of its sandboxes: it had none, or the sandbox had changed.",
    labels: ["network", "reason"],
  });

  constructor({ version, clock = systemClock }: MetricsOptions) {
    this.#clock = clock;
    this.#version = version;
    this.#startedAt = clock.date().getTime();
  }

  /** Counts a call of a plugin. */
  onPluginCall({ verb, network, type: plugin, ms, outcome, retries }: PluginCallEvent): void {
    const labels = { verb, network, plugin };
    const now = this.#clock.now();
    this.#pluginDuration.observe(labels, ms / 1_000, now);
    if (outcome !== "ok") this.#pluginErrors.add({ ...labels, kind: outcome }, now);
    if (retries > 0) this.#pluginRetries.add(labels, now, retries);
  }

  /** Counts a wait for a lock. */
  onLockWait({ lock, ms }: LockWaitEvent): void {
    this.#lockWait.observe({ lock }, ms / 1_000, this.#clock.now());
  }

  /** Counts an operation. */
  onOperation({ operation, ms, outcome }: OperationEvent): void {
    const now = this.#clock.now();
    this.#operationDuration.observe({ operation }, ms / 1_000, now);
    if (outcome !== "ok") this.#operationErrors.add({ operation, kind: outcome }, now);
  }

  /** Counts an answered request. */
  onHttpRequest({ route, method: given, status, ms }: ServedRequest): void {
    const now = this.#clock.now();
    const method = isHttpMethod(given) ? given : "other";
    this.#requests.add({ route, method, status: String(status) }, now);
    // A histogram has many lines, so it has one series for a class of statuses.
    const status_class = `${Math.floor(status / 100)}xx`;
    this.#requestDuration.observe({ route, method, status_class }, ms / 1_000, now);
  }

  /** Counts an infra container that ended by itself. */
  onInfraEnded(): void {
    this.#infraDeaths.add({}, this.#clock.now());
  }

  /** Counts what happened to a DHCP daemon or a lease. */
  onDhcp(event: DhcpEvent): void {
    const now = this.#clock.now();
    if (event.event === "lease") this.#dhcpLeases.add({ outcome: event.outcome }, now);
    else this.#dhcpDaemons.add({ socket: event.socket, event: event.event }, now);
  }

  /** Counts a change of an attachment. */
  onDrift(state: DriftState): void {
    this.#drifts.add({ state }, this.#clock.now());
  }

  /** Counts an uncaught error. */
  onUncaught(): void {
    this.#uncaught.add({}, this.#clock.now());
  }

  /** Takes the number of sandboxes that are ready in a pool. */
  onPoolSize(network: string, ready: number): void {
    this.#poolSizes.set(network, ready);
  }

  /** Counts a request that the pool served. */
  onHandedOut(network: string): void {
    this.#handedOut.add({ network }, this.#clock.now());
  }

  /** Counts a request that the pool could not serve. */
  onPoolMiss(network: string, reason: PoolMiss): void {
    this.#poolMisses.add({ network, reason }, this.#clock.now());
  }

  /** Adds metrics that another face of the daemon writes. */
  add(write: () => string): void {
    this.#others.push(write);
  }

  /** Returns all metrics in the text format, with the number of attachments that have drifted. Gauges without a value are left out. */
  render(values: GaugeValues = {}, drifted?: number): string {
    this.#dropNetworks(values);
    return [
      this.#pluginDuration.write(),
      this.#pluginErrors.write(),
      this.#pluginRetries.write(),
      this.#operationDuration.write(),
      this.#operationErrors.write(),
      this.#lockWait.write(),
      this.#requests.write(),
      this.#requestDuration.write(),
      this.#infraDeaths.write(),
      this.#dhcpDaemons.write(),
      this.#dhcpLeases.write(),
      this.#drifts.write(),
      this.#uncaught.write(),
      ...this.#others.map((write) => write()),
      ...this.#pools(),
      ...drifted === undefined ? [] : [writeGauge(DRIFTED, [{ labels: {}, value: drifted }])],
      ...this.#gauges(values),
      ...this.#program(),
    ].join("");
  }

  #pools(): readonly string[] {
    if (this.#poolSizes.size === 0) return [];
    const samples = [...this.#poolSizes].map(([network, value]) => ({ labels: { network }, value }));
    return [writeGauge(POOL_SIZE, samples), this.#handedOut.write(), this.#poolMisses.write()];
  }

  /**
   * Drops the series of removed networks. Their plugins are still called for the last attachments, so it waits for a
   * while.
   */
  #dropNetworks({ networks }: GaugeValues): void {
    if (networks === undefined) return;
    const names = new Set(["", ...networks.map(({ name }) => name)]);
    const before = this.#clock.now() - KEPT_MS;
    for (const family of [this.#pluginDuration, this.#pluginErrors, this.#pluginRetries]) {
      family.drop(({ network }, touchedAt) => !names.has(network ?? "") && touchedAt < before);
    }
  }

  #gauges(values: GaugeValues): readonly string[] {
    const { attachments, sandboxes, networks, readiness } = values;
    const unread = GAUGE_PARTS.map((part) => ({ labels: { part }, value: part in values ? 0 : 1 }));
    const lines = [writeGauge(UNREAD, unread)];
    if (attachments !== undefined) {
      const { states, oldestFailure } = attachments;
      const since = oldestFailure === undefined ? NaN : Date.parse(oldestFailure);
      // The clock may have been set back.
      const age = Number.isNaN(since) ? 0 : Math.max(0, (this.#clock.date().getTime() - since) / 1_000);
      lines.push(
        writeGauge(
          ATTACHMENTS,
          ATTACHMENT_STATES.map((state) => ({ labels: { state }, value: states[state] })),
        ),
        writeGauge(FAILED, [{ labels: {}, value: states.failed }]),
        writeGauge(FAILED_AGE, [{ labels: {}, value: age }]),
      );
    }
    if (sandboxes !== undefined) {
      const states = sandboxes.map(({ state }) => state);
      lines.push(writeGauge(SANDBOXES, countsOf("state", states, STATES_OF_SANDBOXES)));
    }
    if (networks !== undefined) {
      const statuses = networks.map(({ status }) => status);
      lines.push(writeGauge(NETWORKS, countsOf("status", statuses, FILE_STATUSES)));
    }
    if (readiness !== undefined) {
      const samples = readiness.map(({ network = "", ready, reason = "" }) => ({
        labels: { network, reason },
        value: ready ? 1 : 0,
      }));
      lines.push(writeGauge(NETWORK_READY, samples));
    }
    return lines;
  }

  #program(): readonly string[] {
    return [
      writeGauge(STARTED, [{ labels: {}, value: this.#startedAt / 1_000 }]),
      writeGauge(BUILD, [{ labels: { version: this.#version }, value: 1 }]),
    ];
  }
}

/** Returns how often each word occurs, including the known words that do not occur. */
function countsOf<Label extends string>(
  label: Label,
  words: readonly string[],
  known: readonly string[],
): readonly Sample<Label>[] {
  const all = new Set([...known, ...words]);
  return [...all].map((word) => ({
    labels: { [label]: word } as Labels<Label>,
    value: words.filter((other) => other === word).length,
  }));
}

const UNREAD = {
  name: "podwire_gauges_unread",
  help: "1 for a source of the following gauges that could not be read, or not in time.",
  labels: ["part"],
} as const;
const ATTACHMENTS = {
  name: "podwire_attachments",
  help: "Attachments on record.",
  labels: ["state"],
} as const;
const FAILED = {
  name: "podwire_failed_attachments",
  help: "Attachments that could not be removed; their removal is retried.",
  labels: [],
} as const;
const FAILED_AGE = {
  name: "podwire_failed_attachment_age_seconds",
  help: "Age of the oldest attachment that could not be removed; 0 if there is none.",
  labels: [],
} as const;
const DRIFTED = {
  name: "podwire_attachments_drifted",
  help: "Attachments that are known to be not as their ADD left them.",
  labels: [],
} as const;
const SANDBOXES = { name: "podwire_sandboxes", help: "Sandboxes on record.", labels: ["state"] } as const;
const POOL_SIZE = {
  name: "podwire_pool_sandboxes",
  help: "Sandboxes of the pool that are ready to be handed out.",
  labels: ["network"],
} as const;
const NETWORKS = {
  name: "podwire_networks",
  help: "Files of the configuration directory, by status.",
  labels: ["status"],
} as const;
const NETWORK_READY = {
  name: "podwire_network_ready",
  help: "1 for a network that can attach containers, 0 and a reason for one that cannot.",
  labels: ["network", "reason"],
} as const;
const STARTED = {
  name: "process_start_time_seconds",
  help: "When the program started, in seconds since 1970.",
  labels: [],
} as const;
const BUILD = {
  name: "podwire_build_info",
  help: "Always 1; the version of podwire.",
  labels: ["version"],
} as const;
