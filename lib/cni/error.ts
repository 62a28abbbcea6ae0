/**
 * The well-known error codes of CNI. Codes of 100 and up belong to plugins.
 *
 * Source: CNI specification 1.1.0, section 5 "Error"; 8 and 999 are used by the reference
 * plugins, but are not in the table of the specification.
 */
export const ERROR_CODES = {
  unknown: 0,
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodingFailure: 6,
  invalidNetworkConfig: 7,
  invalidNetns: 8,
  tryAgainLater: 11,
  pluginNotAvailable: 50,
  limitedConnectivity: 51,
  internal: 999,
} as const;

/**
 * Kinds of errors, for callers that react to them differently.
 *
 * | kind | meaning |
 * | --- | --- |
 * | `usage` | a flag, argument or option is wrong |
 * | `config` | a configuration file is wrong |
 * | `not-found` | a sandbox, network, namespace or attachment does not exist |
 * | `conflict` | a name, address or attachment is in use |
 * | `permission` | root, a capability or a Deno permission is missing |
 * | `timeout` | the time allowed for a verb ran out |
 * | `cancelled` | the caller's signal fired |
 * | `not-ready` | the network cannot attach containers now, or the machine lacks a program for it |
 * | `exhausted` | the network has no address left |
 * | `plugin-missing` | no executable and no built-in of that type was found |
 * | `plugin-start` | the executable was found, but could not be started |
 * | `plugin-crash` | the plugin ended without an error object |
 * | `plugin-output` | the plugin's output is not valid |
 * | `plugin` | the plugin failed with an error object |
 * | `io` | a file, lock or command of the host failed |
 * | `internal` | a defect of podwire |
 */
export const ERROR_KINDS = [
  "usage",
  "config",
  "not-found",
  "conflict",
  "permission",
  "timeout",
  "cancelled",
  "not-ready",
  "exhausted",
  "plugin-missing",
  "plugin-start",
  "plugin-crash",
  "plugin-output",
  "plugin",
  "io",
  "internal",
] as const;

/** One of {@linkcode ERROR_KINDS}. */
export type ErrorKind = typeof ERROR_KINDS[number];

/** A plugin and its place in the chain. */
export interface PluginPlace {
  /** The type, which is the name of the executable. */
  readonly type: string;
  /** Zero-based. */
  readonly index?: number | undefined;
  /** Number of plugins in the network configuration list. */
  readonly count?: number | undefined;
}

/** Details of an error beside its message. */
export interface CniErrorOptions {
  /** One of {@linkcode ERROR_CODES}, or of 100 and up from a plugin. @default {ERROR_CODES.unknown} */
  readonly code?: number | undefined;
  /** Text that is added to the message. */
  readonly details?: string | undefined;
  /** The verb of the call. */
  readonly verb?: string | undefined;
  /** The name of the network. */
  readonly network?: string | undefined;
  /** The plugin that failed. */
  readonly plugin?: PluginPlace | undefined;
  /** The container of the attachment. */
  readonly containerId?: string | undefined;
  /** The interface of the attachment. */
  readonly ifName?: string | undefined;
  /** The exit code of a program. */
  readonly exitCode?: number | undefined;
  /** The signal that ended a program. */
  readonly signal?: string | undefined;
  /** The end of the plugin's standard error. */
  readonly stderr?: string | undefined;
  /** Milliseconds from the start to the failure. */
  readonly elapsedMs?: number | undefined;
  /** The file that is wrong. */
  readonly file?: string | undefined;
  /** One-based. */
  readonly line?: number | undefined;
  /** One-based. */
  readonly column?: number | undefined;
  /** Path of the wrong value in the document, as `plugins[1].type`; empty for the document itself. */
  readonly path?: string | undefined;
  /** What the reader can do about it. */
  readonly hint?: string | undefined;
  /** The error that caused this one. */
  readonly cause?: unknown | undefined;
}

/**
 * The one error of podwire: a CNI error object (`code`, `msg`, `details`) with what was tried.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { CniError } from "./error.ts";
 *
 * const error = new CniError("plugin", "no address left", { verb: "ADD", network: "web" });
 * assertEquals(error.message, 'Cannot ADD network "web": no address left');
 * ```
 */
export class CniError extends Error {
  /** Always `CniError`. */
  override readonly name: string = "CniError";
  /** One of {@linkcode ERROR_CODES}, or of 100 and up from a plugin. */
  readonly code: number;
  /** What went wrong; never blank. */
  readonly msg: string;
  /** What is known beside the message. */
  readonly context: Omit<CniErrorOptions, "code" | "cause">;

  /** The message begins with what was tried, then says what went wrong. */
  constructor(readonly kind: ErrorKind, msg: string, options: CniErrorOptions = {}) {
    const { code = ERROR_CODES.unknown, cause, ...given } = options;
    const context = withoutUndefined({
      ...given,
      details: given.details && cut(given.details),
      plugin: given.plugin && withoutUndefined(given.plugin),
    });
    const visibleMsg = isBlank(msg) ? "no reason was given" : cut(msg);
    super(sentence(visibleMsg, context), cause === undefined ? undefined : { cause });
    this.code = code;
    this.msg = visibleMsg;
    this.context = context;
  }

  /** Returns a copy with the caller's context added; members that the error already has stay. */
  within(context: CniErrorOptions): CniError {
    const { cause = this.cause, ...outer } = context;
    return new CniError(this.kind, this.msg, { ...outer, ...this.context, code: this.code, cause });
  }

  /** Returns the object that the command line prints with `--json` and that the daemon sends. */
  toJSON(): Record<string, unknown> {
    const { plugin, ...context } = this.context;
    const place = plugin && { plugin: plugin.type, pluginIndex: plugin.index, pluginCount: plugin.count };
    return {
      code: this.code,
      kind: this.kind,
      msg: this.msg,
      ...context,
      ...place,
    };
  }
}

/** Removes undefined members: they would hide those of the caller, see {@linkcode CniError.within}. */
function withoutUndefined<T extends object>(context: T): T {
  return Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined)) as T;
}

/** In characters. Errors are stored, listed and logged, and the message of a plugin may be megabytes long. */
const LONGEST_TEXT = 4_000;

function cut(text: string): string {
  const end = `... (it has ${text.length} characters)`;
  // A text that was cut before stays as it is.
  return text.length <= LONGEST_TEXT + 40 ? text : `${text.slice(0, LONGEST_TEXT).toWellFormed()}${end}`;
}

/** Whether a text has no visible character. */
export function isBlank(text: string): boolean {
  return !/[^\s\p{C}]/u.test(text);
}

function sentence(msg: string, context: Omit<CniErrorOptions, "code" | "cause">): string {
  const { verb, network, plugin, file, line, column, details } = context;
  const where = position(file, line, column);
  const tried = verb === undefined && network === undefined
    ? ""
    : `Cannot ${verb ?? "use"} network "${network ?? "?"}"${place(plugin)}: `;
  return `${tried}${where}${msg}${details ? `; ${details}` : ""}`;
}

function position(file?: string, line?: number, column?: number): string {
  if (line === undefined) return file === undefined ? "" : `${file}: `;
  if (file === undefined) return `line ${line}${column === undefined ? "" : `, column ${column}`}: `;
  return `${file}:${line}${column === undefined ? "" : `:${column}`}: `;
}

function place(plugin: PluginPlace | undefined): string {
  if (plugin === undefined) return "";
  const { type, index, count } = plugin;
  if (index === undefined) return `, plugin "${type}"`;
  return `, plugin "${type}" (${index + 1}${count === undefined ? "" : ` of ${count}`})`;
}

/**
 * Whether an error is a {@linkcode CniError}, and of that kind if one is given.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { CniError, isCniError } from "./error.ts";
 *
 * const error: unknown = new CniError("timeout", "no answer within 5s");
 * assertEquals([isCniError(error), isCniError(error, "timeout"), isCniError(error, "io")], [true, true, false]);
 * ```
 */
export function isCniError(error: unknown, kind?: ErrorKind): error is CniError {
  return error instanceof CniError && (kind === undefined || error.kind === kind);
}
