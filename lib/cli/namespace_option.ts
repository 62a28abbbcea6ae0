import type { OptionSpec } from "./command.ts";

/** The option of the commands that take the name of a sandbox. */
export const NAMESPACE: OptionSpec = {
  name: "namespace",
  kind: "value",
  value: "NAMESPACE",
  help: "the namespace of the sandbox's name, as in Kubernetes (default: default)",
};

/** Says what the name of a sandbox is. */
export const NAME_HELP =
  "NAME is a name, an ID, or an unambiguous prefix of an ID with at least four characters.";
