// A C library for tests, which does nothing by itself.
import type { Bytes, Libc } from "../../lib/host/libc.ts";
import { LIBC } from "../../lib/host/libc_constants.ts";

const done = () => 0;

/** A library whose calls succeed, except those that are given. */
export function fakeLibc(calls: Partial<Libc> = {}): Libc {
  return {
    errno: () => 0,
    open: () => 3,
    statx: () => -1,
    fstatx: () => -1,
    close: () => {},
    isInherited: () => false,
    read: done,
    write: (_fd, bytes) => bytes.length,
    namespaceKind: () => LIBC.CLONE_NEWNET,
    setns: done,
    unshare: done,
    mount: done,
    umount: done,
    socket: () => 4,
    setsockopt: done,
    send: (_fd, bytes) => bytes.length,
    recvfrom: () => -1,
    sendAway: (_fd, bytes) => Promise.resolve(bytes.length),
    recvfromAway: () => Promise.resolve(-1),
    statfsAway: () => Promise.resolve(-1),
    umountAway: () => Promise.resolve(0),
    away: 0,
    ...calls,
  };
}

/** What arrives in answer to one request: pieces, with the number of their sender. */
export type Arrival = { readonly bytes: Uint8Array; readonly sender?: number; readonly length?: number };

/** A library with one socket: `answer` returns what arrives when a request with that number is sent. */
export function answering(
  answer: (sequence: number, request: Bytes) => readonly Arrival[],
  calls: Partial<Libc> = {},
): Libc {
  const waiting: Arrival[] = [];
  const send = (_fd: number, bytes: Bytes) => {
    const sequence = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true);
    waiting.push(...answer(sequence, bytes));
    return bytes.length;
  };
  const recvfrom = (_fd: number, bytes: Bytes, _flags: number, from: Bytes) => {
    const next = waiting.shift();
    if (next === undefined) return -1;
    bytes.set(next.bytes);
    new DataView(from.buffer).setUint32(4, next.sender ?? 0, true);
    return next.length ?? next.bytes.length;
  };
  return fakeLibc({
    errno: () => 11,
    send,
    sendAway: (fd, bytes) => Promise.resolve(send(fd, bytes)),
    recvfrom,
    recvfromAway: (...args) => Promise.resolve(recvfrom(...args)),
    ...calls,
  });
}
