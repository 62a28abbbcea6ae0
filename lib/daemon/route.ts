import type { JsonObject } from "../cni/json.ts";
import type { HttpMethod } from "./http_message.ts";
import type { Shape } from "../cni/shape.ts";

/** What a request comes to. */
export interface Answer {
  readonly status: number;
  /** Printed as JSON. */
  readonly json?: unknown;
  /** As it is. */
  readonly text?: string;
  /** As it comes. */
  readonly stream?: ReadableStream<Uint8Array>;
}

/** A request as its route sees it. */
export interface RouteRequest<B> {
  /** What stands in the place of `{name}` in the path. */
  readonly params: Readonly<Record<string, string>>;
  /** What stands behind the `?`; of a name that is there twice, the first. */
  readonly query: Readonly<Record<string, string>>;
  readonly body: B;
  /** Fires when the client has left, its time is up, or the daemon ends. */
  readonly signal: AbortSignal;
}

/** One member behind the `?`. */
export interface QueryMember {
  readonly name: string;
  readonly description: string;
  /** What may stand there. @default {any text} */
  readonly values?: readonly string[];
}

/** One of the answers of a route. */
export interface AnswerSpec {
  readonly description: string;
  /** Of a body of JSON. */
  readonly schema?: JsonObject;
  /** Of another body. */
  readonly contentType?: string;
}

/** A route: what the OpenAPI document says of it, and what does it. */
export interface Route {
  readonly method: Extract<HttpMethod, "GET" | "POST" | "DELETE">;
  /** With `{name}` for a segment that the client chooses. */
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly query?: readonly QueryMember[];
  readonly body?: Shape<unknown>;
  /** By status; errors have the object of their own. */
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  /** Whether it is answered however many others are under way, and for as long as it takes. */
  readonly isFree?: boolean;
  handle(request: RouteRequest<unknown>): Promise<Answer> | Answer;
}

/** A route whose handler knows what its body is. */
export function withBody<B>(
  body: Shape<B>,
  route: Omit<Route, "body" | "handle"> & {
    readonly handle: (request: RouteRequest<B>) => Promise<Answer> | Answer;
  },
): Route {
  return { ...route, body, handle: (request) => route.handle(request as RouteRequest<B>) };
}

/** What was found for a path. */
export interface RouteMatch {
  /** By method. */
  readonly routes: ReadonlyMap<string, Route>;
  readonly params: Readonly<Record<string, string>>;
}

/** The routes of a path, a segment with `{}` last; undefined if there is none. */
export function matchPath(routes: readonly Route[], segments: readonly string[]): RouteMatch | undefined {
  const found = new Map<string, Route>();
  let params: Record<string, string> | undefined;
  for (const route of routes) {
    const own = paramsOf(route.path.slice(1).split("/"), segments);
    if (own === undefined) continue;
    params ??= own;
    found.set(route.method, route);
  }
  return params && { routes: found, params };
}

function paramsOf(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, wanted] of pattern.entries()) {
    const segment = segments[index] ?? "";
    if (wanted.startsWith("{")) {
      if (segment === "") return undefined;
      params[wanted.slice(1, -1)] = segment;
    } else if (wanted !== segment) return undefined;
  }
  return params;
}
