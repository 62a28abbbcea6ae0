/** Networks whose plugins answer when a test says so, with a clock that a test moves. */
import type { Clock } from "../../lib/async/clock.ts";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import type { CatalogEntry } from "../../lib/catalog/entry.ts";
import type { CatalogChange, CatalogSource } from "../../lib/catalog/source.ts";
import type { NetworkConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { Readiness, type ReadinessOptions } from "../../lib/readiness/readiness.ts";
import type { NetworkAnswer, NetworkStatus, StatusReason } from "../../lib/readiness/status.ts";
import { Lines, listOf } from "../attachment/world.ts";

export class FakeClock implements Clock {
  readonly start = Date.parse("2026-03-01T12:00:00Z");
  /** How far the time of day was set. */
  shift = 0;
  #now = 0;
  readonly #timers = new Set<{ at: number; callback: () => void }>();

  now(): number {
    return this.#now;
  }

  date(): Date {
    return new Date(this.start + this.#now + this.shift);
  }

  after(ms: number, callback: () => void): Disposable {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) };
  }

  get timers(): number {
    return this.#timers.size;
  }

  /** Moves the clock, and waits for what the timers start. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await quiet();
    }
    this.#now = end;
    await quiet();
  }
}

/** Waits until everything that was started has run. */
export async function quiet(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((done) => setTimeout(done, 0));
}

/** A probe that waits for its answer. */
export interface OpenProbe {
  readonly list: NetworkConfigList;
  readonly signal: AbortSignal | undefined;
  readonly answer: (reason?: StatusReason) => Promise<void>;
  readonly fail: (error: Error) => Promise<void>;
}

/** A catalog of these networks and other entries. */
export function catalogOf(
  lists: readonly NetworkConfigList[],
  others: readonly Partial<CatalogEntry>[] = [],
  problem?: CniError,
): Catalog {
  const entries = [
    ...lists.map(({ name }) => ({ file: `/net.d/${name}.conflist`, name, status: "used" })),
    ...others,
  ];
  const byName = (name: string) => {
    const list = lists.find((one) => one.name === name);
    if (list === undefined) throw new CniError("not-found", `no net configuration with name "${name}"`);
    return list;
  };
  const first = () => {
    if (problem !== undefined || lists[0] === undefined) throw problem ?? new CniError("not-ready", "none");
    return lists[0];
  };
  const stale = others.filter(({ status }) => status === "stale").map(({ name }) => name);
  const unique = entries.filter(({ name, status }) => status !== "used" || !stale.includes(name));
  const pin = problem?.context.network === undefined ? undefined : { network: problem.context.network };
  const more = { asCnitool: byName, default: first, defaultChoice: { pin } };
  return { entries: unique, lists, ...more } as unknown as Catalog;
}

/** A network of that name, with these members in its plugin. */
export function network(name: string, more: Record<string, unknown> = {}): NetworkConfigList {
  return listOf([], { name, plugins: [{ type: name, ...more }] });
}

export class FakeSource implements CatalogSource {
  #catalog: Catalog;
  problem: Error | undefined;
  readonly listeners = new Set<(change: CatalogChange) => void>();

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  current(): Promise<Catalog> {
    return this.problem === undefined ? Promise.resolve(this.#catalog) : Promise.reject(this.problem);
  }

  reload(): Promise<Catalog> {
    return this.current();
  }

  onChange(listener: (change: CatalogChange) => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  /** Emits a change of the directory or of the plugin directories. */
  async change(catalog: Catalog = this.#catalog, plugins = false): Promise<void> {
    const networks = catalog !== this.#catalog;
    this.#catalog = catalog;
    for (const listener of this.listeners) listener({ catalog, networks, plugins });
    await quiet();
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

export class ReadinessWorld implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly log = new Lines();
  readonly open: OpenProbe[] = [];
  /** The names of all probed networks, in order. */
  readonly asked: string[] = [];
  /** The statuses that a listener got, in short. */
  readonly emitted: string[] = [];

  private constructor(readonly source: FakeSource, readonly readiness: Readiness) {}

  /** A readiness that has sent its first probes. */
  static async start(
    from: Catalog | FakeSource = catalogOf([network("web")]),
    options: Partial<ReadinessOptions> = {},
  ): Promise<ReadinessWorld> {
    const source = from instanceof FakeSource ? from : new FakeSource(from);
    const late: { world?: ReadinessWorld } = {};
    const clock = new FakeClock();
    const log = new Lines();
    const ask = (list: NetworkConfigList, signal: AbortSignal | undefined) =>
      late.world?.ask(list, signal) ?? Promise.reject(new Error("too early"));
    const readiness = Readiness.start({ source, ask, clock, log, ...options });
    const world = late.world = Object.assign(new ReadinessWorld(source, readiness), { clock, log });
    readiness.onChange((status) => void world.emitted.push(inShort(status)));
    await quiet();
    return world;
  }

  ask(list: NetworkConfigList, signal: AbortSignal | undefined): Promise<NetworkAnswer> {
    this.asked.push(list.name);
    const { promise, resolve, reject } = Promise.withResolvers<NetworkAnswer>();
    const close = () => {
      const place = this.open.indexOf(probe);
      if (place >= 0) this.open.splice(place, 1);
    };
    const probe: OpenProbe = {
      list,
      signal,
      answer: (reason) => (resolve(answerOf(reason)), close(), quiet()),
      fail: (error) => (reject(error), close(), quiet()),
    };
    signal?.addEventListener("abort", () => (reject(signal.reason), close()), { once: true });
    this.open.push(probe);
    return promise;
  }

  /** Answers the open probe of that network. */
  async answer(name: string, reason?: StatusReason): Promise<void> {
    const probe = this.open.find(({ list }) => list.name === name);
    if (probe === undefined) throw new Error(`no probe of ${name} is open`);
    await probe.answer(reason);
  }

  /** All statuses, in short. */
  get shown(): string[] {
    return this.readiness.statuses().map(inShort);
  }

  /** The status of that network. */
  status(name: string): NetworkStatus {
    const [status] = this.readiness.statuses(name);
    if (status === undefined) throw new Error(`there is no status of ${name}`);
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.readiness[Symbol.asyncDispose]();
  }
}

function answerOf(reason: StatusReason | undefined): NetworkAnswer {
  if (reason === undefined) return { ready: true, reason, msg: undefined, error: undefined };
  const error = new CniError("plugin", `it is ${reason}`);
  return { ready: false, reason, msg: error.message, error };
}

export function inShort({ network, ready, reason, graceUntil }: NetworkStatus): string {
  const words = [network ?? "-", ready ? "ready" : "not-ready", reason, graceUntil && "grace"];
  return words.filter((word) => word !== undefined).join(" ");
}
