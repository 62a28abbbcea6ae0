import { CniError } from "../cni/error.ts";
import { isPrintable } from "../cni/name.ts";

/** Keys of Kubernetes are a domain of 253 characters, a slash, and 63 characters. */
const LONGEST_KEY = 317;
const LONGEST_VALUE = 4096;

/**
 * Refuses labels that a table could not show unambiguously, or that a filter `K=V` could not select.
 *
 * @throws {CniError} kind `usage`
 */
export function validateLabels(labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    const refuse = (msg: string) => new CniError("usage", `the label "${key}" ${msg}`, { path: "labels" });
    if (key === "" || /[\s=]/.test(key) || !isPrintable(key)) {
      throw refuse("has an empty key, or one with a space, `=` or an unprintable character");
    }
    if (key.length > LONGEST_KEY) throw refuse(`has a key of more than ${LONGEST_KEY} characters`);
    if (!isPrintable(value)) {
      throw refuse("has a value of several lines, or with an unprintable character");
    }
    if (value.length > LONGEST_VALUE) throw refuse(`has a value of more than ${LONGEST_VALUE} characters`);
  }
}

/**
 * Refuses annotations that could control a terminal or hide characters. A value may have several lines: `kubectl apply`
 * stores whole files in one.
 *
 * @throws {CniError} kind `usage`
 */
export function validateAnnotations(annotations: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(annotations)) {
    const refuse = (msg: string) =>
      new CniError("usage", `the annotation ${JSON.stringify(key)} ${msg}`, { path: "annotations" });
    if (key === "" || /\s/u.test(key) || !isPrintable(key)) {
      throw refuse("has an empty key, or one with a space or an unprintable character");
    }
    if (!isPrintable(value.replaceAll(/[\t\n\r]/g, ""))) {
      throw refuse("has a value with an unprintable character");
    }
  }
}
