import { HostError } from "../host/command.ts";
import { errnoName, errnoWords } from "../host/errno.ts";
import { untilMayLeave } from "../host/home.ts";
import type { Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";
import { createBy, type EnterProblem, type NetnsSteps, pinBy, removeBy } from "../host/netns_mount.ts";
import { inNetns } from "./in_netns.ts";
import { setLink } from "./link_request.ts";
import { NetlinkError } from "./netlink_reply.ts";
import { NetlinkSocket } from "./netlink_socket.ts";
import { NetnsFile, NetnsFileError } from "./netns_file.ts";

/** That of the thread: after it has left, the process is in another namespace than the thread. */
const HERE = "/proc/thread-self/ns/net";
/** The kernel gives it to the first interface of a namespace, which is `lo`. */
const LOOPBACK = 1;

/** Creates a network namespace, see `Kernel.createNetns`. */
export async function createNetns(
  libc: Libc,
  path: string,
  options: { readonly alias?: string | undefined; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  await createBy(new NetnsCalls(libc), path, options);
}

/** Gives a namespace a name, see `Kernel.pinNetns`. */
export async function pinNetns(
  libc: Libc,
  source: number | string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await pinBy(new NetnsCalls(libc), source, path, signal);
}

/** Removes the name of a namespace, see `Kernel.removeNetns`. */
export async function removeNetns(
  libc: Libc,
  path: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  return await removeBy(new NetnsCalls(libc), path, signal);
}

/** The directories whose mounts below them this process has shared. */
const shared = new Set<string>();

/** The system calls that name namespaces. */
class NetnsCalls implements NetnsSteps {
  readonly #libc: Libc;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  share(dir: string): Promise<boolean> {
    // The mounts below it are shared once: each of thousands of namespaces is one. The directory itself may have been
    // unmounted since then.
    const depth = shared.has(dir) ? 0 : LIBC.MS_REC;
    if (this.#libc.mount(undefined, dir, LIBC.MS_SHARED | depth) < 0) {
      const errno = this.#libc.errno();
      shared.delete(dir);
      if (["EINVAL", "ENOENT"].includes(errnoName(errno))) return Promise.resolve(false);
      return Promise.reject(failure(`share the mounts of "${dir}"`, errno));
    }
    shared.add(dir);
    return Promise.resolve(true);
  }

  async mountShared(dir: string): Promise<void> {
    if (this.#libc.mount(dir, dir, LIBC.MS_BIND | LIBC.MS_REC) < 0) {
      throw failure(`mount "${dir}" on itself`, this.#libc.errno());
    }
    if (!await this.share(dir)) {
      throw new HostError(`Cannot share the mounts of "${dir}": it is unmounted again`);
    }
  }

  async create(path: string, alias: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    await untilMayLeave();
    const tried = `create network namespace "${path}"`;
    try {
      using socket = inNetns(this.#libc, () => this.#libc.unshare(LIBC.CLONE_NEWNET), () => {
        this.#bindNow(HERE, path);
        return new NetlinkSocket(this.#libc);
      }, (errno) => failure(tried, errno));
      signal?.throwIfAborted();
      await socket.change(setLink({ up: true, alias: alias || undefined }, LOOPBACK));
      signal?.throwIfAborted();
    } catch (cause) {
      if (!(cause instanceof NetlinkError)) throw cause;
      throw new HostError(`Cannot ${tried}: ${cause.why}`, { stderr: cause.why, cause });
    }
  }

  bind(source: string, path: string): Promise<void> {
    return Promise.try(() => this.#bindNow(source, path));
  }

  #bindNow(source: string, path: string): void {
    if (this.#libc.mount(source, path, LIBC.MS_BIND) < 0) {
      throw failure(`mount network namespace "${source}" on "${path}"`, this.#libc.errno());
    }
  }

  async enterProblem(path: string): Promise<EnterProblem | undefined> {
    await untilMayLeave();
    try {
      using file = new NetnsFile(this.#libc, path);
      file.inside(() => {});
      return undefined;
    } catch (error) {
      if (!(error instanceof NetnsFileError)) throw error;
      return { isOtherKind: error.errno === "EINVAL", text: error.why };
    }
  }

  async unmount(path: string, signal: AbortSignal | undefined): Promise<void> {
    const flags = LIBC.MNT_DETACH | LIBC.UMOUNT_NOFOLLOW;
    signal?.throwIfAborted();
    const result = await this.#libc.umountAway(path, flags);
    signal?.throwIfAborted();
    // The reason is known on the other thread only.
    if (result < 0 && this.#libc.umount(path, flags) < 0) {
      throw failure(`unmount network namespace "${path}"`, this.#libc.errno());
    }
  }
}

function failure(tried: string, errno: number): HostError {
  const words = errnoWords(errno);
  return new HostError(`Cannot ${tried}: ${words}`, { stderr: words });
}
