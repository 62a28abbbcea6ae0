import { CniError } from "../cni/error.ts";
import { isPrintable } from "../cni/name.ts";

const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** Maximum length of a pod name in Kubernetes. */
const LONGEST = 253;

/** Kubernetes uses UUIDs, and hashes for static pods; here a UID may be any printable text without spaces. */
const LONGEST_UID = 253;

/**
 * Refuses a UID that cannot be printed in a log line, a variable, or a table.
 *
 * @throws {CniError} kind `usage`
 */
export function validateUid(uid: string): void {
  if (uid.length > LONGEST_UID) {
    throw new CniError("usage", `the UID is longer than ${LONGEST_UID} characters`, { path: "uid" });
  }
  if (uid === "" || isPrintable(uid) && !/\s/u.test(uid)) return;
  throw new CniError("usage", `the UID ${JSON.stringify(uid)} is invalid`, {
    path: "uid",
    details: "it has to be printable, without spaces and line breaks",
  });
}

/**
 * Refuses a name that cannot be used in a path, in `CNI_ARGS` or in a table.
 *
 * @throws {CniError} kind `usage`
 */
export function validateName(what: string, text: string, longest = LONGEST): void {
  if (text.length > longest) {
    throw new CniError("usage", `the ${what} "${text}" is longer than ${longest} characters`);
  }
  if (PATTERN.test(text)) return;
  const rule = "it has to be a letter or digit, followed by letters, digits, `_`, `.` and `-`";
  throw new CniError("usage", `the ${what} "${text}" is invalid`, { details: rule });
}
