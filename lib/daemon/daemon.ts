import type { CallOptions } from "../async/call_options.ts";
import { repeat } from "../async/repeat.ts";
import { delay } from "../async/wait.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { descriptorLimit } from "../host/descriptors.ts";
import type { Logger } from "../host/log.ts";
import type { ServiceManager } from "../host/service_manager.ts";
import { type LiveOptions, LiveRuntime } from "../runtime/live.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { DaemonEvents } from "./daemon_events.ts";
import type { Face, FaceContext, OpenFace } from "./face.ts";
import { countAttachments, Gauges } from "./gauges.ts";
import { guardProcess } from "./guard.ts";
import { Handler, MOST_REQUESTS, REQUEST_MS } from "./handler.ts";
import { Metrics } from "./metrics.ts";
import { openApiOf } from "./openapi.ts";
import { type PoolSizes, WarmPool } from "./pool.ts";
import type { Route } from "./route.ts";
import type { RouteContext } from "./route_context.ts";
import { routesOf } from "./routes.ts";
import type { ServedSocket } from "./served_socket.ts";
import { openSocketServer } from "./server.ts";
import { type SandboxTraffic, TrafficMetrics } from "./traffic_metrics.ts";

/** How the daemon works. */
export interface DaemonOptions {
  /** The runtime. Its observer is the daemon's. */
  readonly runtime: Omit<LiveOptions, "log" | "observer">;
  readonly log: Logger;
  readonly version: string;
  /** Where it serves, as an absolute path. */
  readonly socket: string;
  /** Milliseconds that running requests have to end when the daemon ends. @default {30_000} */
  readonly drainMs?: number | undefined;
  /** How many requests of one method may run at once. @default {256, or fewer where few files may be open} */
  readonly maxRequests?: number | undefined;
  /** Milliseconds for one request. @default {600_000} */
  readonly requestMs?: number | undefined;
  readonly manager: ServiceManager;
  /** Milliseconds between two checks that the socket is still there. @default {10_000} */
  readonly socketPollMs?: number | undefined;
  /** Which sandboxes are kept ready. @default {none} */
  readonly pool?: PoolSizes | undefined;
  /** Whether the metrics say what the interfaces of sandboxes have carried. @default {false} */
  readonly trafficMetrics?: boolean | undefined;
  /** Whether a DHCP daemon is kept running for the networks that need one. @default {true} */
  readonly dhcp?: boolean | undefined;
  /** Other ways to reach the runtime, each on a socket of its own. @default {[]} */
  readonly faces?: readonly OpenFace[] | undefined;
  /** Makes sandboxes instead of the runtime, which it gets. @default {the runtime makes them} */
  readonly run?:
    | ((request: SandboxRequest, runtime: LiveRuntime, options: CallOptions) => Promise<Sandbox>)
    | undefined;
}

/** Milliseconds for cancelled requests to undo what they did. Recovery undoes the rest. */
const UNDO_MS = 30_000;

/** What the daemon consists of. */
interface Components {
  readonly runtime: LiveRuntime;
  readonly handler: Handler;
  readonly server: ServedSocket;
  readonly faces: readonly Face[];
  readonly events: DaemonEvents;
  /** Disposes of all that runs beside the requests, and of the runtime. */
  readonly running: AsyncDisposableStack;
}

/** The daemon: a long-lived runtime that is served over a socket. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #components: Components;
  readonly #failed = Promise.withResolvers<never>();
  readonly #stop = new AbortController();
  #ending: Promise<void> | undefined;

  private constructor(options: DaemonOptions, components: Components) {
    this.#options = options;
    this.#components = components;
    // A caller that does not await it must not be ended by it.
    this.#failed.promise.catch(() => {});
    this.#keepSocket();
    this.#recover();
  }

  /**
   * Reads the configuration, takes the socket and begins to serve. Recovery from a crash or a reboot runs beside that.
   *
   * @throws {CniError} kind `conflict` if another daemon serves there
   */
  static async start(options: DaemonOptions, signal?: AbortSignal): Promise<Daemon> {
    const { log, socket, version, manager } = options;
    await using begun = new AsyncDisposableStack();
    const metrics = new Metrics({ version });
    begun.use(guardProcess({ log, onUncaught: () => metrics.onUncaught() }));
    const limits = limitsFor(await descriptorLimit(options.runtime.run));
    const runtime = begun.use(
      await LiveRuntime.open({ ...options.runtime, log, observer: metrics }, { signal }),
    );
    // Below what may take long to end, so that the watchdog is answered until then.
    begun.use(answerWatchdog(manager, log));
    const events = begun.use(
      new DaemonEvents({
        runtime,
        log,
        onInfraEnded: () => metrics.onInfraEnded(),
        onDrift: ({ state }) => metrics.onDrift(state),
      }),
    );
    if (options.dhcp !== false) begun.use(await keepDhcp(runtime, events, metrics));
    const pool = options.pool && begun.use(poolOf(options.pool, runtime, { metrics, log }));
    const health = healthOf();
    const context = contextOf(options, { runtime, events, metrics, pool, problem: health.problem });
    const routes: readonly Route[] = routesOf(context, () => openApiOf(routes, version));
    const handler = new Handler({
      ...limits,
      ...options,
      routes,
      onServed: (served) => metrics.onHttpRequest(served),
    });
    const server = await openSocketServer({
      path: socket,
      handle: (request) => handler.handle(request),
      log,
      maxConnections: limits.maxConnections,
      signal,
    });
    const faces: Face[] = [];
    try {
      const faceContext = {
        ...{ runtime, log, version, tracer: options.runtime.tracer },
        maxRequests: options.maxRequests ?? limits.maxRequests,
        requestMs: options.requestMs ?? REQUEST_MS,
        followSandboxes: (changed: (id: string) => void) => events.followSandboxes(changed),
        addMetrics: (write: () => string) => metrics.add(write),
        addHealth: health.add,
      };
      for (const open of options.faces ?? []) faces.push(await open(faceContext, { signal }));
      await startPool(pool, runtime, begun);
    } catch (error) {
      for (const served of [server, ...faces]) await served.close(0);
      throw error;
    }
    const daemon = new Daemon(options, { runtime, handler, server, faces, events, running: begun.move() });
    await notify(manager, log, "READY=1", `STATUS=serving at ${socket}`);
    log.info("serving", { socket });
    return daemon;
  }

  /** Rejects if the daemon cannot go on; else stays pending. */
  get failed(): Promise<never> {
    return this.#failed.promise;
  }

  /** Reads the configuration now. */
  async reload(): Promise<void> {
    const { log, manager } = this.#options;
    await notify(manager, log, "RELOADING=1");
    try {
      const entries = await this.#components.runtime.reload();
      log.info("the configuration was read", { files: entries.length });
    } catch (error) {
      log.error(`Cannot read the configuration: ${asCniError(error).message}`);
    } finally {
      await notify(manager, log, "READY=1");
    }
  }

  /** Accepts no more connections, lets running requests end, cancels those that take too long, and ends. */
  async end(): Promise<void> {
    await (this.#ending ??= this.#end());
  }

  async #end(): Promise<void> {
    const { drainMs = 30_000, log, manager } = this.#options;
    const { handler, server, faces, events, running } = this.#components;
    const answering = [handler, ...faces];
    const underWay = () => answering.reduce((sum, own) => sum + own.underWay, 0);
    log.info("ending", { underWay: underWay() });
    await notify(manager, log, "STOPPING=1", "STATUS=draining");
    const drained = Promise.all(answering.map((own) => own.drained()));
    events.close();
    const closed = Promise.all([server, ...faces].map((own) => own.close(drainMs + UNDO_MS)));
    const late = new AbortController();
    const cancelling = delay(drainMs, late.signal).then(() => {
      log.warn("requests are cancelled", { underWay: underWay() });
      for (const own of answering) own.cancel();
      return delay(UNDO_MS, late.signal);
    });
    await Promise.race([drained, cancelling]);
    late.abort();
    await cancelling.catch(() => {});
    await closed;
    this.#stop.abort();
    await running.disposeAsync();
    log.info("ended");
  }

  /** Makes the sockets again where they were removed. The daemon fails if another one has taken its place. */
  #keepSocket(): void {
    const { log, socketPollMs = 10_000 } = this.#options;
    const { server, faces, running } = this.#components;
    for (const served of [server, ...faces]) {
      running.use(repeat(socketPollMs, () => served.keep(), (error) => {
        const failure = asCniError(error);
        log.error(`Cannot keep the socket: ${failure.message}`);
        if (failure.kind === "conflict") this.#failed.reject(failure);
      }));
    }
  }

  #recover(): void {
    const { log } = this.#options;
    const { runtime, running } = this.#components;
    const { signal } = this.#stop;
    const recovering = runtime.recover({ signal }).then(({ removed, failed }) => {
      if (removed.length + failed.length > 0) {
        log.info("recovered", { removed: removed.length, failed: failed.length });
      }
    }).catch((error) => {
      if (!signal.aborted) log.error(`Cannot recover: ${asCniError(error).message}`);
    });
    running.defer(() => recovering);
  }
}

/**
 * Notifies the service manager in time for its watchdog. If the event loop hangs, the notifications stop, as they must.
 */
function answerWatchdog(manager: ServiceManager, log: Logger): AsyncDisposable | undefined {
  const { watchdogMs } = manager;
  if (watchdogMs === undefined) return undefined;
  return repeat(watchdogMs / 2, () => notify(manager, log, "WATCHDOG=1"), () => {});
}

async function notify(
  manager: ServiceManager,
  log: Logger,
  ...assignments: readonly string[]
): Promise<void> {
  await manager.notify(...assignments).catch((error) => {
    log.warn(`Cannot notify the service manager: ${asCniError(error).message}`);
  });
}

const MOST_CONNECTIONS = 4_096;
/** Open files for one request: pipes to plugins and to their programs, records, and the connection itself. */
const FILES_PER_REQUEST = 12;

/** Returns how many connections and requests may be open at once. What runs beside them needs the rest of the files. */
function limitsFor(
  files: number = Infinity,
): { readonly maxConnections: number; readonly maxRequests: number } {
  return {
    maxConnections: Math.max(16, Math.min(MOST_CONNECTIONS, Math.floor(files / 4))),
    maxRequests: Math.max(4, Math.min(MOST_REQUESTS, Math.floor(files / FILES_PER_REQUEST))),
  };
}

/** Collects the reasons why the daemon cannot do its work. */
function healthOf(): Pick<RouteContext, "problem"> & { readonly add: FaceContext["addHealth"] } {
  const problems: (() => string | undefined)[] = [];
  return {
    add: (problem) => void problems.push(problem),
    problem: () => problems.map((each) => each()).find((each) => each !== undefined),
  };
}

function contextOf(
  { run, log, trafficMetrics = false }: DaemonOptions,
  { runtime, events, metrics, pool, problem }: Pick<RouteContext, "problem"> & {
    readonly runtime: LiveRuntime;
    readonly events: DaemonEvents;
    readonly metrics: Metrics;
    readonly pool: WarmPool | undefined;
  },
): RouteContext {
  const make: RouteContext["run"] = (request, options) =>
    run === undefined ? runtime.sandboxes.run(request, options) : run(request, runtime, options);
  const gauges = new Gauges({
    attachments: () => countAttachments(runtime.records),
    // An alert on broken sandboxes must not fire for each one that is being made.
    sandboxes: async () =>
      (await runtime.sandboxes.states()).map(({ state, underWay }) => ({
        state: underWay ? "under_way" : state,
      })),
    networks: () => runtime.networks(),
    readiness: () => runtime.status(),
  });
  const traffic = trafficMetrics ? new TrafficMetrics(() => trafficOfAll(runtime)) : undefined;
  return {
    runtime,
    run: (request, options) =>
      pool === undefined ? make(request, options) : pool.run(request, () => make(request, options), options),
    events,
    metrics: async () => {
      const [values, text = ""] = await Promise.all([gauges.read(), traffic?.write()]);
      return metrics.render(values, runtime.drifted.length) + text;
    },
    problem,
    log,
  };
}

async function trafficOfAll({ sandboxes }: LiveRuntime): Promise<readonly SandboxTraffic[]> {
  const ready = await sandboxes.list({ state: "ready" });
  const traffic = await sandboxes.traffic(ready);
  return ready.map(({ id, namespace, name }, at) => ({ id, namespace, name, interfaces: traffic[at] ?? [] }));
}

async function keepDhcp(
  runtime: LiveRuntime,
  events: DaemonEvents,
  metrics: Metrics,
): Promise<AsyncDisposable> {
  return await runtime.keepDhcp((event) => {
    metrics.onDhcp(event);
    events.onDhcp(event);
  });
}

/** Makes the pool, which stays empty until it is started. */
function poolOf(
  sizes: PoolSizes,
  runtime: LiveRuntime,
  { metrics, log }: { readonly metrics: Metrics; readonly log: Logger },
): WarmPool {
  const isReady = async (network: string) => {
    const [status] = await runtime.status({ network });
    // The plugins of a pending network were not asked yet: it may be ready.
    return status !== undefined && (status.ready || status.reason === "pending");
  };
  return new WarmPool({ ...sizes, open: () => runtime.warmSandboxes(), isReady, observer: metrics, log });
}

/** Begins to fill the pool, and lets it look again after each change of the networks. */
async function startPool(
  pool: WarmPool | undefined,
  runtime: LiveRuntime,
  running: AsyncDisposableStack,
): Promise<void> {
  if (pool === undefined) return;
  await pool.start();
  running.use(runtime.onNetworks(() => pool.changed()));
  running.use(runtime.onStatus(() => pool.changed()));
}
