import { errnoName, errnoWords } from "../host/errno.ts";
import { NETLINK, NETLINK_SIZES } from "./netlink_constants.ts";
import { NetlinkFormatError, type NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";

/** The kernel's answer that it did not do what was asked. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";

  /** `errno` is the symbolic name of the reason, such as `EEXIST`; `why` says it in words, without a full stop. */
  constructor(readonly errno: string, readonly why: string) {
    super(`Cannot do what was asked: ${why}`);
  }
}

/** Reads a message of an answer, whose type is not one of those that end it. */
export type Visit = (message: NetlinkMessage, reader: NetlinkReader) => void;

/** How an answer ends: with an acknowledgement, after one message, or with a mark after many. */
export type ReplyEnd = "acknowledgement" | "message" | "done";

/** Collects the answer to one request out of the messages that arrive. */
export class NetlinkReply {
  readonly #sequence: number;
  readonly #end: ReplyEnd;
  readonly #visit: Visit;
  /** Whether the kernel changed what it listed while it did: entries may be missing, or there twice. */
  isInterrupted = false;
  /** Whether nothing more of it can arrive. */
  isComplete = false;

  constructor(sequence: number, end: ReplyEnd, visit: Visit) {
    this.#sequence = sequence;
    this.#end = end;
    this.#visit = visit;
  }

  /**
   * Reads messages that arrived together; returns whether the answer is complete.
   *
   * @throws {NetlinkError} If the kernel refused the request.
   * @throws {NetlinkFormatError} If they are not messages.
   */
  read(bytes: Uint8Array): boolean {
    const reader = new NetlinkReader(bytes);
    for (const message of reader.messages()) {
      // An answer to an earlier request of this socket, which was given up.
      if (message.sequence !== this.#sequence) continue;
      if ((message.flags & NETLINK.NLM_F_DUMP_INTR) !== 0) this.isInterrupted = true;
      if (this.#take(message, reader)) break;
    }
    return this.isComplete;
  }

  #take(message: NetlinkMessage, reader: NetlinkReader): boolean {
    const { type, start, end } = message;
    switch (type) {
      case NETLINK.NLMSG_NOOP:
        return false;
      case NETLINK.NLMSG_OVERRUN:
        throw new NetlinkFormatError("a part of it is lost");
      case NETLINK.NLMSG_ERROR:
        this.isComplete = true;
        throwIfFailed(reader.i32(start, end), () => acknowledgementText(message, reader));
        return true;
      case NETLINK.NLMSG_DONE:
        this.isComplete = true;
        // Old kernels send no number.
        if (end - start >= 4) {
          throwIfFailed(reader.i32(start, end), () => errorText(message, reader, start + 4));
        }
        return true;
    }
    this.#visit(message, reader);
    this.isComplete = this.#end === "message";
    return this.isComplete;
  }
}

function throwIfFailed(number: number, text: () => string): void {
  // A number above zero is the size of something, which old kernels send at the end of a list.
  if (number >= 0) return;
  const words = errnoWords(-number);
  const said = text().trim().replace(/\.$/, "");
  throw new NetlinkError(errnoName(-number), said === "" ? words : `${said} (${words})`);
}

/** The kernel's sentence in an acknowledgement: after the request, of which there may be only the header. */
function acknowledgementText(message: NetlinkMessage, reader: NetlinkReader): string {
  const { flags, start, end } = message;
  const header = start + 4;
  if ((flags & NETLINK.NLM_F_CAPPED) !== 0) {
    return errorText(message, reader, start + NETLINK_SIZES.nlmsgerr);
  }
  const length = end - start < NETLINK_SIZES.nlmsgerr ? NETLINK_SIZES.nlmsghdr : reader.u32(header, end);
  return errorText(message, reader, header + Math.ceil(length / 4) * 4);
}

function errorText({ flags, end }: NetlinkMessage, reader: NetlinkReader, at: number): string {
  if ((flags & NETLINK.NLM_F_ACK_TLVS) === 0) return "";
  let text = "";
  reader.attributes(at, end, (type, start, end) => {
    if (type === NETLINK.NLMSGERR_ATTR_MSG) text = reader.text(start, end);
  });
  return text;
}
