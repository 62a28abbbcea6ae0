import { CniError } from "../cni/error.ts";
import { isObject, type Json, type JsonObject, MAX_DEPTH, numberOf, parseJson } from "../cni/json.ts";

/** How far a container is. Source: OCI runtime specification 1.0.2, "State". */
export const OCI_STATUSES = ["creating", "created", "running", "stopped"] as const;

/** What an OCI runtime tells its hooks of a container. Source: OCI runtime specification 1.0.2, "State". */
export interface OciState {
  readonly id: string;
  readonly status: typeof OCI_STATUSES[number];
  /** Of the container's first process; there may be none any more. */
  readonly pid: number | undefined;
  /** An absolute path. */
  readonly bundle: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** In bytes. Runtimes hand over no more than some names and annotations. */
export const LONGEST_STATE = 1024 * 1024;
/** The largest process ID of Linux. */
const LARGEST_PID = 2 ** 22;

/**
 * What stands on the standard input of a hook. What is not needed is not looked at, so that later versions of the
 * specification are understood too.
 *
 * Source: OCI runtime specification 1.0.2, "State" and "POSIX-platform Hooks".
 *
 * @throws {CniError} kind `usage`, naming the member
 */
export function decodeOciState(text: string): OciState {
  if (text.length > LONGEST_STATE) throw wrong(`it has more than ${LONGEST_STATE} bytes`);
  if (text.trim() === "") {
    throw new CniError("usage", "there is no container state on standard input", {
      hint: "oci-hook is started by an OCI runtime",
    });
  }
  const state = read(text);
  const version = textOf(state, "ociVersion");
  if (!/^1\.\d+\.\d+/.test(version)) throw wrong(`its "ociVersion" is ${version}, which is not known here`);
  const status = textOf(state, "status");
  const known = OCI_STATUSES.find((word) => word === status);
  if (known === undefined) {
    throw wrong(`its "status" is ${JSON.stringify(status)}, which is none of ${OCI_STATUSES.join(", ")}`);
  }
  const bundle = textOf(state, "bundle");
  if (!bundle.startsWith("/")) throw wrong('its "bundle" is no absolute path');
  return {
    id: textOf(state, "id"),
    status: known,
    pid: pidOf(state),
    bundle,
    annotations: annotationsOf(state),
  };
}

function read(text: string): JsonObject {
  let json: Json;
  try {
    json = parseJson(text, { kind: "usage", maxDepth: MAX_DEPTH, duplicateKeys: "refused" });
  } catch (cause) {
    throw wrong(cause instanceof CniError ? cause.message : String(cause), cause);
  }
  if (isObject(json)) return json;
  throw wrong("it is no object");
}

function textOf(state: JsonObject, name: string): string {
  const value = state[name];
  if (typeof value === "string" && value !== "") return value;
  throw wrong(`its "${name}" is ${value === undefined ? "missing" : "no text"}`);
}

function pidOf({ pid }: JsonObject): number | undefined {
  // Go writes 0 for none.
  if (pid === undefined || pid === null || numberOf(pid) === 0) return undefined;
  const number = numberOf(pid);
  if (number !== undefined && Number.isInteger(number) && number > 0 && number <= LARGEST_PID) return number;
  throw wrong('its "pid" is no process ID');
}

function annotationsOf({ annotations }: JsonObject): Readonly<Record<string, string>> {
  if (annotations === undefined || annotations === null) return {};
  if (!isObject(annotations)) throw wrong('its "annotations" are no object');
  const pairs = Object.entries(annotations).map(([key, value]) => {
    if (typeof value !== "string") throw wrong(`its annotation ${JSON.stringify(key)} is no text`);
    return [key, value] as const;
  });
  return Object.fromEntries(pairs);
}

function wrong(problem: string, cause?: unknown): CniError {
  const msg = `the container state on standard input cannot be used: ${problem}`;
  return new CniError("usage", msg, cause === undefined ? {} : { cause });
}
