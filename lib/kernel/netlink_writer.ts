import type { Bytes } from "../host/libc.ts";
import { NETLINK, NETLINK_SIZES } from "./netlink_constants.ts";

/** A request to the kernel. */
export interface NetlinkRequest {
  /** With a sequence number of zero, which the socket replaces. */
  readonly bytes: Bytes;
  /** Whether the kernel may take milliseconds for it. */
  readonly waits: boolean;
  /** Where its messages begin, if it has several: all get the same number. */
  readonly starts?: readonly number[] | undefined;
}

const FIRST_SIZE = 256;
const encoder = new TextEncoder();
/** The places in the header of a message. */
const TYPE = 4, FLAGS = 6;

/** Writes one request: the header, a structure of its type, and attributes, each at a multiple of four bytes. */
export class NetlinkWriter {
  #bytes: Bytes = new Uint8Array(FIRST_SIZE);
  #view = new DataView(this.#bytes.buffer);
  #length: number = NETLINK_SIZES.nlmsghdr;

  constructor(type: number, flags: number) {
    this.#view.setUint16(TYPE, type, true);
    this.#view.setUint16(FLAGS, NETLINK.NLM_F_REQUEST | flags, true);
  }

  u8(...values: readonly number[]): this {
    for (const value of values) {
      const at = this.#grow(1);
      this.#view.setUint8(at, value);
    }
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(...values: readonly number[]): this {
    for (const value of values) {
      const at = this.#grow(4);
      this.#view.setUint32(at, value, true);
    }
    return this;
  }

  /** An attribute with bytes. */
  attribute(type: number, value: Uint8Array): this {
    this.u16(NETLINK_SIZES.nlattr + value.length).u16(type);
    const at = this.#grow((value.length + 3) & ~3);
    this.#bytes.set(value, at);
    return this;
  }

  /** An attribute with a number of one byte. */
  attributeU8(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value));
  }

  /** An attribute with a number of two bytes. */
  attributeU16(type: number, value: number): this {
    return this.attribute(type, Uint8Array.of(value & 0xff, value >> 8));
  }

  /** An attribute with a number of four bytes. */
  attributeU32(type: number, value: number): this {
    return this.u16(NETLINK_SIZES.nlattr + 4).u16(type).u32(value);
  }

  /** An attribute with a text, which ends with a null. */
  attributeText(type: number, text: string): this {
    return this.attribute(type, encoder.encode(`${text}\0`));
  }

  /** An attribute that consists of what `write` writes. */
  nested(type: number, write: () => void): this {
    const start = this.#length;
    this.u16(0).u16(type);
    write();
    this.#view.setUint16(start, this.#length - start, true);
    return this;
  }

  /** Adds flags to those of the header. */
  withFlags(flags: number): this {
    this.#view.setUint16(FLAGS, this.#view.getUint16(FLAGS, true) | flags, true);
    return this;
  }

  /** Returns one request of several messages, which the kernel gets together. */
  static join(writers: readonly NetlinkWriter[]): NetlinkRequest {
    const messages = writers.map((writer) => writer.end().bytes);
    const starts: number[] = [];
    let length = 0;
    for (const message of messages) {
      starts.push(length);
      length += (message.length + 3) & ~3;
    }
    const bytes: Bytes = new Uint8Array(length);
    for (const [index, message] of messages.entries()) bytes.set(message, starts[index]);
    return { bytes, waits: false, starts };
  }

  /** Returns the request. */
  end({ waits = false }: { readonly waits?: boolean } = {}): NetlinkRequest {
    this.#view.setUint32(0, this.#length, true);
    return { bytes: this.#bytes.subarray(0, this.#length), waits };
  }

  /** Makes room at the end, which may be in other memory, and returns where it begins. */
  #grow(size: number): number {
    const start = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }
}
