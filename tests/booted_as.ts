import { type RunCommand, runCommand } from "../lib/host/command.ts";

/** Runs commands as on a machine whose boot has this ID. */
export function bootedAs(boot: string): RunCommand {
  return async (request) => {
    const outcome = await runCommand(request);
    const asked = request.args?.includes("/proc/sys/kernel/random/boot_id");
    return asked ? { ...outcome, stdout: `${boot}\n` } : outcome;
  };
}
