import type { Command, OptionSpec } from "./command.ts";
import { networkHelp } from "./network_help.ts";
import { runOptions } from "./run_options.ts";

/** `--show-secrets` of `plan` and of `run --dry-run`. */
export const SHOW_SECRETS: OptionSpec = {
  name: "show-secrets",
  kind: "flag",
  help: "with a plan, print what looks like a password, a token or a key as it is",
};

/** `podwire plan` */
export const PLAN: Command = {
  name: "plan",
  summary: "Print what `run` would do, as a script that can be run by hand, and do nothing",
  operands: "[NAME]",
  count: [0, 1],
  options: [...runOptions(), SHOW_SECRETS],
  description:
    "Takes the options of `run`. Everything is looked up and validated as `run` does it. Each plugin is shown with its path, its\n" +
    "environment and its input. `run --dry-run` is the same.\n\n" + networkHelp(),
  examples: ["podwire plan web", "podwire plan web --network storage --json", "podwire run web --dry-run"],
  needsRoot: false,
  load: async () => (await import("./plan.ts")).plan,
};
