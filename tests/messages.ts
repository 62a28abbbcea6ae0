// Reads the messages that the code can make from its syntax tree, and holds them to one grammar.
import { oldWordsIn } from "./words.ts";

/** A message as the code has it, with `{}` in the place of each value. */
export interface Message {
  /** What it is used for: the class of the error, the function that it is given to, or the member that it becomes. */
  readonly use: string;
  readonly text: string;
}

// deno-lint-ignore no-explicit-any
type Node = any;

/** Members and variables whose text people read. */
const MEMBERS: readonly string[] = ["msg", "hint", "details", "why", "reason"];
/** Functions whose texts are not for people: they compare, run a script or make the help. */
const NO_MESSAGES: readonly string[] = [
  "RegExp",
  "exec",
  "includes",
  "startsWith",
  "endsWith",
  "replace",
  "replaceAll",
  "join",
  "split",
  "encode",
  "test",
  "cut",
  "runScript",
  "wrap",
  "write",
  "notify",
];
/** Files that are all scripts, help or other documents: only `words_test.ts` reads them. */
const DOCUMENTS =
  /^lib\/(cli\/(\w*help|command|commands|serve_command|nri_command|completion|traffic)|daemon\/(unit|routes|openapi|schemas|metrics))\.ts$/;

/** Texts of libcni, of plugins or of Deno, which callers compare with those of the original. */
const VERBATIM: readonly string[] = [
  "Required prevResult missing",
  "missing network name:",
  "cannot convert: no valid IP addresses",
  'Not a directory: "{}"',
  "OpenTelemetry Context Key SPAN",
];
/** How Deno words an error of the kernel. */
const OF_THE_KERNEL = /\(os error (\d+|\{\})\)/;

/** The texts that an expression can be: both of a conditional one, and the joined parts of a sum. */
function textsOf(node: Node): string[] {
  switch (node?.type) {
    case "Literal":
      return typeof node.value === "string" ? [node.value] : [];
    case "TemplateLiteral":
      return [node.quasis.map((quasi: Node) => quasi.cooked ?? quasi.raw).join("{}")];
    case "ConditionalExpression":
      return [...textsOf(node.consequent), ...textsOf(node.alternate)];
    case "LogicalExpression":
      return [...textsOf(node.left), ...textsOf(node.right)];
    case "BinaryExpression":
      return node.operator === "+"
        ? textsOf(node.left).flatMap((left) => textsOf(node.right).map((right) => left + right))
        : [];
    default:
      return [];
  }
}

function nameOf(node: Node): string {
  switch (node?.type) {
    case "Identifier":
    case "PrivateIdentifier":
      return node.name;
    case "Super":
      return "super";
    case "CallExpression":
      return nameOf(node.callee);
    case "MemberExpression":
      return node.computed ? "" : nameOf(node.property);
    default:
      return "";
  }
}

/** Two words of letters: one word alone is a kind, a name or a key, and lines of `ip` are not sentences. */
const isSentence = (text: string) =>
  /[a-z]+ [a-z]+/i.test(text) && !/^(route|address|link|delete|add) \w+ (\{\}|\w+) /.test(text);

/** All messages of a source text. */
export function messagesOf(path: string, source: string): Message[] {
  if (DOCUMENTS.test(path)) return [];
  const found: Message[] = [];
  const take = (use: string, nodes: readonly Node[]) => {
    for (const text of nodes.flatMap(textsOf)) {
      if (isSentence(text) && !VERBATIM.includes(text) && !OF_THE_KERNEL.test(text)) {
        found.push({ use, text });
      }
    }
  };
  const onCall = (node: Node) => {
    const name = nameOf(node.callee);
    if (!NO_MESSAGES.includes(name)) take(name, node.arguments);
  };
  const create = () => ({
    NewExpression: onCall,
    CallExpression: onCall,
    ReturnStatement: (node: Node) => take("return", [node.argument]),
    ArrowFunctionExpression: (node: Node) => take("return", [node.body]),
    Property: (node: Node) => {
      if (MEMBERS.includes(nameOf(node.key))) take(nameOf(node.key), [node.value]);
    },
    VariableDeclarator: (node: Node) => {
      if (MEMBERS.includes(nameOf(node.id))) take(nameOf(node.id), [node.init]);
    },
  });
  // deno-lint-ignore no-explicit-any
  Deno.lint.runPlugin({ name: "messages", rules: { all: { create: create as any } } }, path, source);
  return found;
}

const CONTRACTION = /\b(\w+n't|\w+'(re|ve|ll|m)|(it|that|there|what|let|here|who)'s)\b/i;
/** Names that have a capital letter wherever they stand. */
const NAMES = /^(Deno|Linux|Go|Kubernetes|Unix)\b/;

/** What is wrong with a message. */
export function faultsOf({ use, text }: Message): string[] {
  const faults = oldWordsIn(text).map((word) => `says "${word.trim()}"`);
  if (/[^.]\.$/.test(text.trimEnd())) faults.push("ends with a full stop");
  if (/\S {2,}\S/.test(text) && use !== "line") faults.push("has two spaces");
  if (CONTRACTION.test(text)) faults.push("has a contraction");
  if (/^cannot (?!be )/.test(text)) faults.push('begins with "cannot" instead of "Cannot"');
  if (/^Cannot\b/.test(text) && !text.includes(": ")) {
    faults.push('says "Cannot" and no reason after a colon');
  }
  if (/^[A-Z][a-z]/.test(text) && !/^Cannot\b/.test(text) && !NAMES.test(text)) {
    faults.push('begins with a capital letter and is not "Cannot ...: ..."');
  }
  // In a command of a hint, the quotes are those of the shell.
  if (!text.includes("`") && /(^|[\s(])'[^']*'(?=$|[\s,;:)])/.test(text)) faults.push("has single quotes");
  if (/\bplease\b|!$/i.test(text)) faults.push("begs or shouts");
  return faults;
}
