import { settled } from "../async/wait.ts";
import { printJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CommandOutcome } from "../host/command.ts";
import { permissionFlag } from "../host/permissions.ts";
import type { AttemptContext, PluginCall } from "./call.ts";
import { type Delegate, type Plugin, servePlugin } from "./serve.ts";

/** A built-in plugin ends its own commands when the signal fires; after this time the runtime stops waiting for it. */
const GRACE_MS = 3_000;

/**
 * Runs a built-in plugin with the same environment, standard input and output document as an executable, so that both
 * behave the same.
 */
export async function runBuiltin(
  plugin: Plugin,
  { config, signal }: PluginCall,
  { env, run, onStderrLine, delegate }: AttemptContext & { readonly delegate: Delegate },
): Promise<CommandOutcome> {
  const started = performance.now();
  signal.throwIfAborted();
  let refused: unknown;
  const served = servePlugin(plugin, {
    env: (name) => env[name],
    stdin: () => Promise.resolve(printJson(config)),
    signal,
    run,
    delegate,
    onFailure: (error) => {
      if (permissionFlag(error) !== undefined) refused = error;
    },
  });
  const outcome = await raceGrace(served, signal);
  // The error document has no member for a permission that the caller lacks to run the plugin.
  if (outcome?.code !== 0 && refused !== undefined) throw asCniError(refused);
  const elapsedMs = Math.round(performance.now() - started);
  if (outcome === undefined || (signal.aborted && outcome.code !== 0)) {
    return {
      code: -1,
      signal: null,
      stdout: "",
      stderr: outcome?.stderr ?? "",
      elapsedMs,
      ended: "aborted",
    };
  }
  for (const line of outcome.stderr.split("\n")) if (line !== "") onStderrLine(line);
  return { ...outcome, signal: null, elapsedMs, ended: "exit" };
}

/** Resolves with the value, or with undefined if there is none some time after the signal fired. */
async function raceGrace<T>(value: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const fired = Promise.withResolvers<void>();
  const fire = () => fired.resolve();
  signal.addEventListener("abort", fire, { once: true });
  if (signal.aborted) fire();
  try {
    return await Promise.race([value, fired.promise.then(() => settled(value, GRACE_MS))]);
  } finally {
    signal.removeEventListener("abort", fire);
  }
}
