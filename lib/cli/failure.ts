import { escapedInJson, oneLine, withoutLongWords } from "../host/terminal_text.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CniError, ErrorKind } from "../cni/error.ts";

/** How the process ends for each kind of error; 1 for the others. */
const EXIT_CODES: Readonly<Partial<Record<ErrorKind, number>>> = {
  usage: 2,
  "not-found": 3,
  permission: 4,
  timeout: 5,
  "not-ready": 6,
  cancelled: 130,
};

/** An error for somebody to read, or as one JSON object, and the exit code that goes with it. */
export function reportFailure(error: unknown, { json }: { json: boolean }): { text: string; code: number } {
  const failure = asCniError(error);
  const code = EXIT_CODES[failure.kind] ?? 1;
  return { text: `${json ? escapedInJson(JSON.stringify(failure)) : failureText(failure)}\n`, code };
}

/** For a reader; a program gets all of it as JSON. */
function shown(text: string): string {
  return withoutLongWords(oneLine(text));
}

/** What happened in one line, then what the plugin wrote and what to do, where known; a missing right fits on one. */
function failureText(failure: CniError): string {
  const { elapsedMs, stderr, hint, containerId, ifName } = failure.context;
  const facts = [
    ...(failure.code === 0 ? [] : [`code ${failure.code}`]),
    ...(elapsedMs === undefined ? [] : [`after ${(elapsedMs / 1000).toFixed(1)}s`]),
    ...(containerId === undefined ? [] : [`container ${containerId}`]),
    ...(ifName === undefined ? [] : [`interface ${ifName}`]),
  ];
  const about = facts.length === 0 ? "" : ` (${shown(facts.join(", "))})`;
  const isRefused = failure.kind === "permission" && hint !== undefined;
  const lines = [`podwire: ${shown(failure.message)}${about}${isRefused ? `: ${shown(hint)}` : ""}`];
  lines.push(...untold(stderr ?? "", failure.message).map((line) => `  stderr: ${shown(line)}`));
  if (hint !== undefined && !isRefused) lines.push(`  hint: ${shown(hint)}`);
  return lines.join("\n");
}

/** The lines of standard error, unless the message has told them all: quoted, or one after the other. */
function untold(stderr: string, message: string): readonly string[] {
  const lines = stderr.split(/\r?\n/).filter((line) => line.trim() !== "");
  const isTold = message.includes(JSON.stringify(stderr)) ||
    lines.every((line) => message.includes(line.trim()));
  return isTold ? [] : lines;
}
