import { CniError } from "../spec/error.ts";

/** Those of Kubernetes are a domain of 253 characters, a slash, and 63 more. */
const LONGEST_KEY = 317;
const LONGEST_VALUE = 4096;

/**
 * Refuses labels that could not be told from each other, or be asked for by a filter `K=V`.
 *
 * @throws {CniError} kind `usage`
 */
export function validateLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    const refuse = (msg: string) => new CniError("usage", `the label "${key}" ${msg}`, { path: "labels" });
    if (key === "" || /[\s=\p{Cc}\p{Cf}\p{Cs}]/u.test(key)) {
      throw refuse("has an empty key, or one with a space, `=` or an unprintable character");
    }
    if (key.length > LONGEST_KEY) throw refuse(`has a key of more than ${LONGEST_KEY} characters`);
    if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(value)) {
      throw refuse("has a value of several lines, or with an unprintable character");
    }
    if (value.length > LONGEST_VALUE) throw refuse(`has a value of more than ${LONGEST_VALUE} characters`);
  }
}
