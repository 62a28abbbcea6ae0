import { builtins } from "../builtin/mod.ts";
import { runPlugin } from "../plugin/run_plugin.ts";
import { CniError } from "../spec/error.ts";
import type { CommandInput } from "./command.ts";
import { PLUGIN_ENVIRONMENT } from "./settings.ts";

/** `podwire plugin TYPE`: is the plugin, for any runtime. What it delegates to is found in `CNI_PATH`, else built in. */
export async function plugin({ io, operands: [type = ""] }: CommandInput): Promise<number> {
  const found = Object.hasOwn(builtins, type) ? builtins[type] : undefined;
  if (found !== undefined) return await runPlugin(found, io, { builtins, environment: PLUGIN_ENVIRONMENT });
  const known = Object.keys(builtins).join(", ");
  throw new CniError("not-found", `no built-in plugin "${type}"; there are ${known}`);
}
