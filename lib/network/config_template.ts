/** What a template can name. */
export interface TemplateValues {
  /** The networks of the node's pods, in CIDR notation: one, or one of each family. */
  readonly podCIDRs: readonly string[];
  /** The destinations of the default routes of their families. */
  readonly routes: readonly string[];
}

/** A template that cannot be filled. */
export class TemplateError extends Error {
  override readonly name = "TemplateError";

  constructor(readonly problem: string, readonly line: number) {
    super(`line ${line}: ${problem}`);
  }
}

type Variables = ReadonlyMap<string, string | number>;

/** A piece of text, or what stands between double braces. */
interface Token {
  readonly line: number;
  readonly text?: string;
  readonly action?: string;
}

const ACTION = /\{\{(-?)\s*(.*?)\s*(-?)\}\}/gs;
const RANGE = /^range (?<index>\$\w+)\s*,\s*(?<item>\$\w+)\s*:=\s*\.(?<list>\w+)$/;

/**
 * Fills the template of a network configuration: `{{podCIDR}}`, and those of containerd's `conf_template`, `{{.PodCIDR}}` and
 * `{{range $i, $r := .PodCIDRRanges}}...{{if $i}},{{end}}...{{$r}}...{{end}}`, and the same with `.Routes`.
 *
 * @throws {TemplateError} for anything else between double braces
 */
export function fillTemplate(template: string, values: TemplateValues): string {
  const tokens = tokensOf(template);
  const { text, next } = fill(tokens, 0, values, new Map());
  const left = tokens[next];
  if (left !== undefined) throw new TemplateError("there is an {{end}} too many", left.line);
  return text;
}

function tokensOf(template: string): readonly Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  let trims = false;
  const addText = (raw: string, trimsEnd: boolean) => {
    const start = trims ? raw.trimStart() : raw;
    tokens.push({ line, text: trimsEnd ? start.trimEnd() : start });
    line += raw.split("\n").length - 1;
  };
  for (const found of template.matchAll(ACTION)) {
    const [whole, before = "", action = "", after = ""] = found;
    addText(template.slice(at, found.index), before === "-");
    tokens.push({ line, action });
    line += whole.split("\n").length - 1;
    trims = after === "-";
    at = found.index + whole.length;
  }
  addText(template.slice(at), false);
  return tokens;
}

/** Fills from a token on, up to the end or to an `{{end}}`; returns the place of that. */
function fill(
  tokens: readonly Token[],
  from: number,
  values: TemplateValues,
  variables: Variables,
): { readonly text: string; readonly next: number } {
  let text = "";
  let at = from;
  for (; at < tokens.length; at++) {
    const token = tokens[at];
    if (token === undefined || token.action === "end") break;
    if (token.action === undefined) {
      text += token.text ?? "";
      continue;
    }
    if (!/^(?:if|range)\b/.test(token.action)) {
      text += valueOf(token, values, variables);
      continue;
    }
    const rounds = roundsOf(token, values, variables);
    const filled = rounds.map((own) => fill(tokens, at + 1, values, own));
    const { next } = filled[0] ?? fill(tokens, at + 1, values, emptyRound(token, variables));
    if (next >= tokens.length) throw new TemplateError(`{{${token.action}}} has no {{end}}`, token.line);
    text += filled.map((round) => round.text).join("");
    at = next;
  }
  return { text, next: at };
}

/** Returns the variables of each round of a loop; of an `if` one round or none. */
function roundsOf(
  { action = "", line }: Token,
  values: TemplateValues,
  variables: Variables,
): readonly Variables[] {
  const condition = /^if (?<name>\$\w+)$/.exec(action)?.groups?.name;
  if (condition !== undefined) {
    const value = variables.get(condition);
    if (value === undefined) throw new TemplateError(`there is no variable ${condition}`, line);
    return value === 0 || value === "" ? [] : [variables];
  }
  const { index = "", item = "", list = "" } = RANGE.exec(action)?.groups ?? {};
  const lists: Readonly<Record<string, readonly string[]>> = {
    PodCIDRRanges: values.podCIDRs,
    Routes: values.routes,
  };
  const items = Object.hasOwn(lists, list) ? lists[list] : undefined;
  if (items === undefined) throw new TemplateError(`{{${action}}} is not known`, line);
  return items.map((value, place) => new Map([...variables, [index, place], [item, value]]));
}

/** The variables of a loop without a round, which is read all the same to find its end. */
function emptyRound({ action = "" }: Token, variables: Variables): Variables {
  const { index, item } = RANGE.exec(action)?.groups ?? {};
  return index === undefined || item === undefined
    ? variables
    : new Map([...variables, [index, 0], [item, ""]]);
}

function valueOf({ action = "", line }: Token, { podCIDRs }: TemplateValues, variables: Variables): string {
  if (action === "podCIDR" || action === ".PodCIDR") return podCIDRs[0] ?? "";
  const value = variables.get(action);
  if (value === undefined) throw new TemplateError(`{{${action}}} is not known`, line);
  return String(value);
}
