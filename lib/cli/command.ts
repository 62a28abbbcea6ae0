import { parseArgs } from "@std/cli/parse-args";
import type { Io } from "../host/io.ts";
import { CniError } from "../cni/error.ts";

/** One option of the command line. */
export interface OptionSpec {
  readonly name: string;
  readonly alias?: string;
  /**
   * `flag`: there or not; `list`: all of them; `value`: one. Of a global one the last counts, as a wrapper may give
   * one of its own before; two different ones of a command's own are refused.
   */
  readonly kind: "flag" | "value" | "list";
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly help: string;
}

/** What a command was called with. */
export interface CommandInput {
  readonly io: Io;
  readonly operands: readonly string[];
  /** The command that the operands end in, where it stood behind `--`. */
  readonly rest: readonly string[];
  flag(name: string): boolean;
  value(name: string): string | undefined;
  list(name: string): readonly string[];
}

/** A command: its place in the manual, and the function that does it and gives the exit code. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** The operands, as the usage line shows them. */
  readonly operands: string;
  /** How many operands it takes, at least and at most. */
  readonly count: readonly [number, number];
  readonly options: readonly OptionSpec[];
  readonly description?: string;
  readonly examples?: readonly string[];
  /** Whether it is refused at once to anybody but root. */
  readonly needsRoot: boolean;
  /** Loaded when the command is called, not before: a plugin call is a process start. */
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
    help: "results, as libcni keeps them (default /var/lib/cni)",
  },
  { name: "state-dir", kind: "value", value: "DIR", help: "podwire's records (default /var/lib/podwire)" },
  { name: "netns-dir", kind: "value", value: "DIR", help: "network namespaces (default /run/netns)" },
  {
    name: "default-network",
    kind: "value",
    value: "NAME",
    help: "the only network that stands in where none is named",
  },
  {
    name: "no-embedded",
    kind: "flag",
    help: "no network stands in for an empty configuration directory",
  },
  {
    name: "allow-unsafe-files",
    kind: "flag",
    help: "also plugins, configuration and directories that others than root can write: for tests",
  },
  {
    name: "max-failed",
    kind: "value",
    value: "N",
    help: "attachments that could not be detached which one pod may leave (default 16; 0: any number)",
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
      "time for a verb or a LOCK, repeatable, or for all: 500ms, 30s, 2m (default ADD=2m LOCK=2m DEL=1m CHECK=30s)",
  },
  { name: "plugin-env", kind: "list", value: "NAME", help: "a variable that plugins may see, repeatable" },
  { name: "json", kind: "flag", help: "print JSON: results, errors and logs" },
  { name: "log-level", kind: "value", value: "LEVEL", help: "debug, info, warn (default) or error" },
  {
    name: "log-format",
    kind: "value",
    value: "FORMAT",
    help: "text or json (default: text, json with --json)",
  },
  { name: "no-color", kind: "flag", help: "no colours (env NO_COLOR)" },
  { name: "help", alias: "h", kind: "flag", help: "show this help" },
  { name: "version", alias: "V", kind: "flag", help: "show the version" },
];

/**
 * Reads a command line by its options. They may stand before, between and behind the operands; where
 * the operands end in a command of its own (`ownOperands` of them come before it), nothing from that
 * command on is taken for an option.
 *
 * @throws {CniError} kind `usage`, naming the flag
 */
export function parseCommandLine(
  args: readonly string[],
  options: readonly OptionSpec[],
  { ownOperands = Infinity }: { ownOperands?: number | undefined } = {},
): Omit<CommandInput, "io"> {
  const { flags, operands, rest } = sortArguments(args, options, ownOperands);
  const names = (...kinds: OptionSpec["kind"][]) =>
    options.filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name);
  const parsed: Record<string, unknown> = parseArgs([...flags], {
    boolean: names("flag"),
    string: names("value", "list"),
    collect: names("value", "list"),
  });
  const all = (name: string) => Array.isArray(parsed[name]) ? parsed[name].map(String) : [];
  for (const { name } of options.filter((option) => option.kind === "value")) {
    if (!GLOBAL_OPTIONS.some((global) => global.name === name)) requireOne(name, all(name));
  }
  return {
    operands,
    rest,
    flag: (name) => parsed[name] === true,
    value: (name) => all(name).at(-1),
    list: all,
  };
}

function requireOne(name: string, values: readonly string[]): void {
  const other = values.find((value) => value !== values[0]);
  if (other === undefined) return;
  throw new CniError("usage", `option --${name} is given twice, as "${values[0]}" and as "${other}"`);
}

/** The index of the first argument that is neither an option nor the value of one. */
export function firstOperand(args: readonly string[], options: readonly OptionSpec[]): number {
  let index = 0;
  for (; index < args.length; index++) {
    const arg = args[index] ?? "";
    if (arg === "--" || !arg.startsWith("-")) break;
    const option = options.find(({ name, alias }) => arg === `--${name}` || arg === `-${alias}`);
    if (option !== undefined && option.kind !== "flag") index++;
  }
  return index;
}

interface SortedArguments {
  /** The options by their long names, and nothing else. */
  readonly flags: readonly string[];
  readonly operands: readonly string[];
  readonly rest: readonly string[];
}

/**
 * The parser takes a missing value for an empty one and an operand "true" for the value of the flag
 * before it, so it gets only options, each with what it needs.
 */
function sortArguments(
  args: readonly string[],
  options: readonly OptionSpec[],
  ownOperands: number,
): SortedArguments {
  const flags: string[] = [];
  const operands: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    if (arg === "--") return { flags, ...behindEnd(operands, args.slice(index + 1), ownOperands) };
    if (!arg.startsWith("-") || arg === "-") {
      if (operands.length === ownOperands) {
        return { flags, operands: [...operands, ...args.slice(index)], rest: [] };
      }
      operands.push(arg);
      continue;
    }
    for (const { flag, option, inline } of optionsOf(arg, options)) {
      if (option.kind === "flag") {
        if (inline !== undefined) throw new CniError("usage", `option ${flag} takes no value`);
        flags.push(`--${option.name}`);
        continue;
      }
      const value = inline ?? args[++index];
      if (value === undefined || value === "" || (inline === undefined && value === "--")) {
        throw new CniError("usage", `option ${flag} needs a value: ${flag} ${option.value}`);
      }
      flags.push(...tokensOf(option.name, value));
    }
  }
  return { flags, operands, rest: [] };
}

/** What stands behind `--` are operands, whatever they look like, and then the command that they end in. */
function behindEnd(
  before: readonly string[],
  behind: readonly string[],
  ownOperands: number,
): Pick<SortedArguments, "operands" | "rest"> {
  const missing = Math.max(0, ownOperands - before.length);
  const command = behind.slice(missing);
  // Between NAME and CMD another "--" may stand, as if the first were not there.
  return {
    operands: [...before, ...behind.slice(0, missing)],
    rest: missing > 0 && command[0] === "--" ? command.slice(1) : command,
  };
}

/** The parser takes a value on its own that begins with "-" for an option, and loses a joined one of several lines. */
function tokensOf(name: string, value: string): readonly string[] {
  if (!value.startsWith("-")) return [`--${name}`, value];
  if (!value.includes("\n")) return [`--${name}=${value}`];
  throw new CniError("usage", `option --${name}: a value of several lines cannot begin with "-"`);
}

interface GivenOption {
  /** As it was written. */
  readonly flag: string;
  readonly option: OptionSpec;
  readonly inline: string | undefined;
}

/** One option, or the several of a group of short flags such as `-fq`. */
function optionsOf(arg: string, options: readonly OptionSpec[]): readonly GivenOption[] {
  const [flag = "", inline] = splitOnce(arg);
  const find = (text: string) =>
    options.find(({ name, alias }) => text === `--${name}` || text === `-${alias}`);
  const option = find(flag);
  if (option !== undefined) return [{ flag, option, inline }];
  const letters = arg.startsWith("--") ? [] : [...arg.slice(1)];
  const group = letters.map((letter) => ({ flag: `-${letter}`, option: find(`-${letter}`) }));
  const given = group.flatMap(({ flag, option }) =>
    option?.kind === "flag" ? [{ flag, option, inline: undefined }] : []
  );
  if (given.length === 0 || given.length < letters.length) {
    throw new CniError("usage", `unknown option ${flag}`, { hint: "`--help` lists the options" });
  }
  return given;
}

function splitOnce(arg: string): readonly [string, string | undefined] {
  const equals = arg.indexOf("=");
  return equals < 0 ? [arg, undefined] : [arg.slice(0, equals), arg.slice(equals + 1)];
}

/** The help of one command. */
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

/** The options, one a line, aligned. */
export function optionLines(options: readonly OptionSpec[]): string {
  const rows = options.map(({ name, alias, value, help }) => {
    const short = alias === undefined ? "    " : `-${alias}, `;
    return [`${short}--${name}${value === undefined ? "" : ` ${value}`}`, help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`).join("\n");
}
