import type { CommandRequest } from "../../lib/host/command.ts";

/** Whether a program makes a network namespace: `unshare`, alone or after the directory is shared. */
export function createsNetns({ program, args = [] }: CommandRequest): boolean {
  return program === "unshare" || args.some((arg) => arg.includes("exec unshare"));
}
