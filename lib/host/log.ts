import { BaseHandler, Logger as StdLogger, type LogRecord } from "@std/log";
import { escapedInJson, oneLine } from "./terminal_text.ts";

export { oneLine };

/** The levels, from the most to the fewest messages. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = typeof LOG_LEVELS[number];

/** The forms of a message: a line for people, or a JSON object. */
export const LOG_FORMATS = ["text", "json"] as const;

/** One of {@linkcode LOG_FORMATS}. */
export type LogFormat = typeof LOG_FORMATS[number];

/** Named facts that belong to a message. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Takes messages, with one function for each level. */
export type Logger = Readonly<Record<LogLevel, (msg: string, fields?: LogFields) => void>>;

/** Options of {@linkcode createLogger}. */
export interface LoggerOptions {
  /** Writes whole lines. */
  readonly write: (text: string) => void;
  /** Messages below this level are dropped. @default {"info"} */
  readonly level?: LogLevel | undefined;
  /** Lines for people, or one JSON object in each line. @default {"text"} */
  readonly format?: LogFormat | undefined;
  /** Only with `text`. @default {false} */
  readonly color?: boolean | undefined;
  /** The time of a message. @default {() => new Date()} */
  readonly now?: (() => Date) | undefined;
}

/** Drops all messages. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Whether a text is one of {@linkcode LOG_LEVELS}. */
export function isLogLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}

/**
 * Makes a logger that writes one line for each message. Requires no permission.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { createLogger } from "./log.ts";
 *
 * const lines: string[] = [];
 * const log = createLogger({ level: "warn", write: (text) => lines.push(text) });
 * log.info("attached");
 * log.warn("network is slow", { network: "web", ms: 1200 });
 * assertEquals(lines, ["warn: network is slow network=web ms=1200\n"]);
 * ```
 */
export function createLogger(options: LoggerOptions): Logger {
  const { write, level = "info", format = "text", color = false, now = () => new Date() } = options;
  const formatter = format === "json"
    ? (record: LogRecord) => jsonLine(record, now())
    : (record: LogRecord) => textLine(record, color);
  const handler = new LineHandler(write, formatter);
  // Made here and not fetched by name: the registry of @std/log is shared by the whole process.
  const logger = new StdLogger("podwire", STD_LEVELS[level], { handlers: [handler] });
  return {
    debug: (msg, fields) => void logger.debug(() => msg, fields),
    info: (msg, fields) => void logger.info(() => msg, fields),
    warn: (msg, fields) => void logger.warn(() => msg, fields),
    error: (msg, fields) => void logger.error(() => msg, fields),
  };
}

const STD_LEVELS = { debug: "DEBUG", info: "INFO", warn: "WARN", error: "ERROR" } as const;

const COLORS: Readonly<Record<LogLevel, number>> = { debug: 90, info: 36, warn: 33, error: 31 };

class LineHandler extends BaseHandler {
  readonly #write: (text: string) => void;

  constructor(write: (text: string) => void, formatter: (record: LogRecord) => string) {
    super("DEBUG", { formatter });
    this.#write = write;
  }

  override log(line: string): void {
    this.#write(`${line}\n`);
  }
}

function levelOf(record: LogRecord): LogLevel {
  const level = record.levelName.toLowerCase();
  return isLogLevel(level) ? level : "error";
}

function fieldsOf(record: LogRecord): [string, unknown][] {
  const fields = Object.entries((record.args[0] ?? {}) as LogFields);
  return fields.filter(([, value]) => value !== undefined).map(([name, value]) => [name, plain(value)]);
}

/** JSON shows no fields of an error, and takes no bigint. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  return value instanceof Error ? value.message : value;
}

/** The names that a line of JSON uses itself; a field with such a name gets a `_` at its end. */
const OWN_NAMES = new Set(["time", "level", "msg"]);

function jsonLine(record: LogRecord, time: Date): string {
  const fields = fieldsOf(record).map(([name, value]) => [OWN_NAMES.has(name) ? `${name}_` : name, value]);
  const own = { time: time.toISOString(), level: levelOf(record), msg: record.msg };
  return escapedInJson(JSON.stringify({ ...own, ...Object.fromEntries(fields) }));
}

function textLine(record: LogRecord, color: boolean): string {
  const level = levelOf(record);
  const label = color ? `\x1b[${COLORS[level]}m${level}\x1b[0m` : level;
  const fields = fieldsOf(record).map(([name, value]) => ` ${name}=${textValue(value)}`);
  return `${label}: ${oneLine(record.msg)}${fields.join("")}`;
}

function textValue(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? String(value);
  return typeof value === "string" && /[\s="]|^$/.test(text) ? oneLine(JSON.stringify(text)) : oneLine(text);
}
