import { builtins } from "../builtin/mod.ts";
import { CniError } from "../cni/error.ts";
import { type Command, type CommandInput, GLOBAL_OPTIONS, type OptionSpec } from "./command.ts";

/** Returns `podwire completion SHELL` for these commands. */
export function completion(commands: readonly Command[]): (input: CommandInput) => Promise<number> {
  return ({ io, operands }) => {
    const [shell = ""] = operands;
    const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined;
    if (script === undefined) {
      throw new CniError(
        "usage",
        `no completion for "${shell}"; there are ${Object.keys(SCRIPTS).join(", ")}`,
      );
    }
    io.write(script(commands));
    return Promise.resolve(0);
  };
}

const SCRIPTS: Readonly<Record<string, (commands: readonly Command[]) => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
const SANDBOXES = "$(podwire ps 2>/dev/null | awk 'NR > 1 { print $3 }')";
const NETWORKS = "$(podwire networks 2>/dev/null | awk '$3 == \"used\" { print $2 }')";
/** The operands that a command can have, as bash expands them. */
const OPERANDS: Readonly<Record<string, string>> = {
  stop: SANDBOXES,
  rm: SANDBOXES,
  inspect: SANDBOXES,
  port: SANDBOXES,
  exec: SANDBOXES,
  repair: SANDBOXES,
  add: NETWORKS,
  check: `${NETWORKS} ${SANDBOXES}`,
  del: NETWORKS,
  status: NETWORKS,
  gc: NETWORKS,
  "network rm": NETWORKS,
  "network inspect": NETWORKS,
  "network connect": SANDBOXES,
  "network disconnect": SANDBOXES,
  plugin: Object.keys(builtins).join(" "),
  completion: Object.keys(SCRIPTS).join(" "),
};

function flagsOf(options: readonly OptionSpec[]): string {
  return [...options, ...GLOBAL_OPTIONS].map(({ name }) => `--${name}`).join(" ");
}

/** The groups of commands, such as `network`, each with the second words of its commands. */
function groupsOf(commands: readonly Command[]): ReadonlyMap<string, readonly Command[]> {
  const grouped = commands.filter(({ name }) => name.includes(" "));
  return Map.groupBy(grouped, ({ name }) => name.slice(0, name.indexOf(" ")));
}

/** The first words of all commands, each once. */
function firstWords(commands: readonly Command[]): readonly string[] {
  return [...new Set(commands.map(({ name }) => name.split(" ")[0] ?? ""))];
}

function secondWord({ name }: Command): string {
  return name.slice(name.indexOf(" ") + 1);
}

function bashScript(commands: readonly Command[]): string {
  const groups = groupsOf(commands);
  const cases = commands.map(({ name, options }) => {
    return `    "${name}") options="${flagsOf(options)}" operands="${OPERANDS[name] ?? ""}" ;;\n`;
  });
  const groupCases = [...groups].map(([group, members]) => {
    return `    ${group}) options="${flagsOf([])}" operands="${members.map(secondWord).join(" ")}" ;;\n`;
  });
  const withValue = GLOBAL_OPTIONS.filter(({ kind }) => kind !== "flag").map(({ name }) => `--${name}`);
  return `_podwire() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" options="" operands="" command="" word skip=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [ -n "$skip" ]; then skip=""; continue; fi
    case "$word" in
    ${withValue.join("|")}) skip=1 ;;
    -*) ;;
    ${[...groups.keys()].join("|")}) command="$word" ;;
    *) command="\${command:+$command }$word"; break ;;
    esac
  done
  case "$command" in
${cases.join("")}${groupCases.join("")}    "") options="${flagsOf([])}" operands="${
    firstWords(commands).join(" ")
  }" ;;
  esac
  case "$cur" in
    -*) operands="" ;;
    *) [ -z "$operands" ] || options="" ;;
  esac
  COMPREPLY=($(compgen -W "$operands $options" -- "$cur"))
}
complete -o default -F _podwire podwire
`;
}

function zshScript(commands: readonly Command[]): string {
  return `#compdef podwire\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(commands)}`;
}

function fishScript(commands: readonly Command[]): string {
  const groups = groupsOf(commands);
  const seen = (words: readonly string[]) => `__fish_seen_subcommand_from ${words.join(" ")}`;
  const none = `not ${seen(firstWords(commands))}`;
  const names = [...groups].map(([group, members]) => {
    const summary = `${group}: ${members.map(secondWord).join(", ")}`;
    return `complete -c podwire -f -n '${none}' -a ${group} -d ${quote(summary)}`;
  });
  const lines = commands.flatMap((command) => {
    const { name, summary, options } = command;
    const [group = ""] = name.split(" ");
    const members = groups.get(group);
    const word = secondWord(command);
    // The same word may be a command of its own too.
    const when = members === undefined
      ? ` -n '${[seen([name]), ...[...groups.keys()].map((other) => `not ${seen([other])}`)].join("; and ")}'`
      : ` -n '${seen([group])}; and ${seen([word])}'`;
    const unnamed = members === undefined
      ? none
      : `${seen([group])}; and not ${seen(members.map(secondWord))}`;
    const operands = OPERANDS[name]?.replace("$(", "(");
    return [
      `complete -c podwire -f -n '${unnamed}' -a ${word} -d ${quote(summary)}`,
      ...(operands === undefined ? [] : [`complete -c podwire -f${when} -a ${quote(operands)}`]),
      ...options.map((option) => fishOption(option, when)),
    ];
  });
  return `${[...names, ...lines, ...GLOBAL_OPTIONS.map((option) => fishOption(option, ""))].join("\n")}\n`;
}

function fishOption({ name, alias, kind, help }: OptionSpec, when: string): string {
  const short = alias === undefined ? "" : ` -s ${alias}`;
  const value = kind === "flag" || kind === "optional" ? "" : " -r";
  return `complete -c podwire${when} -l ${name}${short}${value} -d ${quote(help)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
