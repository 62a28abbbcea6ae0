import { builtins } from "../builtin/mod.ts";
import { PluginRunner } from "../plugin/exec.ts";
import { decodeEnvironment } from "../plugin/invocation.ts";
import { type Delegate, servePlugin } from "../plugin/serve.ts";
import { CniError } from "../spec/error.ts";
import { asResult } from "../spec/result.ts";
import { isSpecVersion } from "../spec/version.ts";
import type { CommandInput } from "./command.ts";
import { PLUGIN_ENVIRONMENT, withSignals } from "./settings.ts";

/** `podwire plugin TYPE`: is the plugin, for any runtime. */
export async function plugin(input: CommandInput): Promise<number> {
  const { io } = input;
  const [type = ""] = input.operands;
  const found = Object.hasOwn(builtins, type) ? builtins[type] : undefined;
  if (found === undefined) {
    const known = Object.keys(builtins).join(", ");
    throw new CniError("not-found", `no built-in plugin "${type}"; there are ${known}`);
  }
  return await withSignals(io, async (signal) => {
    const { stdout, stderr, code } = await servePlugin(found, {
      env: (name) => io.env(name),
      stdin: () => io.readStdin(),
      signal,
      delegate: delegateOf(input, signal),
    });
    io.writeError(stderr);
    io.write(stdout);
    return code;
  });
}

/** Runs an IPAM plugin with the variables of this call: from `CNI_PATH`, else built in. */
function delegateOf({ io }: CommandInput, signal: AbortSignal): Delegate {
  return async (type, config, verb) => {
    const invocation = decodeEnvironment((name) => io.env(name));
    const environment = PLUGIN_ENVIRONMENT.flatMap((name) => {
      const value = io.env(name);
      return value === undefined ? [] : [[name, value] as const];
    });
    const runner = new PluginRunner({
      pluginDirs: invocation.path,
      builtins,
      environment: Object.fromEntries(environment),
      onStderrLine: ({ line }) => io.writeError(`${line}\n`),
    });
    const call = { ...invocation, verb: verb ?? invocation.verb, type, config, signal };
    if (call.verb !== "ADD") {
      await runner.call(call);
      return undefined;
    }
    const version = String(config.cniVersion ?? "");
    return asResult(await runner.add(call, isSpecVersion(version) ? version : "0.1.0"));
  };
}
