import { CniError } from "../cni/error.ts";
import { type Json, MAX_DEPTH, parseJson } from "../cni/json.ts";
import {
  anyText,
  integer,
  mapOf,
  mapped,
  oneOf,
  openObjectOf,
  orNull,
  readShape,
  type Shape,
  text,
  ValidationError,
} from "../cni/shape.ts";

/** States of a container. Source: OCI runtime specification 1.0.2, "State". */
const OCI_STATUSES = ["creating", "created", "running", "stopped"] as const;

/** The container state that an OCI runtime writes to its hooks. Source: OCI runtime specification 1.0.2, "State". */
export interface OciState {
  readonly id: string;
  readonly status: typeof OCI_STATUSES[number];
  /** ID of the container's first process; undefined if it has ended. */
  readonly pid: number | undefined;
  /** An absolute path. */
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Maximum size in bytes. Runtimes write only a few names and annotations. */
export const LONGEST_STATE = 1024 * 1024;
/** The largest process ID of Linux. */
const LARGEST_PID = 2 ** 22;

/**
 * Decodes the standard input of a hook. Members that are not needed are ignored, so that later versions of the specification
 * work too.
 *
 * Source: OCI runtime specification 1.0.2, "State" and "POSIX-platform Hooks".
 *
 * @throws {CniError} kind `usage`, naming the member
 */
export function decodeOciState(state: string): OciState {
  if (state.length > LONGEST_STATE) throw invalidState(`it has more than ${LONGEST_STATE} bytes`);
  if (state.trim() === "") {
    throw new CniError("usage", "there is no container state on standard input", {
      hint: "oci-hook is started by an OCI runtime",
    });
  }
  return readShape(OCI_STATE, parse(state), (error) => invalidState(error.describe("it")));
}

/** Go writes 0 for a process that does not exist. */
const PID = mapped(integer(0, LARGEST_PID), (pid) => pid === 0 ? undefined : pid);

const OCI_VERSION = mapped(text(), (version, path) => {
  if (/^1\.\d+\.\d+/.test(version)) return version;
  throw new ValidationError(path, `is "${version}", but only versions 1.x are supported`);
});

const BUNDLE = mapped(text(), (bundle, path) => {
  if (bundle.startsWith("/")) return bundle;
  throw new ValidationError(path, `must be an absolute path, not "${bundle}"`);
});

const OCI_STATE: Shape<OciState> = mapped(
  openObjectOf({ ociVersion: OCI_VERSION, id: text(), status: oneOf(OCI_STATUSES), bundle: BUNDLE }, {
    pid: orNull(PID),
    annotations: orNull(mapOf(anyText)),
  }),
  ({ id, status, pid, bundle, annotations = {} }) => ({ id, status, pid, bundle, annotations }),
);

function parse(text: string): Json {
  try {
    return parseJson(text, { kind: "usage", maxDepth: MAX_DEPTH, duplicateKeys: "refused" });
  } catch (cause) {
    throw invalidState(cause instanceof CniError ? cause.message : String(cause), cause);
  }
}

function invalidState(problem: string, cause?: unknown): CniError {
  const msg = `the container state on standard input cannot be used: ${problem}`;
  return new CniError("usage", msg, { cause });
}
