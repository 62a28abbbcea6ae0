import type { CniError, ErrorKind } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { escapedInJson, oneLine, withoutLongWords } from "../host/terminal_text.ts";

/** The exit code for each kind of error; 1 for the others. */
const EXIT_CODES: Readonly<Partial<Record<ErrorKind, number>>> = {
  usage: 2,
  "not-found": 3,
  permission: 4,
  timeout: 5,
  "not-ready": 6,
  cancelled: 130,
};

/** Returns an error as text or as one JSON object, and its exit code. */
export function reportFailure(error: unknown, { json }: { json: boolean }): { text: string; code: number } {
  const failure = asCniError(error);
  const code = EXIT_CODES[failure.kind] ?? 1;
  return { text: `${json ? escapedInJson(JSON.stringify(failure)) : failureText(failure)}\n`, code };
}

/** Shortens a text for people. Programs get all of it as JSON. */
function readable(text: string): string {
  return withoutLongWords(oneLine(text));
}

/**
 * Returns one line with the message, then lines with the plugin's standard error and the hint. A missing permission is
 * one line.
 */
function failureText(failure: CniError): string {
  const { elapsedMs, stderr, hint, containerId, ifName } = failure.context;
  const facts = [
    ...(failure.code === 0 ? [] : [`code ${failure.code}`]),
    ...(elapsedMs === undefined ? [] : [`after ${(elapsedMs / 1000).toFixed(1)}s`]),
    ...(containerId === undefined ? [] : [`container ${containerId}`]),
    ...(ifName === undefined ? [] : [`interface ${ifName}`]),
  ];
  const about = facts.length === 0 ? "" : ` (${readable(facts.join(", "))})`;
  const isPermission = failure.kind === "permission" && hint !== undefined;
  const lines = [`podwire: ${readable(failure.message)}${about}${isPermission ? `: ${readable(hint)}` : ""}`];
  lines.push(...unmentioned(stderr ?? "", failure.message).map((line) => `  stderr: ${readable(line)}`));
  if (hint !== undefined && !isPermission) lines.push(`  hint: ${readable(hint)}`);
  return lines.join("\n");
}

/** Returns the lines of standard error, unless the message contains all of them: quoted, or one after another. */
function unmentioned(stderr: string, message: string): readonly string[] {
  const lines = stderr.split(/\r?\n/).filter((line) => line.trim() !== "");
  const isMentioned = message.includes(JSON.stringify(stderr)) ||
    lines.every((line) => message.includes(line.trim()));
  return isMentioned ? [] : lines;
}
