import { CniError } from "../spec/error.ts";
import { type CommandInput, GLOBAL_OPTIONS } from "./command.ts";
import { COMMANDS } from "./commands.ts";

/** `podwire completion SHELL` */
export function completion(input: CommandInput): Promise<number> {
  const [shell = ""] = input.operands;
  const script = SCRIPTS[shell];
  if (script === undefined || !Object.hasOwn(SCRIPTS, shell)) {
    throw new CniError("usage", `no completion for "${shell}"; there are ${Object.keys(SCRIPTS).join(", ")}`);
  }
  input.io.write(script());
  return Promise.resolve(0);
}

const SCRIPTS: Readonly<Record<string, () => string>> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
const TAKES_NAME = ["stop", "rm", "inspect", "exec"];

function flagsOf(name: string): string {
  const own = COMMANDS.find((command) => command.name === name)?.options ?? [];
  return [...own, ...GLOBAL_OPTIONS].map((option) => `--${option.name}`).join(" ");
}

function bashScript(): string {
  const names = COMMANDS.map(({ name }) => name).join(" ");
  const cases = COMMANDS.map(({ name }) => {
    const words = TAKES_NAME.includes(name) ? " $(podwire ps 2>/dev/null | awk 'NR > 1 { print $3 }')" : "";
    return `    ${name}) words="${flagsOf(name)}${words}" ;;\n`;
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

function zshScript(): string {
  return `#compdef podwire\nautoload -U +X bashcompinit && bashcompinit\n${bashScript()}`;
}

function fishScript(): string {
  const none = "not __fish_seen_subcommand_from " + COMMANDS.map(({ name }) => name).join(" ");
  const lines = COMMANDS.flatMap(({ name, summary, options }) => [
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
