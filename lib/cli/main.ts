import { leftOpen } from "../host/inherited.ts";
import type { Io } from "../host/io.ts";
import {
  type Command,
  commandHelp,
  type CommandInput,
  firstOperand,
  GLOBAL_OPTIONS,
  optionLines,
  type OptionSpec,
  parseCommandLine,
} from "./command.ts";
import { asksForVersion, showVersion, VERSION } from "./version.ts";

/**
 * The command line: finds the command, runs it, and turns an error into a message and an exit code. Returns 0 when done,
 * 1 failed, 2 wrong usage, 3 not found, 4 not permitted, 5 timed out, 6 not ready, 130 interrupted.
 */
export async function main(io: Io): Promise<number> {
  const format = { json: wantsJson(io.args) };
  try {
    // Scripts call this in a loop, and it needs none of the modules that are loaded below.
    if (asksForVersion(io.args)) return showVersion(io);
    return await dispatch(io, format);
  } catch (error) {
    const { reportFailure } = await import("./failure.ts");
    const { text, code } = reportFailure(error, format);
    try {
      io.writeError(text);
    } catch {
      // Only the exit code is left to report it.
    }
    return code;
  }
}

/** Whether errors are printed as JSON, even if the command line cannot be parsed. */
function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end < 0 ? args : args.slice(0, end)).includes("--json");
}

async function dispatch(io: Io, format: { json: boolean }): Promise<number> {
  const { COMMANDS } = await import("./commands.ts");
  const { CniError } = await import("../cni/error.ts");
  // --ifname may stand before the command too, because it is a global option of cnitool.
  const ifName = COMMANDS.flatMap(({ options }) => options).filter(({ name }) => name === "ifname");
  const early = [...GLOBAL_OPTIONS, ...ifName];
  const { name, before, after } = splitAtCommand(io.args, early, COMMANDS);
  const global = parseCommandLine(before, early);
  if (global.flag("version")) return showVersion(io);
  const asked = name === "help" ? helpFor(after, COMMANDS, CniError) : name;
  if (asked === undefined) return showHelp(io, COMMANDS, undefined);
  const command = COMMANDS.find((known) => known.name === asked);
  const group = COMMANDS.filter((known) => known.name.startsWith(`${asked} `));
  if (group.length > 0) return showGroup(io, asked, group);
  if (command === undefined) {
    const { didYouMean } = await import("../cni/near_miss.ts");
    const groups = COMMANDS.flatMap(({ name }) =>
      name.includes(" ") ? [name.slice(0, name.indexOf(" "))] : []
    );
    throw new CniError("usage", `unknown command "${asked}"`, {
      hint: didYouMean(asked, [...COMMANDS.map(({ name }) => name), ...groups]) ??
        "`podwire --help` lists the commands",
    });
  }
  if (name === "help" || global.flag("help")) return showHelp(io, COMMANDS, command);
  const input: CommandInput = {
    io,
    ...parseCommandLine([...before, ...after], [...GLOBAL_OPTIONS, ...command.options], {
      // The options after CMD belong to it, whether "--" stands before it or not.
      ...(command.name === "exec" ? { ownOperands: 1 } : {}),
    }),
  };
  format.json = input.flag("json");
  if (input.flag("help")) return showHelp(io, COMMANDS, command);
  if (input.flag("version")) return showVersion(io);
  requireCount(command, input, CniError);
  requireRoot(command, io, CniError);
  const code = await (await command.load())(input);
  warnOfInherited(io);
  return code;
}

/** A command line around the name of the command. */
interface SplitLine {
  /** Undefined if there is none. A command of a group has the name of the group before its own. */
  readonly name: string | undefined;
  readonly before: readonly string[];
  readonly after: readonly string[];
}

function splitAtCommand(
  args: readonly string[],
  early: readonly OptionSpec[],
  commands: readonly Command[],
): SplitLine {
  const place = firstOperand(args, early);
  const before = args.slice(0, place);
  const [name, ...after] = args.slice(place).toSpliced(0, args[place] === "--" ? 1 : 0);
  if (!commands.some((known) => known.name.startsWith(`${name} `))) return { name, before, after };
  const next = firstOperand(after, early);
  if (next === after.length) return { name, before: [...before, ...after], after: [] };
  return {
    name: `${name} ${after[next]}`,
    before: [...before, ...after.slice(0, next)],
    after: after.slice(next + 1),
  };
}

/** Returns the command that `help COMMAND` names. */
function helpFor(
  args: readonly string[],
  commands: readonly Command[],
  CniError: ErrorClass,
): string | undefined {
  const { operands } = parseCommandLine(args, GLOBAL_OPTIONS);
  const [first, second, third] = operands;
  const isGroup = commands.some((known) => known.name.startsWith(`${first} `));
  const extra = isGroup ? third : second;
  if (extra === undefined) return operands.length === 0 ? undefined : operands.join(" ");
  throw new CniError("usage", `unexpected argument "${extra}"`, { hint: "usage: podwire help [COMMAND]" });
}

function warnOfInherited(io: Io): void {
  const numbers = leftOpen();
  if (numbers.length === 0) return;
  const which = `file descriptor${numbers.length > 1 ? "s" : ""} ${numbers.join(", ")}`;
  io.writeError(
    `podwire: warning: plugins could use ${which} of this process, because no shell on this machine can close them\n`,
  );
}

function showHelp(io: Io, commands: readonly Command[], command: Command | undefined): number {
  if (command !== undefined) {
    io.write(commandHelp(command));
    return 0;
  }
  io.write(
    `podwire ${VERSION}: network for pod sandboxes, through CNI\n\nUsage: podwire COMMAND [OPTIONS] [ARGS]\n\n` +
      `Commands:\n${commandLines(commands)}\nGlobal options:\n${optionLines(GLOBAL_OPTIONS)}\n\n` +
      "`podwire COMMAND --help` shows the options of a command.\n" +
      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not permitted, 5 timed out, 6 not ready.\n",
  );
  return 0;
}

/** Shows the commands that begin with a word, such as `network`. */
function showGroup(io: Io, group: string, commands: readonly Command[]): number {
  io.write(
    `Usage: podwire ${group} COMMAND [OPTIONS] [ARGS]\n\nCommands:\n${commandLines(commands)}\n` +
      `\`podwire ${group} COMMAND --help\` shows the options of a command.\n`,
  );
  return 0;
}

function commandLines(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}\n`).join("");
}

type ErrorClass = typeof import("../cni/error.ts").CniError;

function requireCount(command: Command, { operands }: CommandInput, CniError: ErrorClass): void {
  const [least, most] = command.count;
  const given = operands.length;
  const usage = `podwire ${command.name} ${command.operands}`.trimEnd();
  const hint = `usage: ${usage}`;
  if (given < least) throw new CniError("usage", `${command.name} needs ${command.operands}`, { hint });
  if (given > most) throw new CniError("usage", `unexpected argument "${operands[most]}"`, { hint });
}

function requireRoot({ name, needsRoot }: Command, io: Io, CniError: ErrorClass): void {
  if (!needsRoot || io.uid() === 0) return;
  throw new CniError("permission", `${name} needs root: it changes network namespaces`);
}
