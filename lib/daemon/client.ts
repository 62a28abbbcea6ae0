import type { CallOptions } from "../async/call_options.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, ERROR_KINDS } from "../cni/error.ts";
import { isObject, type Json, type JsonObject, parseJson, printJson } from "../cni/json.ts";
import { anyNumber, anyText, lenient, oneOf, openObjectOf } from "../cni/shape.ts";
import { call } from "../errors/call.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { HostError } from "../host/command.ts";
import { requestOverUnix, streamOverUnix } from "../host/http_over_unix.ts";
import type { SettingTable } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import { type DisposableSandbox, withRemoval } from "../sandbox/disposable.ts";
import type { SandboxFilter } from "../sandbox/filter.ts";
import type { FindOptions } from "../sandbox/find_sandbox.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { dataOfEvents } from "./event_stream.ts";

/** One thing that happened on the machine of the daemon. */
export interface DaemonEvent extends JsonObject {
  /** `sandbox`, `attachment`, `catalogue` (the networks changed) or `status` (the readiness of one changed). */
  readonly type: string;
  /** When it happened, in ISO 8601. */
  readonly time: string;
}

/** How {@linkcode DaemonClient.remove} removes a sandbox. */
export interface DaemonRemoveOptions extends FindOptions {
  /** Whether the sandbox is forgotten even if not everything could be torn down. @default {false} */
  readonly force?: boolean | undefined;
}

/**
 * A client of the daemon that serves at a Unix socket (`podwire serve`). Each call uses a connection of its own.
 *
 * Permissions: `--allow-read` and `--allow-write` for the socket; from Deno 2.9 on `--allow-net=unix:PATH` too.
 *
 * @example
 * ```ts
 * import { DaemonClient } from "./client.ts";
 *
 * const client = new DaemonClient("/run/podwire/podwire.sock");
 * const { id, ips } = await client.run({ name: "web" }, { signal: AbortSignal.timeout(30_000) });
 * console.log(ips, (await client.list()).length);
 * await client.remove(id);
 * ```
 */
export class DaemonClient {
  readonly #socket: string;

  /** Creates a client of the socket at that path; connects at each call. */
  constructor(socket: string) {
    this.#socket = socket;
  }

  /**
   * Lets the daemon create a sandbox, or hand out one that is ready. If the signal fires first, the connection is closed, and
   * the daemon undoes what it did. With `await using` the sandbox is removed at the end of the block.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} the error of the daemon; kind `not-ready` if no daemon serves, `io` if it ended before it answered
   */
  async run(request: SandboxRequest, options: CallOptions = {}): Promise<DisposableSandbox> {
    const body = printJson(bodyOf(request));
    const sandbox = await this.#ask({ method: "POST", target: "/v1/sandboxes", body }, options);
    return withRemoval(sandbox as unknown as Sandbox, (id) => this.remove(id));
  }

  /**
   * Returns the sandboxes that match the filter, oldest first.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as {@linkcode DaemonClient.run}
   */
  async list(filter: SandboxFilter = {}, options: CallOptions = {}): Promise<readonly Sandbox[]> {
    const { labels, ...members } = filter;
    const label = labels && Object.entries(labels)
      .map(([key, value]) => value === undefined ? key : `${key}=${value}`).join(",");
    const target = `/v1/sandboxes${queryOf({ ...members, label: label === "" ? undefined : label })}`;
    return await this.#ask(
      { method: "GET", target, isAnswer: Array.isArray },
      options,
    ) as unknown as readonly Sandbox[];
  }

  /**
   * Returns one sandbox, by name, ID or unambiguous prefix of an ID.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`, or as {@linkcode DaemonClient.run}
   */
  async get(nameOrId: string, { namespace, signal }: FindOptions = {}): Promise<Sandbox> {
    const target = `${pathOf(nameOrId)}${queryOf({ namespace })}`;
    return await this.#ask({ method: "GET", target }, { signal }) as unknown as Sandbox;
  }

  /**
   * Tears down the networks of a sandbox, keeps its record, and returns it. What could not be torn down is logged by the
   * daemon, and stays among the attachments.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`, or as {@linkcode DaemonClient.run}
   */
  async stop(nameOrId: string, { namespace, signal }: FindOptions = {}): Promise<Sandbox> {
    const target = `${pathOf(nameOrId)}/stop${queryOf({ namespace })}`;
    return await this.#ask({ method: "POST", target, body: "{}" }, { signal }) as unknown as Sandbox;
  }

  /**
   * Tears down a sandbox and forgets it. A sandbox that does not exist counts as success.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} what could not be torn down unless `force`, or as {@linkcode DaemonClient.run}
   */
  async remove(
    nameOrId: string,
    { namespace, force = false, signal }: DaemonRemoveOptions = {},
  ): Promise<void> {
    const target = `${pathOf(nameOrId)}${queryOf({ namespace, force: force ? "true" : undefined })}`;
    await this.#ask({ method: "DELETE", target, isAnswer: (json) => json === undefined }, { signal });
  }

  /**
   * Yields what happens to sandboxes, attachments and networks from now on. The iteration ends when the daemon ends, and when
   * the reader is so slow that the daemon drops it.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as {@linkcode DaemonClient.run}, or with the reason of the signal
   *
   * @example
   * ```ts
   * import { DaemonClient } from "./client.ts";
   *
   * const client = new DaemonClient("/run/podwire/podwire.sock");
   * for await (const { type, time } of client.events()) console.log(time, type);
   * ```
   */
  async *events({ signal }: CallOptions = {}): AsyncGenerator<DaemonEvent> {
    try {
      const request = { method: "GET", target: "/v1/events", body: "", signal };
      using answer = await this.#reach(() => streamOverUnix(this.#socket, request));
      if (answer.status !== 200) {
        throw this.#failureOf(answer.status, (await Array.fromAsync(answer.text)).join(""));
      }
      for await (const data of dataOfEvents(answer.text)) {
        const event = parsed(data);
        if (isObject(event)) yield event as DaemonEvent;
      }
    } catch (error) {
      throw asCniError(error);
    }
  }

  /** Returns the JSON of a successful answer. */
  async #ask(
    { method, target, body = "", isAnswer = isObject }: {
      readonly method: string;
      readonly target: string;
      readonly body?: string;
      /** Whether the JSON of a successful answer is one of podwire. @default {isObject} */
      readonly isAnswer?: (json: Json | undefined) => boolean;
    },
    { signal }: CallOptions,
  ): Promise<Json | undefined> {
    return await call({ signal }, async () => {
      const request = { method, target, body, signal };
      const { status, text } = await this.#reach(() => requestOverUnix(this.#socket, request));
      const json = parsed(text);
      if (status >= 200 && status < 300 && isAnswer(json)) return json;
      throw this.#failureOf(status, text);
    });
  }

  /** Returns the error that the daemon answered with. */
  #failureOf(status: number, text: string): CniError {
    const json = parsed(text);
    const error = isObject(json) ? json.error : undefined;
    return isObject(error) ? failureOf(error) : this.#unlike(`it answers with ${status}`);
  }

  async #reach<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
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

function pathOf(nameOrId: string): string {
  return `/v1/sandboxes/${encodeURIComponent(nameOrId)}`;
}

function queryOf(members: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(members).filter((member): member is [string, string] =>
    member[1] !== undefined
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

function parsed(text: string): Json | undefined {
  try {
    return parseJson(text);
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
