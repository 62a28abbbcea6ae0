import type { Libc } from "../host/libc.ts";
import { NETLINK } from "./netlink_constants.ts";
import { NetlinkSocket } from "./netlink_socket.ts";

/** More than these are seldom in use at the same time. */
const MOST_IDLE = 16;

const idle = new WeakMap<Libc, NetlinkSocket[]>();

/**
 * Calls `fn` with a socket that reaches the rules for packets and the connections of the namespace where the calling thread is
 * now, which has to be that of this process. The socket stays open for the next call: when one is closed, the kernel waits
 * until everything is gone that the last transaction of rules has removed, which takes tens of milliseconds.
 *
 * @throws {NetlinkError} If the kernel refuses the socket.
 */
export async function withNetfilter<T>(libc: Libc, fn: (socket: NetlinkSocket) => Promise<T>): Promise<T> {
  const sockets = idle.get(libc) ?? [];
  idle.set(libc, sockets);
  const socket = sockets.pop() ?? new NetlinkSocket(libc, NETLINK.NETLINK_NETFILTER);
  try {
    return await fn(socket);
  } finally {
    if (socket.isSound && sockets.length < MOST_IDLE) sockets.push(socket);
    else socket[Symbol.dispose]();
  }
}
