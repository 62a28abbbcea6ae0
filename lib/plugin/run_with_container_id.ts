import { DEFAULT_PATH, type RunCommand } from "../host/command.ts";

/** Adds the container ID to the environment of the commands of a built-in plugin, as an executable plugin has it. */
export function runWithContainerId(run: RunCommand, containerId: string): RunCommand {
  return (request) =>
    run({
      ...request,
      env: { PATH: DEFAULT_PATH, LC_ALL: "C", ...request.env, CNI_CONTAINERID: containerId },
    });
}
