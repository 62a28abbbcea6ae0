import type { CallOptions } from "../async/call_options.ts";
import { HostError } from "../host/command.ts";
import { requestOverUnix, type UnixAnswer } from "../host/http_over_unix.ts";
import type { SettingTable } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, ERROR_KINDS } from "../cni/error.ts";
import { isObject, type JsonObject, parseJson, printJson } from "../cni/json.ts";
import { anyNumber, anyText, lenient, oneOf, openObjectOf } from "../cni/shape.ts";

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
  async run(request: SandboxRequest, { signal }: CallOptions = {}): Promise<Sandbox> {
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
      if (cause.reason !== "no-answer") throw cause;
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
    const msg = `what serves at ${this.#socket} is not podwire`;
    return new CniError("io", msg, { code: ERROR_CODES.ioFailure, details });
  }
}

/** Returns the body of a request as {@linkcode RUN_BODY} reads it. */
export function bodyOf(
  { source = { kind: "new" }, ...request }: SandboxRequest,
  table: SettingTable = SETTINGS,
): JsonObject {
  const { networks, ...rest } = request;
  const body = {
    ...rest,
    networks: networks === undefined || networks === "none"
      ? networks
      : networks.map((network) => membersOf(network, table)),
    netns: source.kind === "path" ? source.path : undefined,
    pid: source.kind === "pid" ? source.pid : undefined,
    hostNetwork: source.kind === "host" ? true : undefined,
    infra: source.kind === "infra" ? true : undefined,
    runtime: source.kind === "infra" ? source.runtime : undefined,
  };
  return membersOf(body, table) as JsonObject;
}

/** Returns the members that are given, as the daemon reads them. */
function membersOf(settings: object, table: SettingTable): object {
  const members = Object.entries(settings).flatMap(([member, value]) => {
    const toBody = table[member]?.toBody;
    return value === undefined ? [] : [[member, toBody === undefined ? value : toBody(value)]];
  });
  return Object.fromEntries(members);
}

function objectOf(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text);
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

const TEXT = lenient(anyText);
const NUMBER = lenient(anyNumber);

/** The members of an error beside its kind, code, message and plugin. */
const DETAILS = {
  details: TEXT,
  verb: TEXT,
  network: TEXT,
  containerId: TEXT,
  ifName: TEXT,
  exitCode: NUMBER,
  signal: TEXT,
  stderr: TEXT,
  elapsedMs: NUMBER,
  file: TEXT,
  line: NUMBER,
  column: NUMBER,
  path: TEXT,
  hint: TEXT,
} as const satisfies Record<keyof Omit<CniErrorOptions, "code" | "plugin" | "cause">, unknown>;

/** An error as JSON. A member of the wrong type counts as missing. */
const ERROR = openObjectOf({}, {
  kind: lenient(oneOf(ERROR_KINDS)),
  msg: TEXT,
  code: NUMBER,
  plugin: TEXT,
  pluginIndex: NUMBER,
  pluginCount: NUMBER,
  ...DETAILS,
});

/** Returns the error that was printed as this object. */
export function failureOf(json: JsonObject): CniError {
  // `details` keeps the order of the object, so that the error is printed as it was.
  const { kind = "internal", msg = "", code, plugin: type, pluginIndex, pluginCount, ...details } = ERROR
    .read(
      json,
      [],
    );
  return new CniError(kind, msg, {
    ...details,
    code: code ?? ERROR_CODES.unknown,
    plugin: type === undefined ? undefined : { type, index: pluginIndex, count: pluginCount },
  });
}
