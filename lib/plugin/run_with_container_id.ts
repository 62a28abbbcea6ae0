import { DEFAULT_PATH, type RunCommand, runningAs } from "../host/command.ts";

/**
 * Adds the container ID to the environment of commands, as an executable plugin has it: those that a built-in plugin runs, and
 * those that make and remove a sandbox.
 */
export function runWithContainerId(run: RunCommand, containerId: string): RunCommand {
  return runningAs(run, (request) =>
    run({
      ...request,
      env: { PATH: DEFAULT_PATH, LC_ALL: "C", ...request.env, CNI_CONTAINERID: containerId },
    }));
}
