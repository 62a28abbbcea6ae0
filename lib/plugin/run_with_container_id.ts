import { DEFAULT_PATH, type RunCommand } from "../host/command.ts";

/** What a built-in starts shows for which container it runs, as an executable plugin does. */
export function runWithContainerId(run: RunCommand, containerId: string): RunCommand {
  return (request) =>
    run({
      ...request,
      env: { PATH: DEFAULT_PATH, LC_ALL: "C", ...request.env, CNI_CONTAINERID: containerId },
    });
}
