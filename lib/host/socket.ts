import { dirname } from "@std/path/posix";
import { HostError } from "./command.ts";
import { denoRules } from "./deno_rules.ts";
import { ensureDir } from "./file.ts";
import type { Lock } from "./lock.ts";
import { waitForLock } from "./lock_wait.ts";

/** A Unix socket that this process listens on, under its own name. */
export interface ClaimedSocket {
  readonly path: string;
  /** What the name leads to by now: this socket, nothing, or something that others put there. */
  state(): Promise<"ours" | "missing" | "foreign">;
  /** Removes the name, if it still leads to this socket. */
  release(): Promise<void>;
}

/** What `sockaddr_un` of Linux holds, without the zero at its end. */
const LONGEST_SOCKET_PATH = 107;
/** Whoever holds the lock finds only those of dead processes. */
const WORKSHOP = /^\.podwire-[0-9a-f]{8}$/;
const FIXED_WORKSHOP = ".podwire-00000000";
const WORKSHOP_LENGTH = `/${FIXED_WORKSHOP}/s`.length;
/** The directory of a socket that is made, beside which it is made first. */
const LONGEST_SOCKET_DIR = LONGEST_SOCKET_PATH - WORKSHOP_LENGTH;
/** It is held for as long as a socket takes to be made: whoever has it for longer hangs, or is stopped. */
const LOCK_MS = 10_000;

/**
 * All paths that a socket has until {@linkcode claimSocket} has put it under this one. From Deno 2.9 on a permission names
 * single sockets, so the path under which it is made is a certain one there.
 */
export function socketPaths(path: string): readonly string[] {
  return denoRules().socketsByNet ? [path, `${dirname(path)}/${FIXED_WORKSHOP}/s`] : [path];
}

/** Why no socket can be made at a path, or none be connected to; undefined if one can. */
export function socketPathProblem(path: string, purpose: "listen" | "connect"): string | undefined {
  const bytes = (text: string) => new TextEncoder().encode(text).byteLength;
  if (bytes(path) > LONGEST_SOCKET_PATH) {
    return `a path of ${bytes(path)} bytes is too long for a socket: it may have ${LONGEST_SOCKET_PATH}`;
  }
  const dir = bytes(dirname(path));
  if (purpose === "connect" || dir <= LONGEST_SOCKET_DIR) return undefined;
  return `a directory of ${dir} bytes is too long for the socket: it may have ${LONGEST_SOCKET_DIR}`;
}

function workshopFor(path: string): string {
  const random = () => `.podwire-${crypto.getRandomValues(new Uint8Array(4)).toHex()}`;
  return `${dirname(path)}/${denoRules().socketsByNet ? FIXED_WORKSHOP : random()}`;
}

/**
 * Puts a listening Unix socket under a path: only its owner may connect, from the first moment on. `listen` makes it
 * in a directory of its own that nobody else may enter, from which it is renamed into place. What a dead process left
 * there is replaced. Of several processes at once, one gets the path.
 *
 * Requires `--allow-read` and `--allow-write`; from Deno 2.9 on `--allow-net=unix:PATH` too, for each of
 * {@linkcode socketPaths}.
 *
 * @throws {HostError} reason `exists`, if somebody answers at that path, or what is there is no socket; reason
 *   `lock-timeout`, if another process keeps the path locked
 * @throws The reason of `signal`, if that fires first.
 */
export async function claimSocket(
  path: string,
  listen: (temporary: string) => void,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ClaimedSocket> {
  const dir = dirname(path);
  const problem = socketPathProblem(path, "listen");
  if (problem !== undefined) throw new HostError(`${path}: ${problem}`);
  await ensureDir(dir, 0o700);
  using _lock = await lockOf(path, signal);
  await requireNobody(path);
  await removeWorkshops(dir);
  const workshop = workshopFor(path);
  await Deno.mkdir(workshop, { mode: 0o700 });
  try {
    const temporary = `${workshop}/s`;
    listen(temporary);
    await Deno.chmod(temporary, 0o600);
    const own = await Deno.lstat(temporary);
    await Deno.rename(temporary, path);
    return claimed(path, own);
  } finally {
    await Deno.remove(workshop, { recursive: true });
  }
}

function lockOf(path: string, signal?: AbortSignal): Promise<Lock> {
  return waitForLock(`${path}.lock`, { what: `the lock of the socket ${path}`, limitMs: LOCK_MS, signal });
}

function claimed(path: string, own: Deno.FileInfo): ClaimedSocket {
  const state = async () => {
    const there = await lstatOf(path);
    if (there === undefined) return "missing";
    return there.dev === own.dev && there.ino === own.ino ? "ours" : "foreign";
  };
  return {
    path,
    state,
    async release() {
      // With its directory gone there is nothing to remove, and no lock to be made.
      if (await lstatOf(dirname(path)) === undefined) return;
      using _lock = await lockOf(path);
      if (await state() === "ours") await Deno.remove(path);
    },
  };
}

/** Whether somebody accepts connections there is known only by asking for one. */
async function requireNobody(path: string): Promise<void> {
  const there = await lstatOf(path);
  if (there === undefined) return;
  if (!there.isSocket) throw new HostError(`${path} is there and is no socket`, { reason: "exists" });
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused || error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  throw new HostError(`somebody answers at ${path}`, { reason: "exists" });
}

async function removeWorkshops(dir: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory && WORKSHOP.test(name)) await Deno.remove(`${dir}/${name}`, { recursive: true });
  }
}

async function lstatOf(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
