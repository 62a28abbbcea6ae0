import { LINT_FORMATS } from "../lint/finding.ts";
import type { Command } from "./command.ts";

/** `podwire lint` */
export const LINT: Command = {
  name: "lint",
  summary: "Find what is wrong, or probably not meant, in configuration files",
  operands: "[FILE|DIR]...",
  count: [0, Infinity],
  options: [
    {
      name: "exclude",
      alias: "x",
      kind: "list",
      value: "RULE",
      help: "leave this rule out, repeatable",
    },
    { name: "strict", kind: "flag", help: "exit 1 also if there are only warnings" },
    { name: "no-plugins", kind: "flag", help: "do not look for plugins, and do not ask them for versions" },
    {
      name: "format",
      kind: "value",
      value: "FORMAT",
      help: `${LINT_FORMATS.join(", ")} (default text, json with --json)`,
    },
    { name: "rules", kind: "flag", help: "list the rules" },
    { name: "explain", kind: "value", value: "RULE", help: "explain a rule" },
  ],
  description:
    "Without FILE or DIR, looks at the configuration directory. It finds what the engine and the built-in plugins would refuse,\n" +
    "and what an operator should know: overlapping subnets, mistyped keys, plugins that are missing or too old, and so on.\n" +
    "Plugins are asked for their versions, for at most 5 s each (`--timeout VERSION=1s`). Nothing is changed.\n\n" +
    'A list can turn rules off for itself, in a member that no plugin gets: "podwireLintExclude": ["RULE"].\n' +
    "Exits 1 if there is an error, 3 if a path does not exist. Warnings count only with --strict, notes never.",
  examples: [
    "podwire lint",
    "podwire lint --strict --no-plugins deploy/cni/*.conflist",
    "podwire lint --explain overlapping-subnets",
    "podwire lint --format sarif >lint.sarif",
  ],
  needsRoot: false,
  load: async () => (await import("./lint.ts")).lintCommand,
};

/** `podwire schema` */
export const SCHEMA: Command = {
  name: "schema",
  summary: "Print the JSON Schema of a network configuration list, for editors and other programs",
  operands: "",
  count: [0, 0],
  options: [],
  description:
    "JSON Schema of 2020-12, with the members that the built-in plugins read. It accepts all that podwire accepts. `lint` finds\n" +
    "more: a schema knows no addresses, and an unknown key is allowed.",
  examples: ["podwire schema >/usr/share/podwire/conflist.schema.json"],
  needsRoot: false,
  load: async () => (await import("./schema.ts")).schema,
};
