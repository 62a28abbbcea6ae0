import { CniError } from "../cni/error.ts";
import { isObject, type JsonObject, numberOf, parseJson } from "../cni/json.ts";
import {
  anyText,
  integer,
  listOf,
  objectOf,
  oneOf,
  readShape,
  type Shape,
  text,
  ValidationError,
} from "../cni/shape.ts";
import { readKernelFiles } from "../host/kernel_file.ts";

/** Without those for which another process would have to decide. */
const ACTIONS = [
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_TRAP",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_LOG",
] as const;
const OPERATORS = [
  "SCMP_CMP_NE",
  "SCMP_CMP_LT",
  "SCMP_CMP_LE",
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_MASKED_EQ",
] as const;
const FLAGS = [
  "SECCOMP_FILTER_FLAG_TSYNC",
  "SECCOMP_FILTER_FLAG_LOG",
  "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
] as const;
const MOST_ARGUMENTS = 6;
const LARGEST_ERRNO = 4095;

const ERRNO = integer(0, LARGEST_ERRNO);
/** It may be larger than a number of JavaScript, so it stays as it is written. */
const UINT64: Shape<unknown> = {
  schema: { type: "integer", minimum: 0 },
  read(json, path) {
    const value = numberOf(json);
    if (!Number.isInteger(value) || Number(value) < 0) {
      throw new ValidationError(path, "must be a whole number from 0");
    }
    return json;
  },
};
const ARGUMENT = objectOf({ index: integer(0, MOST_ARGUMENTS - 1), value: UINT64, op: oneOf(OPERATORS) }, {
  valueTwo: UINT64,
});
const RULE = objectOf({ names: listOf(text()), action: oneOf(ACTIONS) }, {
  errnoRet: ERRNO,
  args: listOf(ARGUMENT),
  comment: anyText,
});
/** Source: OCI runtime specification 1.0.2, "Linux seccomp". */
const PROFILE = objectOf({ defaultAction: oneOf(ACTIONS) }, {
  defaultErrnoRet: ERRNO,
  architectures: listOf(text({ pattern: "^SCMP_ARCH_" })),
  flags: listOf(oneOf(FLAGS)),
  syscalls: listOf(RULE),
});

/**
 * Reads a filter of system calls from a file of the node. A member that the format does not have is refused, since a runtime would
 * leave out what it says.
 *
 * Requires as `readKernelFiles`.
 *
 * @throws {CniError} kind `usage`, naming the file and the member
 */
export async function readSeccompProfile(path: string, signal: AbortSignal): Promise<JsonObject> {
  const refuse = (problem: string) => new CniError("usage", `the profile ${path} cannot be used: ${problem}`);
  const read = await readKernelFiles([path], { signal });
  if (read.trim() === "") throw refuse("there is no such file, it is empty, or it cannot be read");
  let json;
  try {
    json = parseJson(read);
  } catch (error) {
    throw error instanceof CniError ? refuse(error.message) : error;
  }
  readShape(PROFILE, json, (error) => refuse(error.describe("it")));
  return isObject(json) ? json : {};
}
