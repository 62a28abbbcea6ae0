import { descriptorLimit } from "../host/descriptors.ts";
import type { Logger } from "../host/log.ts";
import { repeat } from "../async/repeat.ts";
import type { ServiceManager } from "../host/service_manager.ts";
import { type LiveOptions, LiveRuntime } from "../runtime/live.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { entryToJson, statusToJson } from "../runtime/json_view.ts";
import { EventHub } from "./event_hub.ts";
import { countAttachments, Gauges } from "./gauges.ts";
import { guardProcess } from "./guard.ts";
import { Handler, MOST_REQUESTS } from "./handler.ts";
import { Metrics } from "./metrics.ts";
import { openApiOf } from "./openapi.ts";
import { type PoolSizes, WarmPool } from "./pool.ts";
import { RecordWatch } from "./record_watch.ts";
import type { Route } from "./route.ts";
import { routesOf } from "./routes.ts";
import { SocketServer } from "./server.ts";
import type { Services } from "./services.ts";
import { delay } from "../async/wait.ts";

/** How the daemon works. */
export interface DaemonOptions {
  /** The runtime; its observer is the daemon's. */
  readonly runtime: Omit<LiveOptions, "log" | "observer">;
  readonly log: Logger;
  readonly version: string;
  /** Where it serves, as an absolute path. */
  readonly socket: string;
  /** Milliseconds that requests under way have to end, once it is to end itself. @default {30_000} */
  readonly drainMs?: number | undefined;
  /** How many requests of one method may be under way at once. @default {256, or fewer where few files may be open} */
  readonly maxRequests?: number | undefined;
  /** Milliseconds for one request. @default {600_000} */
  readonly requestMs?: number | undefined;
  readonly manager: ServiceManager;
  /** Milliseconds between two looks whether the socket is still there. @default {10_000} */
  readonly socketPollMs?: number | undefined;
  /** Which sandboxes are made before they are asked for. @default {none} */
  readonly pool?: PoolSizes | undefined;
  /** Makes sandboxes in the place of the runtime, which it gets. @default {the runtime does} */
  readonly run?: ((request: SandboxRequest, runtime: LiveRuntime) => Promise<Sandbox>) | undefined;
}

/** What is cut short is undone; whoever undoes longer is left to recovery. */
const UNDO_MS = 30_000;

/** The daemon: a runtime that lasts, served over a socket. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #runtime: LiveRuntime;
  readonly #handler: Handler;
  readonly #server: SocketServer;
  readonly #hub: EventHub;
  readonly #parts: readonly (Disposable | AsyncDisposable)[];
  readonly #failed = Promise.withResolvers<never>();
  readonly #stop = new AbortController();
  #ending: Promise<void> | undefined;

  private constructor(
    options: DaemonOptions,
    parts: { runtime: LiveRuntime; handler: Handler; server: SocketServer; hub: EventHub },
    more: readonly (Disposable | AsyncDisposable)[],
  ) {
    this.#options = options;
    this.#runtime = parts.runtime;
    this.#handler = parts.handler;
    this.#server = parts.server;
    this.#hub = parts.hub;
    // Whoever does not wait for it must not be ended by it.
    this.#failed.promise.catch(() => {});
    this.#parts = [...more, ...this.#beside()];
  }

  /**
   * Reads the configuration, takes the socket and begins to serve. What a crash or a reboot interrupted is settled
   * beside that.
   *
   * @throws {CniError} kind `conflict` if another one serves there
   */
  static async start(options: DaemonOptions, signal?: AbortSignal): Promise<Daemon> {
    const { log, socket, version } = options;
    const metrics = new Metrics({ version });
    const guard = guardProcess({ log, onUncaught: () => metrics.onUncaught() });
    const room = roomFor(await descriptorLimit(options.runtime.run));
    const runtime = await LiveRuntime.open({ ...options.runtime, log, observer: metrics }, signal);
    try {
      const watch: { current?: RecordWatch } = {};
      const hub = new EventHub({ onAudience: (isThere) => follow(watch, isThere, runtime, hub, log) });
      const warm: { pool?: WarmPool } = {};
      const services = servicesOf(options, runtime, { hub, metrics, warm });
      const routes: readonly Route[] = routesOf(services, () => openApiOf(routes, version));
      const handler = new Handler({
        ...room,
        ...options,
        routes,
        onServed: (seen) => metrics.onHttpRequest(seen),
      });
      const server = await SocketServer.open({
        path: socket,
        handle: (request) => handler.handle(request),
        log,
        maxConnections: room.maxConnections,
        signal,
      });
      const pool = options.pool &&
        await openPool(options.pool, runtime, { metrics, log, warm }).catch(async (error) => {
          await server.close(0);
          throw error;
        });
      const told = [
        guard,
        ...(pool === undefined ? [] : [pool]),
        runtime.onNetworks((entries) => publish(hub, "catalogue", { networks: entries.map(entryToJson) })),
        runtime.onInfraEnded(({ id: sandbox, pid, reason }) => {
          log.warn("an infra container has ended by itself", { sandbox, pid, reason });
          metrics.onInfraEnded();
          watch.current?.changed(sandbox);
        }),
        runtime.onStatus((status) => publish(hub, "status", { status: statusToJson(status) })),
        { [Symbol.asyncDispose]: async () => await watch.current?.[Symbol.asyncDispose]() },
      ];
      const daemon = new Daemon(options, { runtime, handler, server, hub }, told);
      await daemon.#tell("READY=1", `STATUS=serving at ${socket}`);
      log.info("serving", { socket });
      return daemon;
    } catch (error) {
      await runtime[Symbol.asyncDispose]();
      guard[Symbol.dispose]();
      throw error;
    }
  }

  /** Fails if the daemon cannot go on; else never ends. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Reads the configuration now. */
  async reload(): Promise<void> {
    const { log } = this.#options;
    await this.#tell("RELOADING=1");
    try {
      const entries = await this.#runtime.reload();
      log.info("the configuration was read", { files: entries.length });
    } catch (error) {
      log.error(`the configuration cannot be read: ${asCniError(error).message}`);
    } finally {
      await this.#tell("READY=1");
    }
  }

  /** Accepts nothing any more, lets what is under way end, cuts short what takes too long, and ends. */
  async end(): Promise<void> {
    await (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    const { drainMs = 30_000, log } = this.#options;
    log.info("ending", { underWay: this.#handler.underWay });
    await this.#tell("STOPPING=1", "STATUS=draining");
    const drained = this.#handler.drained();
    this.#hub.close();
    const closed = this.#server.close(drainMs + UNDO_MS);
    const late = new AbortController();
    const cut = delay(drainMs, late.signal).then(() => {
      log.warn("requests are cut short", { underWay: this.#handler.underWay });
      this.#handler.cancel();
      return delay(UNDO_MS, late.signal);
    });
    await Promise.race([drained, cut]);
    late.abort();
    await cut.catch(() => {});
    await closed;
    this.#stop.abort();
    for (const part of this.#parts) {
      if (Symbol.asyncDispose in part) await part[Symbol.asyncDispose]();
      else part[Symbol.dispose]();
    }
    await this.#runtime[Symbol.asyncDispose]();
    log.info("ended");
  }

  /** What goes on beside the requests. */
  #beside(): readonly AsyncDisposable[] {
    const { log, manager, socketPollMs = 10_000 } = this.#options;
    const { signal } = this.#stop;
    const recovering = this.#runtime.recover({ signal }).then(({ removed, failed }) => {
      if (removed.length + failed.length > 0) {
        log.info("recovered", { removed: removed.length, failed: failed.length });
      }
    }).catch((error) => {
      if (!signal.aborted) log.error(`the recovery failed: ${asCniError(error).message}`);
    });
    const lost = (error: unknown) => {
      const failure = asCniError(error);
      log.error(`the socket: ${failure.message}`);
      if (failure.kind === "conflict") this.#failed.reject(failure);
    };
    const { watchdogMs } = manager;
    // A loop that hangs tells nothing, which is what the watchdog waits for.
    const watchdog = watchdogMs === undefined
      ? []
      : [repeat(watchdogMs / 2, () => this.#tell("WATCHDOG=1"), () => {})];
    return [
      ...watchdog,
      repeat(socketPollMs, () => this.#server.keep(), lost),
      { [Symbol.asyncDispose]: () => recovering },
    ];
  }

  async #tell(...assignments: readonly string[]): Promise<void> {
    const { manager, log } = this.#options;
    await manager.tell(...assignments).catch((error) => {
      log.warn(`the service manager cannot be told: ${asCniError(error).message}`);
    });
  }
}

const MOST_CONNECTIONS = 4_096;
/** Of the files that may be open: pipes to plugins and to their programs, records, and the connection itself. */
const FILES_A_REQUEST = 12;

/** How many connections and requests there is room for; the rest is for what goes on beside them. */
function roomFor(
  limit: number = Infinity,
): { readonly maxConnections: number; readonly maxRequests: number } {
  return {
    maxConnections: Math.max(16, Math.min(MOST_CONNECTIONS, Math.floor(limit / 4))),
    maxRequests: Math.max(4, Math.min(MOST_REQUESTS, Math.floor(limit / FILES_A_REQUEST))),
  };
}

function servicesOf(
  { run, log }: DaemonOptions,
  runtime: LiveRuntime,
  { hub, metrics, warm }: { hub: EventHub; metrics: Metrics; warm: { readonly pool?: WarmPool | undefined } },
): Services {
  const make: Services["run"] = (request, onSame) =>
    run === undefined ? runtime.sandboxes.run(request, onSame) : run(request, runtime);
  const gauges = new Gauges({
    attachments: () => countAttachments(runtime.records),
    // Whoever is warned of broken ones must not be warned of each that is made.
    sandboxes: async () =>
      (await runtime.sandboxes.states()).map(({ state, underWay }) => ({
        state: underWay ? "under_way" : state,
      })),
    networks: () => runtime.networks(),
    readiness: () => runtime.status(),
  });
  return {
    run: (request, onSame) => warm.pool?.run(request, () => make(request, onSame)) ?? make(request, onSame),
    sandboxes: runtime.sandboxes,
    networks: (signal) => runtime.networks(signal),
    status: (request) => runtime.status(request),
    attachments: (filter) => runtime.attachments(filter),
    forget: (request) => runtime.forget(request),
    gc: (request) => runtime.gc(request),
    recover: (options) => runtime.recover(options),
    events: () => hub.subscribe(),
    metrics: async () => metrics.render(await gauges.read()),
    onLeft: (sandbox, failure) => log.warn(`left on record: ${failure.message}`, { sandbox }),
  };
}

/** Begins to fill the pool, which ends by what is given. */
async function openPool(
  sizes: PoolSizes,
  runtime: LiveRuntime,
  { metrics, log, warm }: { metrics: Metrics; log: Logger; warm: { pool?: WarmPool | undefined } },
): Promise<AsyncDisposable> {
  const spares = await runtime.warmSandboxes();
  const isReady = async (network: string) => {
    const [status] = await runtime.status({ network });
    // Whoever was not asked yet may well be.
    return status !== undefined && (status.ready || status.reason === "pending");
  };
  const pool = new WarmPool({ ...sizes, spares, isReady, observer: metrics, log });
  warm.pool = pool;
  const changes = [runtime.onNetworks(() => pool.changed()), runtime.onStatus(() => pool.changed())];
  return {
    async [Symbol.asyncDispose]() {
      for (const change of changes) change[Symbol.dispose]();
      await pool[Symbol.asyncDispose]();
      await spares[Symbol.asyncDispose]();
    },
  };
}

/** The records are watched only while somebody listens. */
function follow(
  watch: { current?: RecordWatch | undefined },
  isThere: boolean,
  runtime: LiveRuntime,
  hub: EventHub,
  log: Logger,
): void {
  const before = watch.current;
  void before?.[Symbol.asyncDispose]();
  delete watch.current;
  if (!isThere) return;
  watch.current = RecordWatch.start({
    stateDir: runtime.stateDir,
    store: runtime.records.store,
    sandbox: (id) => runtime.sandboxes.get(id),
    isSettled: (id) => runtime.isSettled(id),
    sandboxIds: async () => (await runtime.sandboxes.list()).map(({ id }) => id),
    publish: (event) => hub.publish(event),
    log,
  });
}

function publish(hub: EventHub, type: string, members: Parameters<EventHub["publish"]>[0] | object): void {
  hub.publish({ type, ...members, time: new Date().toISOString() });
}
