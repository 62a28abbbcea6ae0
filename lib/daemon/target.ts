import { CniError } from "../cni/error.ts";

/** The target of a request. */
export interface RequestTarget {
  /** The decoded segments of the path. */
  readonly segments: readonly string[];
  readonly query: Readonly<Record<string, string>>;
}

const REQUEST_ID = /^[\w.:-]{1,64}$/;

/**
 * Reads the path and the query of a URL. It does not parse the host, which can be any text of the client.
 *
 * @throws {CniError} kind `usage` for a segment that cannot be decoded, or a member that is given twice
 */
export function readTarget(url: string): RequestTarget {
  const from = url.indexOf("/", url.indexOf("://") + "://".length);
  const target = from < 0 ? "/" : url.slice(from);
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const query: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1))) {
    if (Object.hasOwn(query, name)) {
      throw new CniError("usage", `the query has ${JSON.stringify(name)} twice`, { path: name });
    }
    Object.defineProperty(query, name, { value, enumerable: true });
  }
  return { segments: path.slice(1).split("/").map(decoded), query };
}

/** Returns the ID that the client gave its request, or a new one. */
export function requestId(given: string | null): string {
  if (given !== null && REQUEST_ID.test(given)) return given;
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new CniError("usage", `the path has a bad escape in "${segment}"`, { cause });
  }
}
