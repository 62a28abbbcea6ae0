import { HostError } from "../host/command.ts";
import { requestOverUnix, type UnixAnswer } from "../host/http_over_unix.ts";
import type { CniArgs } from "../plugin/invocation.ts";
import type { NetworkSettings } from "../pod/request.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, ERROR_KINDS } from "../cni/error.ts";
import { isObject, type Json, type JsonObject, numberOf, parseJson, printJson } from "../cni/json.ts";

/** Asks the daemon that serves at a Unix socket. */
export class DaemonClient {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /**
   * Lets the daemon make a sandbox, or hand out one that is ready. If the signal fires first, the connection is closed, and
   * the daemon undoes what it has made.
   *
   * @throws {CniError} what the daemon answers, as it was there; kind `not-ready` if none serves, `io` if it is gone
   * before it has answered
   */
  async run({ signal, ...request }: SandboxRequest): Promise<Sandbox> {
    const body = printJson(bodyOf(request));
    return await this.#ask("POST", "/v1/sandboxes", body, signal) as unknown as Sandbox;
  }

  async #ask(method: string, target: string, body: string, signal?: AbortSignal): Promise<JsonObject> {
    const { status, text } = await this.#send(method, target, body, signal);
    const json = objectOf(text);
    if (status >= 200 && status < 300 && json !== undefined) return json;
    const error = json && isObject(json.error) ? json.error : undefined;
    throw error === undefined ? this.#unlike(`it answers with ${status}`) : failureOf(error);
  }

  async #send(method: string, target: string, body: string, signal?: AbortSignal): Promise<UnixAnswer> {
    try {
      return await requestOverUnix(this.#socket, { method, target, body, signal });
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      if (cause.reason === "bad-output") throw this.#unlike(cause.message);
      if (cause.reason === "cut-short") throw this.#lost(cause);
      if (cause.reason !== "nobody-answers") throw cause;
      throw new CniError("not-ready", `no daemon serves at ${this.#socket}`, {
        code: ERROR_CODES.ioFailure,
        hint: `start one with \`podwire serve --socket ${this.#socket}\`, or leave --socket out`,
        cause,
      });
    }
  }

  #lost(cause: HostError): CniError {
    return new CniError("io", `the daemon at ${this.#socket} has ended before it answered`, {
      code: ERROR_CODES.ioFailure,
      hint:
        "`podwire ps` shows whether the sandbox is there; what was half done is undone by `podwire recover`",
      cause,
    });
  }

  #unlike(details: string): CniError {
    const msg = `what serves at ${this.#socket} is no podwire`;
    return new CniError("io", msg, { code: ERROR_CODES.ioFailure, details });
  }
}

/** As the route reads it. */
export function bodyOf({ source = { kind: "new" }, signal: _, ...request }: SandboxRequest): JsonObject {
  const { networks, ...rest } = request;
  const body = {
    ...inBody(rest),
    ...(networks === undefined ? {} : { networks: networks === "none" ? networks : networks.map(inBody) }),
    ...(source.kind === "path" ? { netns: source.path } : {}),
    ...(source.kind === "pid" ? { pid: source.pid } : {}),
    ...(source.kind === "host" ? { hostNetwork: true } : {}),
    ...(source.kind === "infra" ? { infra: true } : {}),
    ...(source.kind === "infra" && source.runtime !== undefined ? { runtime: source.runtime } : {}),
  };
  return body as unknown as JsonObject;
}

function inBody<T extends NetworkSettings>({ args, ...rest }: T): object {
  return args === undefined ? rest : { ...rest, args: pairsOf(args) };
}

/** Not as an object: of equal keys all go to the plugins, in their order. */
function pairsOf(args: CniArgs): readonly string[] {
  return args.map(([key, value]) => `${key}=${value}`);
}

function objectOf(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text);
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

/** What an error tells beside its kind, code, message and plugin, and how it is read. */
const READERS = {
  details: textOf,
  verb: textOf,
  network: textOf,
  containerId: textOf,
  ifName: textOf,
  exitCode: numberOf,
  signal: textOf,
  stderr: textOf,
  elapsedMs: numberOf,
  file: textOf,
  line: numberOf,
  column: numberOf,
  path: textOf,
  hint: textOf,
} as const satisfies Record<keyof Omit<CniErrorOptions, "code" | "plugin" | "cause">, unknown>;

/** The error that became this object. */
export function failureOf(json: JsonObject): CniError {
  // In the order in which they came, so that it is printed as it was.
  const told = Object.entries(json).flatMap(([key, value]) =>
    Object.hasOwn(READERS, key) ? pick(key, READERS[key as keyof typeof READERS](value)) : []
  );
  const type = textOf(json.plugin);
  const place = Object.fromEntries([
    ...pick("index", numberOf(json.pluginIndex)),
    ...pick("count", numberOf(json.pluginCount)),
  ]);
  return new CniError(
    ERROR_KINDS.find((kind) => kind === json.kind) ?? "internal",
    textOf(json.msg) ?? "",
    {
      ...Object.fromEntries(told),
      code: numberOf(json.code) ?? ERROR_CODES.unknown,
      ...(type === undefined ? {} : { plugin: { type, ...place } }),
    },
  );
}

function pick<T>(key: string, value: T | undefined): readonly (readonly [string, T])[] {
  return value === undefined ? [] : [[key, value]];
}

function textOf(json: Json | undefined): string | undefined {
  return typeof json === "string" ? json : undefined;
}
