import { delay } from "../async/wait.ts";

/** The errors if no process listens at a path: the file is missing, or is not a socket in use. */
const NO_LISTENER = [
  Deno.errors.NotFound,
  Deno.errors.NotADirectory,
  Deno.errors.ConnectionRefused,
] as const;

/** Between the moments at which a process makes its socket and listens at it, no connection is possible. */
const STARTING_MS = 200;

/** An open connection, through which nothing is sent. */
export interface OpenConnection extends Disposable {
  /** Resolves when the other side closes it, as the kernel does when that process ends, and when it is disposed of. */
  readonly closed: Promise<void>;
}

/** Whether an attempt to connect to a Unix socket failed because no process listens there. */
export function isNoListener(error: unknown): boolean {
  return NO_LISTENER.some((kind) => error instanceof kind);
}

/**
 * Whether a process listens at a Unix socket. Only a connection shows that: the file stays when the process is killed.
 *
 * Requires `--allow-read` and `--allow-write`; from Deno 2.9 on `--allow-net=unix:PATH` too.
 *
 * @throws The error of Deno, if it cannot connect for another reason, such as a missing permission.
 */
export async function hasListener(path: string): Promise<boolean> {
  using connection = await openConnection(path);
  return connection !== undefined;
}

/**
 * Connects to a Unix socket; undefined if no process listens there. Requires the permissions of {@linkcode hasListener}.
 *
 * @throws As {@linkcode hasListener} does.
 */
export async function connectToUnix(path: string): Promise<Deno.UnixConn | undefined> {
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (error) {
    if (isNoListener(error)) return undefined;
    throw error;
  }
}

/** As {@linkcode connectToUnix}, to see the end of the process that listens. */
export async function openConnection(path: string): Promise<OpenConnection | undefined> {
  const connection = await connectToUnix(path);
  if (connection === undefined) return undefined;
  let isOpen = true;
  const close = () => {
    if (isOpen) connection.close();
    isOpen = false;
  };
  return { closed: readToEnd(connection), [Symbol.dispose]: close };
}

/** Reads, and forgets, what the other side sends: only then the end of the connection is seen. */
async function readToEnd(connection: Deno.UnixConn): Promise<void> {
  const buffer = new Uint8Array(1_024);
  try {
    while (await connection.read(buffer) !== null);
  } catch {
    // However it ends, it has ended.
  }
}

/**
 * Removes the file of a socket at which no process listens any more. Returns whether it did: a file that is not a socket, and a
 * socket that another process has put there meanwhile, stay.
 *
 * Requires the permissions of {@linkcode hasListener}.
 *
 * @throws As {@linkcode hasListener} does.
 */
export async function removeDeadSocket(path: string): Promise<boolean> {
  const dead = await socketAt(path);
  if (dead === undefined || await hasListener(path)) return false;
  await delay(STARTING_MS);
  if (await hasListener(path)) return false;
  const there = await socketAt(path);
  if (there?.dev !== dead.dev || there.ino !== dead.ino) return false;
  await Deno.remove(path);
  return true;
}

async function socketAt(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    const there = await Deno.lstat(path);
    return there.isSocket ? there : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}
