import { CniError, ERROR_CODES } from "./error.ts";

/**
 * The versions of the CNI specification that podwire supports, oldest first.
 *
 * Source: CNI specification, table of released versions.
 */
export const SPEC_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** One of {@linkcode SPEC_VERSIONS}. */
export type SpecVersion = typeof SPEC_VERSIONS[number];

/** The newest of {@linkcode SPEC_VERSIONS}. */
export const CURRENT_VERSION: SpecVersion = "1.1.0";

/** The version of a document without a version. */
export const DEFAULT_VERSION: SpecVersion = "0.1.0";

const PART_NAMES = ["major", "minor", "micro"] as const;

/** Whether a text is exactly one of {@linkcode SPEC_VERSIONS}. */
export function isSpecVersion(text: string): text is SpecVersion {
  return (SPEC_VERSIONS as readonly string[]).includes(text);
}

/**
 * Reads a version as three numbers. Missing parts are zero and the empty text is 0.1.0, as in the Go library.
 *
 * @throws {CniError} of kind `config`, code 6, when the text is not a version
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseVersion } from "./version.ts";
 *
 * assertEquals(parseVersion("1.1"), [1, 1, 0]);
 * ```
 */
export function parseVersion(text: string): readonly [number, number, number] {
  const parts = (text === "" ? DEFAULT_VERSION : text).split(".");
  if (parts.length > PART_NAMES.length) throw invalid(text, "too many parts");
  const [major = 0, minor = 0, micro = 0] = parts.map((part, index) => {
    const number = /^[+-]?\d+$/.test(part) ? Number(part) : Number.NaN;
    if (!Number.isSafeInteger(number)) {
      throw invalid(text, `the ${PART_NAMES[index]} part "${part}" is not a number`);
    }
    return number;
  });
  return [major, minor, micro];
}

/**
 * Orders two versions part by part: -1, 0 or 1.
 *
 * @throws {CniError} as {@linkcode parseVersion}
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parseVersion(a), parseVersion(b)];
  for (const [index, part] of left.entries()) {
    const other = right[index] ?? 0;
    if (part !== other) return part < other ? -1 : 1;
  }
  return 0;
}

/**
 * Whether a version is the given one or newer.
 *
 * @throws {CniError} as {@linkcode parseVersion}
 */
export function atLeast(version: string, minimum: string): boolean {
  return compareVersions(version, minimum) >= 0;
}

function invalid(text: string, state: string): CniError {
  return new CniError("config", `invalid version "${text}": ${state}`, { code: ERROR_CODES.decodingFailure });
}
