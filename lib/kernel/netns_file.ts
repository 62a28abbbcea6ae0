import { errnoName, errnoWords } from "../host/errno.ts";
import type { Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";
import { inNetns } from "./in_netns.ts";

/** The error if a path cannot be used as a network namespace. */
export class NetnsFileError extends Error {
  override readonly name = "NetnsFileError";

  /** `why` is a sentence without a full stop; `errno` is the symbolic name of the reason. */
  constructor(readonly why: string, readonly errno: string) {
    super(`Cannot use a network namespace: ${why}`);
  }
}

/** A network namespace that is held open. */
export class NetnsFile implements Disposable {
  readonly fd: number;
  readonly #libc: Libc;
  readonly #path: string;

  /** @throws {NetnsFileError} If there is no network namespace at the path. */
  constructor(libc: Libc, path: string) {
    this.#libc = libc;
    this.#path = path;
    // Without waiting: to open a named pipe would take until another process writes to it.
    this.fd = libc.open(path, LIBC.O_RDONLY | LIBC.O_CLOEXEC | LIBC.O_NONBLOCK);
    if (this.fd < 0) throw notOpened(path, libc.errno());
    if (libc.namespaceKind(this.fd) === LIBC.CLONE_NEWNET) return;
    libc.close(this.fd);
    throw new NetnsFileError(`${JSON.stringify(path)} is not a network namespace`, "EINVAL");
  }

  [Symbol.dispose](): void {
    this.#libc.close(this.fd);
  }

  /** Runs `fn` inside, see {@linkcode inNetns}. @throws {NetnsFileError} If the kernel refuses to enter it. */
  inside<T>(fn: () => T): T {
    return inNetns(this.#libc, () => this.#libc.setns(this.fd, LIBC.CLONE_NEWNET), fn, (errno) => {
      const why = `network namespace ${JSON.stringify(this.#path)} cannot be entered: ${errnoWords(errno)}`;
      return new NetnsFileError(why, errnoName(errno));
    });
  }
}

function notOpened(path: string, errno: number): NetnsFileError {
  const name = errnoName(errno);
  const what = `network namespace ${JSON.stringify(path)}`;
  if (name === "ENOENT" || name === "ENOTDIR") return new NetnsFileError(`${what} does not exist`, name);
  return new NetnsFileError(`${what} cannot be opened: ${errnoWords(errno)}`, name);
}
