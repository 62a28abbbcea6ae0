import { CniError } from "../spec/error.ts";
import { type Command, type CommandInput, GLOBAL_OPTIONS } from "./command.ts";

/** `podwire completion SHELL`, for these commands. */
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
const TAKES_NAME = ["stop", "rm", "inspect", "exec"];

function flagsOf({ options }: Command): string {
  return [...options, ...GLOBAL_OPTIONS].map(({ name }) => `--${name}`).join(" ");
}

function bashScript(commands: readonly Command[]): string {
  const names = commands.map(({ name }) => name).join(" ");
  const cases = commands.map((command) => {
    const { name } = command;
    const words = TAKES_NAME.includes(name) ? " $(podwire ps 2>/dev/null | awk 'NR > 1 { print $3 }')" : "";
    return `    ${name}) words="${flagsOf(command)}${words}" ;;\n`;
  });
  return `_podwire() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" words command="" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) command="$word"; break ;; esac
  done
  case "$command" in
${cases.join("")}    *) words="${names} ${GLOBAL_OPTIONS.map(({ name }) => `--${name}`).join(" ")}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _podwire podwire
`;
}

function zshScript(commands: readonly Command[]): string {
  return `#compdef podwire\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(commands)}`;
}

function fishScript(commands: readonly Command[]): string {
  const none = "not __fish_seen_subcommand_from " + commands.map(({ name }) => name).join(" ");
  const lines = commands.flatMap(({ name, summary, options }) => [
    `complete -c podwire -f -n '${none}' -a ${name} -d ${quote(summary)}`,
    ...options.map((option) => {
      const short = option.alias === undefined ? "" : ` -s ${option.alias}`;
      const value = option.kind === "flag" ? "" : " -r";
      const when = `__fish_seen_subcommand_from ${name}`;
      return `complete -c podwire -n '${when}' -l ${option.name}${short}${value} -d ${quote(option.help)}`;
    }),
  ]);
  const global = GLOBAL_OPTIONS.map(({ name, help }) => `complete -c podwire -l ${name} -d ${quote(help)}`);
  return `${[...lines, ...global].join("\n")}\n`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "\\'")}'`;
}
