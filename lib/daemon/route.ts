import type { JsonObject } from "../cni/json.ts";
import type { Shape } from "../cni/shape.ts";
import type { HttpMethod } from "./http_message.ts";

/** The response of a route. */
export interface Answer {
  readonly status: number;
  /** A body that is printed as JSON. */
  readonly json?: unknown;
  /** A body that is sent as it is. */
  readonly text?: string;
  /** A body that is sent as it arrives. */
  readonly stream?: ReadableStream<Uint8Array>;
}

/** A request as its route gets it. */
export interface RouteRequest<B> {
  /** The segments of the path in place of `{name}`. */
  readonly params: Readonly<Record<string, string>>;
  /** The members of the query. */
  readonly query: Readonly<Record<string, string>>;
  readonly body: B;
  /** Aborted when the client disconnects, the time runs out, or the daemon ends. */
  readonly signal: AbortSignal;
}

/** A member of the query. */
export interface QueryMember {
  readonly name: string;
  readonly description: string;
  /** The allowed values. @default {any text} */
  readonly values?: readonly string[];
}

/** A response of a route, as the OpenAPI document describes it. */
export interface AnswerSpec {
  readonly description: string;
  /** The schema of a JSON body. */
  readonly schema?: JsonObject;
  /** The media type of another body. */
  readonly contentType?: string;
}

/** A route: its description in the OpenAPI document, and its handler. */
export interface Route {
  readonly method: Extract<HttpMethod, "GET" | "POST" | "DELETE">;
  /** `{name}` stands for a segment that the client chooses. */
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly query?: readonly QueryMember[];
  readonly body?: Shape<unknown>;
  /** The responses by status, without errors. */
  readonly answers: Readonly<Record<number, AnswerSpec>>;
  /** Whether the limits for the number and the time of requests do not apply. */
  readonly isFree?: boolean;
  handle(request: RouteRequest<unknown>): Promise<Answer> | Answer;
}

/** Returns a route whose handler gets a typed body. */
export function withBody<B>(
  body: Shape<B>,
  route: Omit<Route, "body" | "handle"> & {
    readonly handle: (request: RouteRequest<B>) => Promise<Answer> | Answer;
  },
): Route {
  return { ...route, body, handle: (request) => route.handle(request as RouteRequest<B>) };
}

/** The routes of a path. */
export interface RouteMatch {
  /** The routes by method. */
  readonly routes: ReadonlyMap<string, Route>;
  readonly params: Readonly<Record<string, string>>;
}

/** Returns the routes of a path; undefined if there is none. */
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
