import { CniError } from "../cni/error.ts";
import type { Logger } from "../host/log.ts";
import { readBody } from "./body.ts";
import { failedAnswer, HttpError, ShutdownError, tryLater } from "./http_error.ts";
import { type HttpRequest, isHttpMethod } from "./http_message.ts";
import { type Pieces, printed } from "./printed.ts";
import { type Answer, matchPath, type Route } from "./route.ts";
import { readTarget, requestId } from "./target.ts";

/** A request that has been answered. */
export interface ServedRequest {
  /** `OTHER` for a method that HTTP does not have. */
  readonly method: string;
  /** The pattern of the route, such as `/v1/sandboxes/{id}`, never the path of a client; `-` if there is no route. */
  readonly route: string;
  readonly status: number;
  /** Milliseconds until the response began, however long a stream lasts. */
  readonly ms: number;
}

/** Options of {@linkcode Handler}. */
export interface HandlerOptions {
  readonly routes: readonly Route[];
  readonly log: Logger;
  /** How many requests of one method may run at once. @default {256} */
  readonly maxRequests?: number | undefined;
  /** Milliseconds for one request. @default {600_000} */
  readonly requestMs?: number | undefined;
  /** Milliseconds for the body to arrive. @default {30_000} */
  readonly readMs?: number | undefined;
  /** The largest body in bytes. @default {1 MiB} */
  readonly maxBody?: number | undefined;
  /** Called for each request once it has been answered. */
  readonly onServed?: ((served: ServedRequest) => void) | undefined;
}

/** What is known about a request so far. */
interface Progress {
  route: string;
  answers: Route["answers"];
}

/** The default for how many requests of one method may run at once. */
export const MOST_REQUESTS = 256;
/** Milliseconds for one request, unless an option says otherwise. */
export const REQUEST_MS = 600_000;

/** Answers requests with a table of routes. */
export class Handler {
  readonly #options: HandlerOptions;
  readonly #underWay = new Set<AbortController>();
  /**
   * Running requests by method. Each method has its own limit, so that requests that make, read or remove do not block
   * each other.
   */
  readonly #limited = new Map<string, number>();
  #draining = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: HandlerOptions) {
    this.#options = options;
  }

  /** Number of running requests. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** Begins no more requests, and resolves when the last one has ended. */
  async drained(): Promise<void> {
    this.#draining = true;
    if (this.#limited.size === 0) return;
    await (this.#idle ??= Promise.withResolvers<void>()).promise;
  }

  /** Cancels all requests. */
  cancel(): void {
    for (const request of this.#underWay) request.abort(new ShutdownError());
  }

  /** Answers a request. It never throws. */
  async handle(request: HttpRequest): Promise<Response> {
    const startedAt = performance.now();
    const id = requestId(request.headers.get("x-request-id"));
    const progress: Progress = { route: "-", answers: {} };
    const controller = new AbortController();
    const onDisconnect = () => controller.abort(new CniError("cancelled", "the client has disconnected"));
    request.signal.addEventListener("abort", onDisconnect, { once: true });
    if (request.signal.aborted) onDisconnect();
    this.#underWay.add(controller);
    let kind: string | undefined;
    let response: Response;
    try {
      response = await responseOf(
        await this.#answer(request, controller, progress),
        request.method,
        progress,
      );
    } catch (error) {
      const { status, failure, headers } = failedAnswer(causeOf(error, controller.signal));
      kind = failure.kind;
      if (status === 500) this.#options.log.error(failure.message, { id, kind });
      const type = { "content-type": "application/json" };
      response = whole(await printed({ error: failure }), status, { ...type, ...headers });
    } finally {
      request.signal.removeEventListener("abort", onDisconnect);
      this.#underWay.delete(controller);
    }
    response.headers.set("x-request-id", id);
    this.#served({ method: methodOf(request), route: progress.route, status: response.status }, {
      startedAt,
      id,
      kind,
    });
    return response;
  }

  async #answer(request: HttpRequest, controller: AbortController, progress: Progress): Promise<Answer> {
    const { routes, maxRequests = MOST_REQUESTS, requestMs = REQUEST_MS, readMs, maxBody: maxBytes } =
      this.#options;
    const { signal } = controller;
    const { segments, query } = readTarget(request.url);
    // It is about the server as a whole.
    if (request.method === "OPTIONS" && segments[0] === "*") return { status: 204 };
    const match = matchPath(routes, segments);
    if (match === undefined) {
      throw new HttpError(
        404,
        new CniError("not-found", "there is no such route", { hint: "see /openapi.json" }),
      );
    }
    const { routes: methods, params } = match;
    const route = methods.get(request.method === "HEAD" ? "GET" : request.method);
    progress.route = [...methods.values()][0]?.path ?? "-";
    if (route === undefined) throw notAllowed(methods);
    requireQuery(route, query);
    if (this.#draining) throw new ShutdownError();
    progress.answers = route.answers;
    if (route.isFree) {
      return await route.handle({ params, query, body: undefined, signal });
    }
    const taken = this.#limited.get(route.method) ?? 0;
    if (taken >= maxRequests) throw tryLater(`${maxRequests} ${route.method} requests are running`);
    const late = () =>
      controller.abort(new CniError("timeout", `the request took longer than ${requestMs} ms`));
    const timer = setTimeout(late, requestMs);
    this.#limited.set(route.method, taken + 1);
    try {
      const body = route.body && await readBody(request, route.body, { readMs, maxBytes, signal });
      signal.throwIfAborted();
      return await route.handle({ params, query, body, signal });
    } finally {
      clearTimeout(timer);
      this.#release(route.method);
    }
  }

  #release(method: string): void {
    const left = (this.#limited.get(method) ?? 1) - 1;
    if (left > 0) this.#limited.set(method, left);
    else this.#limited.delete(method);
    if (this.#limited.size === 0) this.#idle?.resolve();
  }

  #served(
    request: Omit<ServedRequest, "ms">,
    { startedAt, ...more }: { startedAt: number; id: string; kind: string | undefined },
  ): void {
    const ms = performance.now() - startedAt;
    this.#options.log.info("request", { ...request, ms: Math.round(ms * 10) / 10, ...more });
    this.#options.onServed?.({ ...request, ms });
  }
}

/** Returns the reason of the signal for an error that only says that the work was cancelled, else the error. */
function causeOf(error: unknown, { aborted, reason }: AbortSignal): unknown {
  if (!aborted || error instanceof HttpError) return error;
  const { kind } = failedAnswer(error).failure;
  return kind === "cancelled" || kind === "timeout" ? reason : error;
}

function methodOf({ method }: HttpRequest): string {
  return isHttpMethod(method) ? method : "OTHER";
}

function notAllowed(methods: ReadonlyMap<string, Route>): HttpError {
  const allow = [...methods.keys()].flatMap((method) => method === "GET" ? ["GET", "HEAD"] : [method]).join(
    ", ",
  );
  return new HttpError(405, new CniError("usage", `the methods of this route are ${allow}`), { allow });
}

function requireQuery({ query = [] }: Route, given: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(given)) {
    const known = query.find((member) => member.name === name);
    if (known === undefined) {
      throw new CniError("usage", `the query has an unknown member ${JSON.stringify(name)}`, { path: name });
    }
    if (known.values !== undefined && !known.values.includes(value)) {
      throw new CniError("usage", `${name} must be one of ${known.values.join(", ")}`, { path: name });
    }
  }
}

async function responseOf(
  { status, json, text, stream }: Answer,
  method: string,
  { answers }: Progress,
): Promise<Response> {
  const type = answers[status]?.contentType ?? "application/json";
  const headers = { "cache-control": "no-store", "content-type": type };
  // HEAD and 204 have no body.
  const hasBody = method !== "HEAD" && status !== 204;
  if (!hasBody) void stream?.cancel();
  if (!hasBody) return new Response(null, { status, headers: status === 204 ? {} : headers });
  if (stream !== undefined) return new Response(stream, { status, headers });
  return whole(text === undefined ? await printed(json) : [new TextEncoder().encode(text)], status, headers);
}

/** Returns a response with its length, so that the connection can be reused. */
function whole(
  pieces: Pieces,
  status: number,
  headers: Readonly<Record<string, string>>,
): Response {
  const length = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return new Response(ReadableStream.from(pieces), {
    status,
    headers: { ...headers, "content-length": `${length}` },
  });
}
