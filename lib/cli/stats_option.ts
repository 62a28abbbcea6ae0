import type { OptionSpec } from "./command.ts";

/** The option that adds what the interfaces of sandboxes have carried. */
export const STATS: OptionSpec = {
  name: "stats",
  kind: "flag",
  help: "what the interfaces have received and sent (as root)",
};
