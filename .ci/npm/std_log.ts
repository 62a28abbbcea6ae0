// What the project uses of jsr:@std/log, with the same signatures, for networks that reach npm and not JSR.
// `denow` maps the import to this file then; published code and the lock file always name the real package.
// The global registry, the ready-made handlers and the setters are left out, because nothing here calls them.

/** The weight of each level. */
export const LogLevels = { NOTSET: 0, DEBUG: 10, INFO: 20, WARN: 30, ERROR: 40, CRITICAL: 50 } as const;

export type LevelName = Exclude<keyof typeof LogLevels, number>;
export type LogLevel = typeof LogLevels[LevelName];

export const LogLevelNames: LevelName[] = Object.keys(LogLevels) as LevelName[];

export function getLevelByName(name: LevelName): LogLevel {
  const level = LogLevels[name];
  if (level === undefined) throw new Error(`Cannot get log level: no level named ${name}`);
  return level;
}

export function getLevelName(level: LogLevel): LevelName {
  const name = LogLevelNames.find((name) => LogLevels[name] === level);
  if (name === undefined) throw new Error(`Cannot get log level: no name for level: ${level}`);
  return name;
}

export interface LogRecordOptions {
  msg: string;
  args: unknown[];
  level: LogLevel;
  loggerName: string;
}

/** One message on its way to the handlers. */
export class LogRecord {
  readonly msg: string;
  readonly level: number;
  readonly levelName: string;
  readonly loggerName: string;
  readonly #args: unknown[];
  readonly #time = Date.now();

  constructor(options: LogRecordOptions) {
    this.msg = options.msg;
    this.level = options.level;
    this.levelName = getLevelName(options.level);
    this.loggerName = options.loggerName;
    this.#args = [...options.args];
  }

  /** A copy of the arguments that followed the message. */
  get args(): unknown[] {
    return [...this.#args];
  }

  get datetime(): Date {
    return new Date(this.#time);
  }
}

export type FormatterFunction = (logRecord: LogRecord) => string;

export interface BaseHandlerOptions {
  formatter?: FormatterFunction;
}

/** Formats the records of its level and above, and leaves the writing to a subclass. */
export abstract class BaseHandler {
  formatter: FormatterFunction;
  readonly #levelName: LevelName;

  constructor(levelName: LevelName, options?: BaseHandlerOptions) {
    getLevelByName(levelName);
    this.#levelName = levelName;
    this.formatter = options?.formatter ?? ((record) => `${record.levelName} ${record.msg}`);
  }

  get level(): LogLevel {
    return getLevelByName(this.#levelName);
  }

  get levelName(): LevelName {
    return this.#levelName;
  }

  handle(logRecord: LogRecord): void {
    if (logRecord.level >= this.level) this.log(this.format(logRecord));
  }

  format(logRecord: LogRecord): string {
    return this.formatter(logRecord);
  }

  abstract log(msg: string): void;

  setup(): void {}

  destroy(): void {}

  [Symbol.dispose](): void {
    this.destroy();
  }
}

// deno-lint-ignore no-explicit-any
export type GenericFunction = (...args: any[]) => any;

/** A message, or a function that makes it and is called only if the message is wanted. */
type Message<T> = (T extends GenericFunction ? never : T) | (() => T);

export interface LoggerOptions {
  handlers?: BaseHandler[];
}

/** Passes messages at its level or above to its handlers. */
export class Logger {
  handlers: BaseHandler[];
  readonly #loggerName: string;
  readonly #levelName: LevelName;

  constructor(loggerName: string, levelName: LevelName, options: LoggerOptions = {}) {
    getLevelByName(levelName);
    this.#loggerName = loggerName;
    this.#levelName = levelName;
    this.handlers = options.handlers ?? [];
  }

  get level(): LogLevel {
    return getLevelByName(this.#levelName);
  }

  get levelName(): LevelName {
    return this.#levelName;
  }

  get loggerName(): string {
    return this.#loggerName;
  }

  #log<T>(level: LogLevel, message: Message<T>, args: unknown[]): T | undefined {
    const wanted = level >= this.level;
    if (message instanceof Function && !wanted) return undefined;
    const value: T = message instanceof Function ? message() : message;
    if (wanted) {
      const record = new LogRecord({ msg: asText(value), args, level, loggerName: this.loggerName });
      for (const handler of this.handlers) handler.handle(record);
    }
    return value;
  }

  debug<T>(msg: () => T, ...args: unknown[]): T | undefined;
  debug<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  debug<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.DEBUG, msg, args);
  }

  info<T>(msg: () => T, ...args: unknown[]): T | undefined;
  info<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  info<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.INFO, msg, args);
  }

  warn<T>(msg: () => T, ...args: unknown[]): T | undefined;
  warn<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  warn<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.WARN, msg, args);
  }

  error<T>(msg: () => T, ...args: unknown[]): T | undefined;
  error<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  error<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.ERROR, msg, args);
  }

  critical<T>(msg: () => T, ...args: unknown[]): T | undefined;
  critical<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  critical<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.CRITICAL, msg, args);
  }
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ?? value.message;
  if (typeof value === "object" && value !== null) return JSON.stringify(value);
  return String(value);
}
