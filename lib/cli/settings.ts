import { resolve } from "@std/path";
import { CniError } from "../cni/error.ts";
import { createLogger, LOG_FORMATS, LOG_LEVELS, type Logger, type LogLevel } from "../host/log.ts";
import { processTracer } from "../host/telemetry.ts";
import type { Timeouts } from "../plugin/deadline.ts";
import { VERBS } from "../plugin/invocation.ts";
import { BUILTIN_POLICIES } from "../plugin/locate.ts";
import { DEFAULTS, type RuntimeOptions } from "../runtime/options.ts";
import type { CommandInput } from "./command.ts";

/** Variables that plugins get by default. `LC_*` is an open set, so the usual members are listed. */
export const PLUGIN_ENVIRONMENT = [
  "PATH",
  "HOME",
  "LANG",
  "LC_ALL",
  "LC_ADDRESS",
  "LC_COLLATE",
  "LC_CTYPE",
  "LC_IDENTIFICATION",
  "LC_MEASUREMENT",
  "LC_MESSAGES",
  "LC_MONETARY",
  "LC_NAME",
  "LC_NUMERIC",
  "LC_PAPER",
  "LC_TELEPHONE",
  "LC_TIME",
  "TZ",
  "TRACEPARENT",
  "TRACESTATE",
  "BAGGAGE",
  "CNI_NETNS_OVERRIDE",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "ALL_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
  "all_proxy",
] as const;

const VARIABLE = /^[^=\0]+$/;
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };
/** A longer limit does not fit into a timer, and is not useful. */
const LONGEST_MS = 24 * 3_600_000;

/**
 * Returns the options of the runtime. A flag overrides the environment, and the environment overrides the default.
 *
 * @throws {CniError} kind `usage`
 */
export function runtimeOptions(input: CommandInput): RuntimeOptions {
  const { io } = input;
  const confDir = input.value("conf-dir") ?? (io.env("NETCONFPATH") || undefined);
  const defaultNetwork = input.value("default-network");
  const tracer = processTracer({ traceparent: io.env("TRACEPARENT"), tracestate: io.env("TRACESTATE") });
  return {
    ...(confDir === undefined ? {} : { confDir: resolve(confDir) }),
    pluginDirs: pluginDirs(input),
    cacheDir: directory(input, "cache-dir", DEFAULTS.cacheDir),
    stateDir: directory(input, "state-dir", DEFAULTS.stateDir),
    netnsDir: directory(input, "netns-dir", DEFAULTS.netnsDir),
    builtinPolicy: oneOf(input, "builtin", BUILTIN_POLICIES, "fallback"),
    timeouts: timeouts(input.list("timeout")),
    ...lockTimeout(input.list("timeout")),
    environment: pluginEnvironment(input),
    log: logger(input),
    embedded: !input.flag("no-embedded"),
    allowUnsafeFiles: input.flag("allow-unsafe-files"),
    maxFailed: maxFailed(input),
    ...(defaultNetwork === undefined ? {} : { defaultNetwork }),
    ...(tracer === undefined ? {} : { tracer }),
  };
}

function directory(input: CommandInput, name: string, fallback: string): string {
  return resolve(input.value(name) ?? fallback);
}

function maxFailed(input: CommandInput): number {
  const text = input.value("max-failed");
  if (text === undefined) return DEFAULTS.maxFailed;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new CniError("usage", `--max-failed: "${text}" is not a whole number from 0 on`);
}

function pluginDirs(input: CommandInput): readonly string[] {
  const flags = input.list("plugin-dir");
  const named = flags.length > 0
    ? flags
    : (input.io.env("CNI_PATH") ?? "").split(":").filter((dir) => dir !== "");
  return (named.length > 0 ? named : DEFAULTS.pluginDirs).map((dir) => resolve(dir));
}

function pluginEnvironment(input: CommandInput): Record<string, string> {
  const { io } = input;
  const environment: Record<string, string> = {};
  const take = (name: string, value: string | undefined) => {
    if (value !== undefined) environment[name] = value;
  };
  for (const name of PLUGIN_ENVIRONMENT) take(name, io.env(name));
  for (const name of input.list("plugin-env")) {
    if (!VARIABLE.test(name)) {
      throw new CniError("usage", `--plugin-env: "${name}" is not the name of a variable`);
    }
    if (!Object.hasOwn(environment, name)) take(name, io.inheritedEnv(name));
  }
  return environment;
}

/**
 * Reads a duration in milliseconds.
 *
 * @throws {CniError} kind `usage`
 */
export function parseDuration(text: string, flag: string): number {
  const [, amount, unit] = DURATION.exec(text) ?? [];
  const ms = Number(amount) * (UNIT_MS[unit ?? ""] ?? NaN);
  if (ms >= 1 && ms <= LONGEST_MS) return Math.round(ms);
  throw new CniError(
    "usage",
    `${flag}: "${text}" is not a duration between 1ms and 24h, such as 500ms, 30s or 2m`,
  );
}

/**
 * Reads the timeouts of `--timeout VERB=DURATION` and `--timeout DURATION`. The one with a verb overrides the other.
 *
 * @throws {CniError} kind `usage`
 */
export function timeouts(texts: readonly string[]): Partial<Timeouts> {
  const { [LOCK]: _, ...verbs } = limits(texts);
  return verbs;
}

/**
 * Reads the time limit for each wait for a lock, from `--timeout LOCK=DURATION` and `--timeout DURATION`.
 *
 * @throws {CniError} kind `usage`
 */
export function lockTimeout(texts: readonly string[]): Pick<RuntimeOptions, "lockTimeoutMs"> {
  const { [LOCK]: lockTimeoutMs } = limits(texts);
  return lockTimeoutMs === undefined ? {} : { lockTimeoutMs };
}

const LOCK = "LOCK";

function limits(texts: readonly string[]): Partial<Timeouts> & { readonly [LOCK]?: number } {
  const names = [...VERBS, LOCK];
  const all: Partial<Record<string, number>> = {};
  const single: Partial<Record<string, number>> = {};
  for (const text of texts) {
    const equals = text.indexOf("=");
    const given = text.slice(0, Math.max(equals, 0)).toUpperCase();
    const ms = parseDuration(text.slice(equals + 1), "--timeout");
    if (equals < 0) {
      for (const name of names) all[name] = ms;
      continue;
    }
    const name = names.find((known) => known === given);
    if (name === undefined) {
      throw new CniError("usage", `--timeout: "${given}" is not a verb; the verbs are ${names.join(", ")}`);
    }
    single[name] = ms;
  }
  return { ...all, ...single };
}

/**
 * Returns the log of a command, on standard error, from that level on unless the options set another. With `--json`, its
 * lines are JSON, as the error at the end is.
 */
export function logger(input: CommandInput, level: LogLevel = "warn"): Logger {
  const { io } = input;
  const color = io.stderrIsTerminal && !input.flag("no-color") && !io.env("NO_COLOR");
  return createLogger({
    level: oneOf(input, "log-level", LOG_LEVELS, level),
    format: oneOf(input, "log-format", LOG_FORMATS, input.flag("json") ? "json" : "text"),
    color,
    write: (text) => io.writeError(text),
  });
}

function oneOf<T extends string>(input: CommandInput, name: string, words: readonly T[], fallback: T): T {
  const text = input.value(name);
  if (text === undefined) return fallback;
  const word = words.find((known) => known === text);
  if (word === undefined) {
    throw new CniError("usage", `--${name}: "${text}" is not one of ${words.join(", ")}`);
  }
  return word;
}
