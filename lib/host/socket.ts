import { dirname } from "@std/path/posix";
import { HostError } from "./command.ts";
import { denoRules } from "./deno_rules.ts";
import { ensureDir } from "./file.ts";
import type { Lock } from "./lock.ts";
import { waitForLock } from "./lock_wait.ts";
import { FIXED_STAGING_DIR, socketPathProblem } from "./socket_path.ts";
import { hasListener } from "./unix_listener.ts";

/** A Unix socket that this process listens on. */
export interface ClaimedSocket {
  readonly path: string;
  /** What the path leads to now: this socket, nothing, or something of another process. */
  state(): Promise<"ours" | "missing" | "foreign">;
  /** Removes the path, if it still leads to this socket. */
  release(): Promise<void>;
}

/** The directory in which a socket is made. The holder of the lock finds only those of dead processes. */
const STAGING_DIR = /^\.podwire-[0-9a-f]{8}$/;
/** The lock is held only while a socket is made: a process that holds it for longer hangs, or is stopped. */
const LOCK_MS = 10_000;

function stagingDirFor(path: string): string {
  const random = () => `.podwire-${crypto.getRandomValues(new Uint8Array(4)).toHex()}`;
  return `${dirname(path)}/${denoRules().socketsByNet ? FIXED_STAGING_DIR : random()}`;
}

/**
 * Makes a listening Unix socket at a path; only its owner may connect, from the first moment on. `listen` makes it in a
 * directory that no other user may enter, from which it is renamed into place. A socket of a dead process is replaced. Of
 * several concurrent processes, one gets the path.
 *
 * Requires `--allow-read` and `--allow-write`; from Deno 2.9 on `--allow-net=unix:PATH` too, for each of
 * `socketPaths`.
 *
 * @throws {HostError} Reason `exists`, if a process listens at the path, or if there is something else than a socket; reason
 *   `lock-timeout`, if another process keeps the path locked.
 * @throws The reason of `signal`, if that fires first.
 */
export async function claimSocket(
  path: string,
  listen: (temporary: string) => unknown,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ClaimedSocket> {
  const dir = dirname(path);
  const problem = socketPathProblem(path, "listen");
  if (problem !== undefined) throw new HostError(`Cannot listen at "${path}": ${problem}`);
  await ensureDir(dir, 0o700);
  using _lock = await lockOf(path, signal);
  await requireNoListener(path);
  await removeStagingDirs(dir);
  const stagingDir = stagingDirFor(path);
  await Deno.mkdir(stagingDir, { mode: 0o700 });
  try {
    const temporary = `${stagingDir}/s`;
    await listen(temporary);
    await Deno.chmod(temporary, 0o600);
    const own = await Deno.lstat(temporary);
    await Deno.rename(temporary, path);
    return claimed(path, own);
  } finally {
    await Deno.remove(stagingDir, { recursive: true });
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
      // If its directory is gone, there is nothing to remove and no place for a lock.
      if (await lstatOf(dirname(path)) === undefined) return;
      using _lock = await lockOf(path);
      if (await state() === "ours") await Deno.remove(path);
    },
  };
}

/** Connects to the path: only that shows whether a process listens there. */
async function requireNoListener(path: string): Promise<void> {
  const there = await lstatOf(path);
  if (there === undefined) return;
  if (!there.isSocket) {
    throw new HostError(`Cannot listen at "${path}": it exists and is not a socket`, { reason: "exists" });
  }
  if (!await hasListener(path)) return;
  throw new HostError(`Cannot listen at "${path}": another process listens there`, { reason: "exists" });
}

async function removeStagingDirs(dir: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory && STAGING_DIR.test(name)) await Deno.remove(`${dir}/${name}`, { recursive: true });
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
