import { parseArgs } from "node:util";
import { CniError } from "../cni/error.ts";
import { didYouMean } from "../cni/near_miss.ts";
import type { Io } from "../host/io.ts";

/** One option of the command line. */
export interface OptionSpec {
  readonly name: string;
  readonly alias?: string;
  /**
   * `flag`: given or not; `list`: all values; `value`: one value; `optional`: one value, which is empty if it is left out, and
   * which only a command without operands can have. The last value of a global option counts, because a wrapper may give its own
   * before. Two different values of a command's own option are refused.
   */
  readonly kind: "flag" | "value" | "list" | "optional";
  /** The placeholder for the value in the help. */
  readonly value?: string;
  readonly help: string;
}

/** The command line of a command. */
export interface CommandInput {
  readonly io: Io;
  readonly operands: readonly string[];
  /** The command after the operands, if it stood after `--`. */
  readonly rest: readonly string[];
  flag(name: string): boolean;
  value(name: string): string | undefined;
  list(name: string): readonly string[];
}

/** A command: its help, and the function that runs it and returns the exit code. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** The operands in the usage line. */
  readonly operands: string;
  /** The smallest and the largest number of operands. */
  readonly count: readonly [number, number];
  readonly options: readonly OptionSpec[];
  readonly description?: string;
  readonly examples?: readonly string[];
  /** Whether only root may call it. */
  readonly needsRoot: boolean;
  /** Loads the function when the command is called, because each plugin call starts a process. */
  readonly load: () => Promise<(input: CommandInput) => Promise<number>>;
}

/** The options of every command. */
export const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  {
    name: "conf-dir",
    kind: "value",
    value: "DIR",
    help: "network configuration (env NETCONFPATH; default /etc/cni/net.d)",
  },
  {
    name: "plugin-dir",
    kind: "list",
    value: "DIR",
    help: "plugins, repeatable (env CNI_PATH; default /opt/cni/bin, /usr/lib/cni, /usr/libexec/cni)",
  },
  {
    name: "cache-dir",
    kind: "value",
    value: "DIR",
    help: "cache of results, as libcni keeps it (default /var/lib/cni)",
  },
  { name: "state-dir", kind: "value", value: "DIR", help: "podwire's records (default /var/lib/podwire)" },
  { name: "netns-dir", kind: "value", value: "DIR", help: "network namespaces (default /run/netns)" },
  {
    name: "default-network",
    kind: "value",
    value: "NAME",
    help: "the network that is used if none is named",
  },
  {
    name: "no-embedded",
    kind: "flag",
    help: "do not use the embedded network if the configuration directory is empty",
  },
  {
    name: "allow-unsafe-files",
    kind: "flag",
    help: "accept plugins, configuration and directories that users other than root can write (for tests)",
  },
  {
    name: "max-failed",
    kind: "value",
    value: "N",
    help: "how many attachments that could not be detached a pod may have (default 16; 0: any number)",
  },
  {
    name: "builtin",
    kind: "value",
    value: "POLICY",
    help: "built-in plugins: fallback (default), prefer or off",
  },
  {
    name: "timeout",
    kind: "list",
    value: "[VERB=]DURATION",
    help:
      "time limit for a verb, for LOCK or for all, repeatable: 500ms, 30s, 2m (default ADD=2m LOCK=2m DEL=1m CHECK=30s)",
  },
  {
    name: "plugin-env",
    kind: "list",
    value: "NAME",
    help: "pass this environment variable to plugins, repeatable",
  },
  { name: "json", kind: "flag", help: "print JSON: results, errors and logs" },
  { name: "log-level", kind: "value", value: "LEVEL", help: "debug, info, warn (default) or error" },
  {
    name: "log-format",
    kind: "value",
    value: "FORMAT",
    help: "text or json (default: text, json with --json)",
  },
  { name: "no-color", kind: "flag", help: "do not use colours (env NO_COLOR)" },
  { name: "help", alias: "h", kind: "flag", help: "show this help" },
  { name: "version", alias: "V", kind: "flag", help: "show the version" },
];

/**
 * Reads a command line by its options, which may stand before, between and after the operands. If the operands end in a
 * command of its own, after `ownOperands` of them, nothing from that command on is read as an option.
 *
 * @throws {CniError} kind `usage`, naming the flag
 */
export function parseCommandLine(
  args: readonly string[],
  options: readonly OptionSpec[],
  { ownOperands = Infinity }: { ownOperands?: number | undefined } = {},
): Omit<CommandInput, "io"> {
  const given = new Map<string, string[]>();
  const operands: string[] = [];
  let rest: readonly string[] = [];
  const tokens = [...tokensOf(args, options)];
  for (const [place, token] of tokens.entries()) {
    if (token.kind === "option") {
      const { name, value } = readOption(token, args, options);
      const next = tokens[place + 1];
      const option = options.find((own) => own.name === name);
      const hasNext = option?.kind === "optional" && value === "" && next?.kind === "positional";
      if (hasNext) tokens.splice(place + 1, 1);
      if (hasNext && next.value === "") throw missingValue(`--${name}`, option);
      given.set(name, [...given.get(name) ?? [], hasNext ? next.value : value]);
    } else if (token.kind === "option-terminator") {
      const after = splitAfterEnd(args.slice(token.index + 1), Math.max(0, ownOperands - operands.length));
      operands.push(...after.operands);
      rest = after.rest;
      break;
    } else if (operands.length === ownOperands) {
      operands.push(...args.slice(token.index));
      break;
    } else operands.push(token.value);
  }
  for (const { name } of options.filter(({ kind }) => kind === "value" || kind === "optional")) {
    if (!GLOBAL_OPTIONS.some((global) => global.name === name)) requireOne(name, given.get(name) ?? []);
  }
  return {
    operands,
    rest,
    flag: (name) => given.has(name),
    value: (name) => given.get(name)?.at(-1),
    list: (name) => given.get(name) ?? [],
  };
}

function requireOne(name: string, values: readonly string[]): void {
  const other = values.find((value) => value !== values[0]);
  if (other === undefined) return;
  throw new CniError("usage", `option --${name} is given twice, as "${values[0]}" and as "${other}"`);
}

/** Returns the index of the first argument that is neither an option nor the value of one. */
export function firstOperand(args: readonly string[], options: readonly OptionSpec[]): number {
  return tokensOf(args, options).find(({ kind }) => kind !== "option")?.index ?? args.length;
}

type Token = NonNullable<ReturnType<typeof parseArgs>["tokens"]>[number];

function tokensOf(args: readonly string[], options: readonly OptionSpec[]): readonly Token[] {
  const known = options.map(({ name, alias, kind }) => {
    const type = kind === "flag" || kind === "optional" ? "boolean" as const : "string" as const;
    return [name, { type, multiple: true, ...(alias === undefined ? {} : { short: alias }) }] as const;
  });
  // Strict, it throws errors of its own, which depend on the version of Deno.
  return parseArgs({ args: [...args], options: Object.fromEntries(known), strict: false, tokens: true })
    .tokens ?? [];
}

/** Returns an option and its value; a flag has an empty one. */
function readOption(
  { index, rawName: flag, value, inlineValue }: Token & { readonly kind: "option" },
  args: readonly string[],
  options: readonly OptionSpec[],
): { readonly name: string; readonly value: string } {
  const [written = ""] = (args[index] ?? "").split("=");
  const option = options.find(({ name, alias }) => flag === `--${name}` || flag === `-${alias}`);
  const isAlone = flag === written;
  if (option?.kind === "optional" && isOptionalValue(args[index] ?? "", flag)) {
    return { name: option.name, value: value ?? "" };
  }
  // An option that takes a value stands alone: neither in a group such as "-fn", nor joined to its value as in "-nVALUE".
  if (option === undefined || (option.kind !== "flag" && !isAlone)) {
    throw new CniError("usage", `unknown option ${written}`, {
      hint: meantOption(written, option, options) ?? "`--help` lists the options",
    });
  }
  if (option.kind === "flag") {
    if (isAlone && args[index] !== written) throw new CniError("usage", `option ${flag} takes no value`);
    return { name: option.name, value: "" };
  }
  // In "-n=VALUE" the parser counts the "=" as a part of the value.
  const text = inlineValue && !flag.startsWith("--") ? value?.slice(1) : value;
  if (text === undefined || text === "" || (!inlineValue && text === "--")) {
    throw missingValue(flag, option);
  }
  if (text.startsWith("-") && text.includes("\n")) {
    throw new CniError("usage", `option --${option.name}: a value of several lines cannot begin with "-"`);
  }
  return { name: option.name, value: text };
}

/** Returns the hint for an option that may have been meant. */
function meantOption(
  written: string,
  joined: OptionSpec | undefined,
  options: readonly OptionSpec[],
): string | undefined {
  if (joined !== undefined) {
    return `write its value apart: ${`-${joined.alias} ${joined.value ?? ""}`.trim()}`;
  }
  return didYouMean(written.replace(/^-+/, ""), options.map(({ name }) => name), "--");
}

function missingValue(flag: string, { value }: OptionSpec): CniError {
  return new CniError("usage", `option ${flag} needs a value: ${flag} ${value}`);
}

/** Whether a word is the flag alone, or the flag with a value. */
function isOptionalValue(word: string, flag: string): boolean {
  return word === flag || (word.startsWith(`${flag}=`) && word.length > flag.length + 1);
}

/** Splits what stands after `--`: operands, whatever they look like, and then the command that they end in. */
function splitAfterEnd(
  args: readonly string[],
  missing: number,
): { readonly operands: readonly string[]; readonly rest: readonly string[] } {
  const command = args.slice(missing);
  // Between NAME and CMD another "--" may stand, as if the first were not there.
  const rest = missing > 0 && command[0] === "--" ? command.slice(1) : command;
  return { operands: args.slice(0, missing), rest };
}

/** Returns the help of one command. */
export function commandHelp(command: Command): string {
  const operands = command.operands === "" ? "" : ` ${command.operands}`;
  const sections = [`Usage: podwire ${command.name} [OPTIONS]${operands}`, `${command.summary}.`];
  if (command.description !== undefined) sections.push(command.description);
  if (command.options.length > 0) sections.push(`Options:\n${optionLines(command.options)}`);
  sections.push(`Global options:\n${optionLines(GLOBAL_OPTIONS)}`);
  if (command.examples !== undefined) {
    sections.push(`Examples:\n${command.examples.map((line) => `  ${line}`).join("\n")}`);
  }
  return `${sections.join("\n\n")}\n`;
}

/** Returns the options, aligned, one per line. */
export function optionLines(options: readonly OptionSpec[]): string {
  const rows = options.map(({ name, alias, value, help }) => {
    const short = alias === undefined ? "    " : `-${alias}, `;
    return [`${short}--${name}${value === undefined ? "" : ` ${value}`}`, help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`).join("\n");
}
