import { dirname } from "@std/path/posix";
import { denoRules } from "./deno_rules.ts";

/** The length of a path in `sockaddr_un` of Linux, without the zero at its end. */
const LONGEST_SOCKET_PATH = 107;
/** Where a socket is made before it is moved into place, from Deno 2.9 on. */
export const FIXED_STAGING_DIR = ".podwire-00000000";
const STAGING_LENGTH = `/${FIXED_STAGING_DIR}/s`.length;
/** The longest directory of a socket that is made: its path in the staging directory must fit too. */
const LONGEST_SOCKET_DIR = LONGEST_SOCKET_PATH - STAGING_LENGTH;

/**
 * Returns all paths that a socket has until `claimSocket` has moved it to this one. From Deno 2.9 on a permission
 * names single sockets, so the path at which it is made is a fixed one there.
 */
export function socketPaths(path: string): readonly string[] {
  return denoRules().socketsByNet ? [path, `${dirname(path)}/${FIXED_STAGING_DIR}/s`] : [path];
}

/** Returns why a socket cannot be made at a path, or cannot be connected to; undefined if it can. */
export function socketPathProblem(path: string, purpose: "listen" | "connect"): string | undefined {
  const bytes = (text: string) => new TextEncoder().encode(text).byteLength;
  if (bytes(path) > LONGEST_SOCKET_PATH) {
    return `a path of ${bytes(path)} bytes is too long for a socket: it may have ${LONGEST_SOCKET_PATH}`;
  }
  const dir = bytes(dirname(path));
  if (purpose === "connect" || dir <= LONGEST_SOCKET_DIR) return undefined;
  return `a directory of ${dir} bytes is too long for the socket: it may have ${LONGEST_SOCKET_DIR}`;
}
