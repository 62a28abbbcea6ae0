import { errnoName, errnoWords } from "../host/errno.ts";
import type { Bytes, Libc } from "../host/libc.ts";
import { LIBC } from "../host/libc_constants.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import { NetlinkFormatError } from "./netlink_reader.ts";
import { NetlinkError, NetlinkReply, type ReplyEnd, type Visit } from "./netlink_reply.ts";
import type { NetlinkRequest } from "./netlink_writer.ts";

/** The kernel sends no message of a list that is larger than 32 KiB. */
const RECEIVED_BYTES = 64 * 1024;
/** So much of a list is received at once; the loop turns before more of it. */
const AT_ONCE_BYTES = 32 * 1024;
/** A socket takes more than that only if it is made larger. */
const USUAL_SENT_BYTES = 64 * 1024;
/** A list that changes each time while it is made is not tried more often. */
const MOST_LISTS = 20;
/** More messages of other processes than these fill what the kernel keeps for a socket. */
const MOST_FORGED = 1_000;
/** So many pieces of memory are kept for the next answers. */
const MOST_BUFFERS = 4;

/** A request that held this thread for longer than that waited for other processes. */
const LONGEST_HERE_MS = 5;
/** So long requests are then left to other threads, which costs a tenth of a millisecond each. */
const BUSY_MS = 250;

const buffers: Bytes[] = [];
/** When the kernel was busy last. */
const busyAt = new WeakMap<Libc, number>();

/** A connection with the kernel. It stays in the namespace in which it was opened, wherever its calls run. */
export class NetlinkSocket implements Disposable {
  readonly #libc: Libc;
  /** Whether the part of the kernel has one lock for the whole machine. */
  readonly #isShared: boolean;
  readonly #fd: number;
  readonly #from: Bytes = new Uint8Array(NETLINK_SIZES.sockaddr_nl);
  readonly #fromView = new DataView(this.#from.buffer);
  // A process in the namespace of a pod must not be able to guess it.
  #sequence = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  #isSound = true;

  /**
   * Opens a socket in the namespace where the calling thread is now; `protocol` is the part of the kernel that it reaches.
   *
   * @throws {NetlinkError} If the kernel refuses it.
   */
  constructor(libc: Libc, protocol: number = NETLINK.NETLINK_ROUTE) {
    this.#libc = libc;
    this.#isShared = protocol === NETLINK.NETLINK_ROUTE;
    this.#fd = libc.socket(LIBC.AF_NETLINK, LIBC.SOCK_RAW | LIBC.SOCK_CLOEXEC, protocol);
    if (this.#fd < 0) throw failedCall(libc.errno());
    // Old kernels do not know these options: then reasons have no sentence, and lists are longer than needed.
    for (const option of [NETLINK.NETLINK_EXT_ACK, NETLINK.NETLINK_GET_STRICT_CHK]) {
      libc.setsockopt(this.#fd, LIBC.SOL_NETLINK, option, 1);
    }
  }

  /** Whether the last answer was read to its end: else the rest of it may still arrive. */
  get isSound(): boolean {
    return this.#isSound;
  }

  [Symbol.dispose](): void {
    this.#isSound = false;
    this.#libc.close(this.#fd);
  }

  /** Makes a change. @throws {NetlinkError} */
  async change(request: NetlinkRequest): Promise<void> {
    await this.#exchange(request, "acknowledgement", () => {});
  }

  /** Asks for one thing, and calls `visit` with the answer. @throws {NetlinkError} */
  async get(request: NetlinkRequest, visit: Visit): Promise<void> {
    await this.#exchange(request, "message", visit);
  }

  /**
   * Asks for a list. `begin` is called before each attempt to read it and returns what reads the entries.
   *
   * @throws {NetlinkError}
   */
  async list(request: NetlinkRequest, begin: () => Visit): Promise<void> {
    for (let attempt = 0; attempt < MOST_LISTS; attempt++) {
      const { isInterrupted } = await this.#exchange(request, "done", begin());
      if (!isInterrupted) return;
    }
    throw new NetlinkError("EAGAIN", `the list changed ${MOST_LISTS} times while the kernel made it`);
  }

  async #exchange(request: NetlinkRequest, end: ReplyEnd, visit: Visit): Promise<NetlinkReply> {
    this.#isSound = false;
    this.#sequence = this.#sequence + 1 >>> 0;
    const { bytes, waits, starts = [0] } = request;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const start of starts) {
      view.setUint32(start + NETLINK_OFFSETS.nlmsghdr.nlmsg_seq, this.#sequence, true);
    }
    if (bytes.length > USUAL_SENT_BYTES) {
      // The kernel counts more than the bytes.
      this.#libc.setsockopt(this.#fd, LIBC.SOL_SOCKET, LIBC.SO_SNDBUFFORCE, 2 * bytes.length);
    }
    await this.#send(bytes, waits);
    const reply = new NetlinkReply(this.#sequence, end, visit);
    const buffer = buffers.pop() ?? new Uint8Array(RECEIVED_BYTES);
    try {
      await this.#receive(buffer, reply);
      return reply;
    } finally {
      this.#isSound = reply.isComplete;
      if (buffers.length < MOST_BUFFERS) buffers.push(buffer);
    }
  }

  /** When this returns the kernel has done what was asked, and the answer, or its first part, has arrived. */
  async #send(bytes: Bytes, waits: boolean): Promise<void> {
    // Whatever is away holds the lock of the machine now and then, and so do other processes.
    const start = performance.now();
    const isBusy = this.#libc.away > 0 || start - (busyAt.get(this.#libc) ?? -Infinity) < BUSY_MS;
    if (waits || (this.#isShared && isBusy)) {
      if (await this.#libc.sendAway(this.#fd, bytes, 0) >= 0) return;
      // The reason is known on the other thread only. Nothing was done, so the same may be said again.
    }
    const sent = this.#libc.send(this.#fd, bytes, 0);
    if (sent < 0) throw failedCall(this.#libc.errno());
    const end = performance.now();
    if (this.#isShared && end - start > LONGEST_HERE_MS) busyAt.set(this.#libc, end);
  }

  async #receive(buffer: Bytes, reply: NetlinkReply): Promise<void> {
    for (let received = 0, forged = 0; forged < MOST_FORGED;) {
      const flags = LIBC.MSG_DONTWAIT | LIBC.MSG_TRUNC;
      // The kernel makes the next part of a list while one is received, and may wait for that.
      const length = received < AT_ONCE_BYTES
        ? this.#libc.recvfrom(this.#fd, buffer, flags, this.#from)
        : await this.#libc.recvfromAway(this.#fd, buffer, flags, this.#from);
      if (length < 0) {
        throw received < AT_ONCE_BYTES
          ? failedCall(this.#libc.errno())
          : new NetlinkFormatError("its next part did not come");
      }
      if (length > buffer.length) throw new NetlinkFormatError(`a part of ${length} bytes is cut off`);
      received += length;
      // With the right capability a process of the same namespace may write here too; the kernel is number 0.
      if (this.#fromView.getUint32(NETLINK_OFFSETS.sockaddr_nl.nl_pid, true) !== 0) forged++;
      else if (reply.read(buffer.subarray(0, length))) return;
    }
    throw new NetlinkFormatError("other processes disturb it");
  }
}

/** The error of a call that failed. */
export function failedCall(number: number): NetlinkError {
  return new NetlinkError(errnoName(number), errnoWords(number));
}
