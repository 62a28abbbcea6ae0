/** A fake of the one seam for effects: it records what would run, and gives the scripted answers. */
import type { CommandOutcome, CommandRequest, RunCommand } from "../lib/host/command.ts";

/** The outcome of a run; what is left out is a silent success. An error is one of starting. */
export type ScriptedOutcome = Partial<CommandOutcome> | Error;

/** How a request is answered; nothing is a silent success. */
export type Script = (
  request: CommandRequest,
  index: number,
) => ScriptedOutcome | undefined | Promise<ScriptedOutcome | undefined>;

/** The identity that {@linkcode FakeRun} gives to the boot of this machine. */
export const FAKE_BOOT = "7b0fca1e-0000-4000-8000-000000000001";

/** Runs nothing. */
export class FakeRun {
  /** All requests so far, without those for the boot's identity. */
  readonly requests: CommandRequest[] = [];
  readonly run: RunCommand;
  /** The boot ID; a test changes it for a machine that was restarted. */
  boot: string = FAKE_BOOT;

  /**
   * @param script one function for all requests, or an answer for each in turn, of which the last is repeated
   */
  constructor(script: Script | readonly ScriptedOutcome[] = () => undefined) {
    this.run = async (request) => {
      request.signal?.throwIfAborted();
      if (request.args?.includes("/proc/sys/kernel/random/boot_id")) {
        return outcome({ stdout: `${this.boot}\n` });
      }
      const index = this.requests.push(request) - 1;
      const answer = typeof script === "function"
        ? await script(request, index)
        : script[Math.min(index, script.length - 1)];
      if (answer instanceof Error) throw answer;
      const made = outcome(answer);
      for (const line of made.stderr.split("\n")) if (line !== "") request.onStderrLine?.(line);
      return made;
    };
  }

  /** The command lines so far. */
  get lines(): string[] {
    return this.requests.map(({ program, args = [] }) => [program, ...args].join(" "));
  }
}

/** A successful run, apart from what is given. */
export function outcome(partial: Partial<CommandOutcome> = {}): CommandOutcome {
  return { code: 0, signal: null, stdout: "", stderr: "", elapsedMs: 1, ended: "exit", ...partial };
}
