import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";

/** A message or an attribute whose lengths contradict each other: the kernel sends none. */
export class NetlinkFormatError extends Error {
  override readonly name = "NetlinkFormatError";
  readonly errno = "EBADMSG";
  readonly why: string;

  constructor(problem: string) {
    const why = `an answer of the kernel cannot be read: ${problem}`;
    super(`Cannot do what was asked: ${why}`);
    this.why = why;
  }
}

/** A message; its payload begins after the header. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The part of the reader's bytes that is the payload. */
  readonly start: number;
  readonly end: number;
}

/** Bits in the type of an attribute that do not belong to its number. */
const TYPE_FLAGS = NETLINK.NLA_F_NESTED | NETLINK.NLA_F_NET_BYTEORDER;
const decoder = new TextDecoder();

/** Reads the messages in a piece of memory; no read goes beyond it. */
export class NetlinkReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The messages, one after the other. @throws {NetlinkFormatError} */
  *messages(): Generator<NetlinkMessage> {
    const { nlmsg_type, nlmsg_flags, nlmsg_seq } = NETLINK_OFFSETS.nlmsghdr;
    const total = this.#bytes.length;
    for (let at = 0; at < total;) {
      if (total - at < NETLINK_SIZES.nlmsghdr) throw new NetlinkFormatError("it ends inside of a header");
      const length = this.#view.getUint32(at, true);
      if (length < NETLINK_SIZES.nlmsghdr || length > total - at) {
        throw new NetlinkFormatError(`a message of ${length} bytes in ${total - at}`);
      }
      yield {
        type: this.#view.getUint16(at + nlmsg_type, true),
        flags: this.#view.getUint16(at + nlmsg_flags, true),
        sequence: this.#view.getUint32(at + nlmsg_seq, true),
        start: at + NETLINK_SIZES.nlmsghdr,
        end: at + length,
      };
      at += aligned(length);
    }
  }

  /** Calls `visit` with the type and the place of each attribute between two places. @throws {NetlinkFormatError} */
  attributes(start: number, end: number, visit: (type: number, start: number, end: number) => void): void {
    for (let at = start; at < end;) {
      const left = end - at;
      if (left < NETLINK_SIZES.nlattr) throw new NetlinkFormatError("it ends inside of an attribute");
      const length = this.#view.getUint16(at, true);
      if (length < NETLINK_SIZES.nlattr || length > left) {
        throw new NetlinkFormatError(`an attribute of ${length} bytes in ${left}`);
      }
      const type = this.#view.getUint16(at + NETLINK_OFFSETS.nlattr.nla_type, true) & ~TYPE_FLAGS;
      visit(type, at + NETLINK_SIZES.nlattr, at + length);
      at += aligned(length);
    }
  }

  /** The number of one byte at a place before `end`. @throws {NetlinkFormatError} */
  u8(at: number, end: number): number {
    this.#check(at, 1, end);
    return this.#view.getUint8(at);
  }

  /** The number of two bytes. @throws {NetlinkFormatError} */
  u16(at: number, end: number): number {
    this.#check(at, 2, end);
    return this.#view.getUint16(at, true);
  }

  /** The number of four bytes. @throws {NetlinkFormatError} */
  u32(at: number, end: number): number {
    this.#check(at, 4, end);
    return this.#view.getUint32(at, true);
  }

  /** The number of eight bytes; one above 2^53 is rounded. @throws {NetlinkFormatError} */
  u64(at: number, end: number): number {
    this.#check(at, 8, end);
    return Number(this.#view.getBigUint64(at, true));
  }

  /** The number of four bytes, which may be below zero. @throws {NetlinkFormatError} */
  i32(at: number, end: number): number {
    this.#check(at, 4, end);
    return this.#view.getInt32(at, true);
  }

  /** The bytes, in the memory of the reader. @throws {NetlinkFormatError} */
  bytes(start: number, end: number): Uint8Array {
    this.#check(start, 0, end);
    return this.#bytes.subarray(start, end);
  }

  /** The text up to its null, or up to `end`. @throws {NetlinkFormatError} */
  text(start: number, end: number): string {
    const bytes = this.bytes(start, end);
    const length = bytes.indexOf(0);
    return decoder.decode(length < 0 ? bytes : bytes.subarray(0, length));
  }

  #check(at: number, size: number, end: number): void {
    if (at < 0 || at + size > end || end > this.#bytes.length) {
      throw new NetlinkFormatError(`${end - at} bytes where ${size} are expected`);
    }
  }
}

function aligned(length: number): number {
  return length + 3 & ~3;
}
