import type { OptionSpec } from "./command.ts";

/** The option of the commands that take the name of a sandbox. */
export const NAMESPACE: OptionSpec = {
  name: "namespace",
  kind: "value",
  value: "NAMESPACE",
  help: "the namespace of the sandbox's name, as in Kubernetes (default: default)",
};
