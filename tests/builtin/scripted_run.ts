import type { CommandOutcome, CommandRequest, RunCommand } from "../../lib/host/command.ts";

/** The outcome of a program in a test; the default is success without output. */
export type Reply = Partial<Pick<CommandOutcome, "code" | "stdout" | "stderr">>;

/** A command that was run, as typed in a shell, and its standard input. */
export interface Ran {
  readonly command: string;
  readonly stdin: string;
}

/** Answers commands instead of running them, and records them. */
export class ScriptedRun {
  readonly ran: Ran[] = [];

  /** `reply` answers each command; an Error is thrown, as if the program could not be started. */
  constructor(readonly reply: (ran: Ran) => Reply | Error | undefined) {}

  readonly run: RunCommand = ({ program, args = [], stdin = "" }: CommandRequest) => {
    const ran = { command: [program, ...args].join(" "), stdin };
    this.ran.push(ran);
    const reply = this.reply(ran) ?? {};
    if (reply instanceof Error) return Promise.reject(reply);
    const { code = 0, stdout = "", stderr = "" } = reply;
    return Promise.resolve({ code, stdout, stderr, signal: null, elapsedMs: 0, ended: "exit" });
  };

  get commands(): string[] {
    return this.ran.map(({ command }) => command);
  }
}
