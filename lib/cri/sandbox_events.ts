import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Coalescer } from "../async/coalesce.ts";
import { CniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { Sandbox } from "../sandbox/view.ts";
import {
  type ContainerEventResponse,
  ContainerEventResponseSchema,
  ContainerEventType,
  PodSandboxState,
} from "./generated/api_pb.ts";
import { tryLater } from "./grpc_error.ts";
import { podSandboxStatusOf } from "./sandbox_status.ts";

/** Options of {@linkcode SandboxEvents}. */
export interface SandboxEventsOptions {
  /** Calls back with the ID of each sandbox that changes; resolves once none is missed. */
  readonly follow: (changed: (id: string) => void) => Promise<Disposable>;
  /** Returns the sandboxes that a list of the CRI shows whose ID begins so. */
  readonly list: (id: string) => Promise<readonly Sandbox[]>;
  /** How many unread events a reader may have before its stream ends. @default {1_024} */
  readonly backlog?: number | undefined;
}

type Reader = ReadableStreamDefaultController<ContainerEventResponse>;

/** More changes at once than this are looked up by one list of all. */
const LISTED_ONE_BY_ONE = 8;

/**
 * Sends what happens to sandboxes to the readers of GetContainerEvents. An event comes after a list shows what it says, since it is
 * made from the difference of two lists, so it does not matter which program has changed the sandbox. The sandboxes are followed
 * only while there is a reader. It waits for no reader: the stream of one that is too slow ends.
 */
export class SandboxEvents {
  readonly #options: SandboxEventsOptions;
  readonly #readers = new Set<Reader>();
  #watched: Watched | undefined;
  #closed = false;

  constructor(options: SandboxEventsOptions) {
    this.#options = options;
  }

  /** Number of readers. */
  get readers(): number {
    return this.#readers.size;
  }

  /** Returns the events from now on, until the signal fires. */
  read(signal: AbortSignal): ReadableStream<ContainerEventResponse> {
    const { backlog = 1_024 } = this.#options;
    let own: Reader | undefined;
    const onAbort = () => own && this.#fail(own, signal.reason);
    return new ReadableStream<ContainerEventResponse>({
      start: (controller) => {
        if (this.#closed) return controller.error(ending());
        if (signal.aborted) return controller.error(signal.reason);
        own = controller;
        signal.addEventListener("abort", onAbort, { once: true });
        this.#readers.add(controller);
        this.#watched ??= this.#watch();
      },
      cancel: () => {
        signal.removeEventListener("abort", onAbort);
        if (own !== undefined) this.#drop(own);
      },
    }, new CountQueuingStrategy({ highWaterMark: backlog }));
  }

  /** Ends all streams, and each later one at once, so that their clients ask again. */
  close(): void {
    this.#closed = true;
    this.#failAll(ending());
  }

  #watch(): Watched {
    return new Watched(
      this.#options,
      (events) => events.forEach((event) => this.#publish(event)),
      // They would miss events, and another stream may begin with a list that works.
      (error) => this.#failAll(error),
    );
  }

  #publish(event: ContainerEventResponse): void {
    for (const reader of [...this.#readers]) {
      if ((reader.desiredSize ?? 0) > 0) reader.enqueue(event);
      else this.#fail(reader, new CniError("exhausted", "the events are not read fast enough"));
    }
  }

  #failAll(error: unknown): void {
    for (const reader of [...this.#readers]) this.#fail(reader, error);
  }

  #fail(reader: Reader, error: unknown): void {
    if (!this.#readers.has(reader)) return;
    this.#drop(reader);
    reader.error(error);
  }

  #drop(reader: Reader): void {
    if (!this.#readers.delete(reader) || this.#readers.size > 0) return;
    this.#watched?.[Symbol.dispose]();
    this.#watched = undefined;
  }
}

function ending(): Error {
  return tryLater("podwire is shutting down");
}

/** The sandboxes as the last list has shown them, and what follows them. */
class Watched implements Disposable {
  readonly #options: SandboxEventsOptions;
  readonly #publish: (events: readonly ContainerEventResponse[]) => void;
  readonly #failed: (error: unknown) => void;
  readonly #known = new Map<string, Sandbox>();
  readonly #due = new Set<string>();
  readonly #checks = new Coalescer(() => this.#checkDue());
  #following: Disposable | undefined;
  #closed = false;

  constructor(
    options: SandboxEventsOptions,
    publish: (events: readonly ContainerEventResponse[]) => void,
    failed: (error: unknown) => void,
  ) {
    this.#options = options;
    this.#publish = publish;
    this.#failed = (error) => void (this.#closed || failed(asCniError(error)));
    this.#begin().catch(this.#failed);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#following?.[Symbol.dispose]();
  }

  async #begin(): Promise<void> {
    const { follow, list } = this.#options;
    for (const sandbox of await list("")) this.#known.set(sandbox.id, sandbox);
    if (this.#closed) return;
    const following = await follow((id) => {
      this.#due.add(id);
      this.#checks.next().catch(this.#failed);
    });
    this.#following = following;
    if (this.#closed) return following[Symbol.dispose]();
    // What has changed since the list was read.
    for (const id of this.#known.keys()) this.#due.add(id);
    for (const { id } of await list("")) this.#due.add(id);
    await this.#checks.next();
  }

  async #checkDue(): Promise<void> {
    const due = [...this.#due];
    this.#due.clear();
    const { list } = this.#options;
    const isMany = due.length > LISTED_ONE_BY_ONE;
    const listed = isMany ? await list("") : (await Promise.all(due.map((id) => list(id)))).flat();
    if (this.#closed) return;
    const now = new Map(listed.map((sandbox) => [sandbox.id, sandbox]));
    for (const id of due) this.#becomes(id, now.get(id));
  }

  #becomes(id: string, now: Sandbox | undefined): void {
    const before = this.#known.get(id);
    if (now === undefined) this.#known.delete(id);
    else this.#known.set(id, now);
    const types = changesOf(before, now);
    const shown = now ?? before;
    if (shown !== undefined) this.#publish(types.map((type) => eventOf(type, shown, now !== undefined)));
  }
}

function changesOf(before: Sandbox | undefined, now: Sandbox | undefined): readonly ContainerEventType[] {
  const { CONTAINER_CREATED_EVENT: created, CONTAINER_STARTED_EVENT: started } = ContainerEventType;
  const { CONTAINER_STOPPED_EVENT: stopped, CONTAINER_DELETED_EVENT: deleted } = ContainerEventType;
  const isReady = now?.state === "ready";
  // A list shows none that was not ready first.
  const begun = before === undefined && now !== undefined ? [created, started] : [];
  const wasReady = before === undefined ? now !== undefined : before.state === "ready";
  return [
    ...begun,
    ...before !== undefined && !wasReady && isReady ? [started] : [],
    ...wasReady && !isReady ? [stopped] : [],
    ...before !== undefined && now === undefined ? [deleted] : [],
  ];
}

/** The kubelet ignores an event without a status, so that of a removed sandbox is its last one. */
function eventOf(type: ContainerEventType, sandbox: Sandbox, isThere: boolean): ContainerEventResponse {
  const status = podSandboxStatusOf(sandbox);
  const event: MessageInitShape<typeof ContainerEventResponseSchema> = {
    containerId: sandbox.id,
    containerEventType: type,
    createdAt: BigInt(Date.now()) * 1_000_000n,
    podSandboxStatus: isThere ? status : { ...status, state: PodSandboxState.SANDBOX_NOTREADY },
  };
  return create(ContainerEventResponseSchema, event);
}
