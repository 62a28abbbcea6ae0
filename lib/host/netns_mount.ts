import { dirname } from "@std/path/posix";
import { HostError } from "./command.ts";
import { ensureDir, removeIfThere } from "./file.ts";
import { type Lock, lockFile } from "./lock.ts";
import { inspectNetns, nsProblem } from "./netns_path.ts";

/** The steps by which a namespace gets and loses a name; programs take them, or system calls. */
export interface NetnsSteps {
  /** Makes the mounts of a directory visible in all mount namespaces; returns false if it is not a mount point, or missing. */
  share(dir: string, signal: AbortSignal | undefined): Promise<boolean>;
  /** Mounts a directory on itself, and shares it. */
  mountShared(dir: string, signal: AbortSignal | undefined): Promise<void>;
  /** Mounts a new namespace over a file, with `lo` up. */
  create(path: string, alias: string | undefined, signal: AbortSignal | undefined): Promise<void>;
  /**
   * {@linkcode NetnsSteps.share} and {@linkcode NetnsSteps.create} as one step, where that is faster; returns false, and has
   * created nothing, if the directory is not a mount point.
   */
  shareAndCreate?(
    path: string,
    alias: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<boolean>;
  /** Mounts an existing namespace over a file. */
  bind(source: string, path: string, signal: AbortSignal | undefined): Promise<void>;
  /** Returns why a namespace cannot be entered; undefined if it can. */
  enterProblem(path: string, signal: AbortSignal | undefined): Promise<EnterProblem | undefined>;
  /** Unmounts what was mounted last over a file, lazily: a process that uses the mount must not keep it in place. */
  unmount(path: string, signal: AbortSignal | undefined): Promise<void>;
}

/** Why a namespace cannot be entered. */
export interface EnterProblem {
  /** Whether it is a namespace, but not one of networks. */
  readonly isOtherKind: boolean;
  /** What the kernel or a program says about it. */
  readonly text: string;
}

/** More mounts on one path cannot be an accident. */
const MOST_MOUNTS = 100;
const LONGEST_SHARE_WAIT_MS = 2_000;

/** Creates a namespace, see `createNetns` in netns.ts. */
export async function createBy(
  steps: NetnsSteps,
  path: string,
  { alias, signal }: { readonly alias?: string | undefined; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const together = steps.shareAndCreate?.bind(steps, path, alias, signal);
  await mountOver(steps, path, signal, () => steps.create(path, alias, signal), together);
}

/** Gives a namespace a name, see `pinNetns` in netns.ts. */
export async function pinBy(
  steps: NetnsSteps,
  source: number | string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const from = typeof source === "number" ? `/proc/${source}/ns/net` : source;
  const notNetns = (problem: string, stderr = "") =>
    new HostError(`Cannot pin network namespace "${from}": ${problem}`, { reason: "not-a-netns", stderr });
  const problem = await nsProblem(from);
  if (problem !== undefined) throw notNetns(problem);
  await mountOver(steps, path, signal, async () => {
    await steps.bind(from, path, signal);
    // From outside, namespaces of all kinds look alike; only entering one shows its kind. The new path is used for that,
    // because the old one may lead to another process by now.
    const refusal = await steps.enterProblem(path, signal);
    signal?.throwIfAborted();
    if (refusal === undefined) return;
    const { isOtherKind, text } = refusal;
    throw notNetns(
      isOtherKind ? "is a namespace of another kind" : `cannot be entered: ${text.trim()}`,
      text,
    );
  });
}

/** Removes the name of a namespace, see `removeNetns` in netns.ts. */
export async function removeBy(
  steps: NetnsSteps,
  path: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  checkAbsolute(path);
  for (let mounts = 0; mounts < MOST_MOUNTS; mounts++) {
    const found = await inspectNetns(path);
    if (found.kind === "missing") return false;
    if (found.kind === "empty-file") return await removeIfThere(path);
    if (found.kind !== "namespace" || found.link) {
      const problem = found.kind === "namespace" ? "is a symbolic link" : found.problem;
      throw new HostError(`Cannot remove network namespace "${path}": ${problem}`, { reason: "not-a-netns" });
    }
    await steps.unmount(path, signal).catch(
      async (error) => {
        // Another process may have been faster.
        signal?.throwIfAborted();
        const now = await inspectNetns(path);
        if (now.kind === "namespace" && now.id === found.id) throw error;
      },
    );
  }
  throw new HostError(`Cannot remove network namespace "${path}": mounted more than ${MOST_MOUNTS} times`);
}

/**
 * Reserves the path, mounts a namespace there, and undoes all of that if it fails. `together` shares the directory and mounts;
 * it may find that there is more to do.
 */
async function mountOver(
  steps: NetnsSteps,
  path: string,
  signal: AbortSignal | undefined,
  mount: () => Promise<unknown>,
  together?: () => Promise<boolean>,
): Promise<void> {
  signal?.throwIfAborted();
  checkAbsolute(path);
  const dir = dirname(path);
  const isEarly = together !== undefined && await reserved(path);
  if (!isEarly) {
    await shareDir(steps, dir, signal);
    await reserve(path);
  }
  try {
    if (isEarly && await together()) return;
    if (isEarly) await shareDir(steps, dir, signal);
    await mount();
  } catch (error) {
    // Without the signal of the caller, which may be the reason for the undo.
    await removeBy(steps, path, undefined).catch((left: unknown) => {
      throw new AggregateError(
        [error, left],
        `Cannot create network namespace "${path}": its removal after a failure failed too`,
      );
    });
    throw error;
  }
}

/** Whether the path could be reserved; false if its directory is missing. */
async function reserved(path: string): Promise<boolean> {
  try {
    await reserve(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function reserve(path: string): Promise<void> {
  try {
    // Without the bits to write or execute, as `ip netns` does; O_EXCL makes one of two callers the owner.
    (await Deno.open(path, { write: true, createNew: true, mode: 0o444 })).close();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.AlreadyExists)) throw cause;
    const state = await nsProblem(path);
    const message = `Cannot create network namespace "${path}": exists${
      state === undefined ? "" : `, but ${state}`
    }`;
    throw new HostError(message, { reason: "exists", cause });
  }
}

/** A path like `-a` would be an option of `umount`. */
function checkAbsolute(path: string): void {
  if (!path.startsWith("/")) {
    throw new TypeError(`Cannot use "${path}" for a network namespace: not an absolute path`);
  }
}

/**
 * Makes the directory a mount point whose mounts are visible in all mount namespaces, as `ip netns add` does: else a
 * namespace that is removed here would live on in the mount namespaces of other services.
 */
async function shareDir(steps: NetnsSteps, dir: string, signal: AbortSignal | undefined): Promise<void> {
  // If it is a mount point already, no lock is needed.
  if (await steps.share(dir, signal)) return;
  await ensureDir(dir, 0o755);
  // `ip netns add` takes this lock too, so that the directory is not mounted on itself twice. A second mount would do no
  // harm, and every user may open the directory and hold its lock: for that reason the wait is short.
  using _lock = await lockWithin(LONGEST_SHARE_WAIT_MS, dir, signal);
  if (await steps.share(dir, signal)) return;
  await steps.mountShared(dir, signal);
}

/** Takes the lock; undefined if it is held elsewhere for that long. */
async function lockWithin(
  ms: number,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Lock | undefined> {
  const limit = AbortSignal.timeout(ms);
  try {
    return await lockFile(path, { signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) });
  } catch (error) {
    if (signal?.aborted || !limit.aborted) throw error;
    return undefined;
  }
}
