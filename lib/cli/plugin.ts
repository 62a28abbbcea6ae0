import { builtins } from "../builtin/mod.ts";
import { CniError } from "../cni/error.ts";
import { runPlugin } from "../plugin/run_plugin.ts";
import { loadBuiltin } from "../plugin/serve.ts";
import type { CommandInput } from "./command.ts";
import { PLUGIN_ENVIRONMENT } from "./settings.ts";

/**
 * `podwire plugin TYPE`: runs as the plugin, for any runtime. A delegate is searched in `CNI_PATH`, else it is built
 * in.
 */
export async function plugin({ io, operands: [type = ""], flag }: CommandInput): Promise<number> {
  const found = await loadBuiltin(builtins, type);
  const allowUnsafeFiles = flag("allow-unsafe-files");
  const environment = PLUGIN_ENVIRONMENT;
  if (found !== undefined) return await runPlugin(found, io, { builtins, environment, allowUnsafeFiles });
  const known = Object.keys(builtins).join(", ");
  throw new CniError("not-found", `there is no built-in plugin "${type}"; the built-in plugins are ${known}`);
}
