import { CniError } from "../cni/error.ts";
import { isPrintable } from "../cni/name.ts";

const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** The longest name that Kubernetes gives a pod. */
const LONGEST = 253;

/** Any printable text of a line; Kubernetes has UUIDs, and static pods hashes. */
const LONGEST_UID = 253;

/**
 * Refuses a UID that could not stand in a line of a log, in a variable, or in a table.
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
    details: "it has to be printable, without spaces and line ends",
  });
}

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
