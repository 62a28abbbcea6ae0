/**
 * A daemon in a process of its own: `daemon_model_process.ts OPTIONS`, with OPTIONS as JSON. It prints
 * `ready` once it serves.
 */
import { Daemon } from "../../lib/daemon/daemon.ts";
import { daemonOptions, type DaemonSettings } from "./daemon_model_options.ts";

async function main(): Promise<void> {
  const settings: DaemonSettings = JSON.parse(Deno.args[0] ?? "{}");
  const quiet = () => {};
  const log = { debug: quiet, info: quiet, warn: quiet, error: console.error };
  const asked = Promise.withResolvers<void>();
  Deno.addSignalListener("SIGTERM", () => asked.resolve());
  const daemon = await Daemon.start({ ...daemonOptions(settings), log });
  console.log("ready");
  await asked.promise;
  await daemon.end();
  Deno.exit(0);
}

if (import.meta.main) await main();
