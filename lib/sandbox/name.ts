import { CniError } from "../spec/error.ts";

const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** The longest name that Kubernetes gives a pod. */
const LONGEST = 253;

/**
 * Refuses what could not stand in a path, in `CNI_ARGS` or in a table.
 *
 * @throws {CniError} kind `usage`
 */
export function validateName(what: string, text: string, longest = LONGEST): void {
  if (text.length > longest) {
    throw new CniError("usage", `the ${what} "${text}" is longer than ${longest} characters`);
  }
  if (PATTERN.test(text)) return;
  const rule = "a letter or digit first, then letters, digits, `_`, `.` and `-`";
  throw new CniError("usage", `the ${what} "${text}" is invalid`, { details: rule });
}
