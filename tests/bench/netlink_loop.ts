/**
 * What a namespace with a veth pair on a bridge, an address and a route takes at the least: each system call once, and the
 * requests of a namespace in one message. The bytes of the requests are made by lib/kernel; sockets, order and answers are
 * this file's own, without checks and words for people.
 */
import { type Cidr, type Ip, parseCidr } from "../../lib/cni/address.ts";
import { type Bytes, type Libc, openLibc } from "../../lib/host/libc.ts";
import { LIBC } from "../../lib/host/libc_constants.ts";
import { addAddress } from "../../lib/kernel/address_request.ts";
import { inNetns } from "../../lib/kernel/in_netns.ts";
import { createVeth, getLink, removeLink, setLink } from "../../lib/kernel/link_request.ts";
import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "../../lib/kernel/netlink_constants.ts";
import type { NetlinkRequest } from "../../lib/kernel/netlink_writer.ts";
import { addRoute } from "../../lib/kernel/route_request.ts";

/** A pod as the loop makes it. */
export interface LoopPod {
  /** The path at which its namespace is mounted. */
  readonly netns: string;
  /** The name of its interface on this side. */
  readonly host: string;
  readonly address: Cidr;
  readonly gateway: Ip;
}

const HERE = "/proc/thread-self/ns/net";
const LOOPBACK = 1;
const ANSWER_BYTES = 32 * 1024;
const EVERYWHERE = parseCidr("0.0.0.0/0");

/** Makes pods by one socket in this namespace and one in that of each pod. Requires root and `--allow-ffi`. */
export class NetlinkLoop {
  readonly #libc: Libc = openLibc();
  readonly #host: number;
  readonly #bridge: number;
  readonly #answer: Bytes = new Uint8Array(ANSWER_BYTES);
  readonly #view = new DataView(this.#answer.buffer);
  readonly #from: Bytes = new Uint8Array(NETLINK_SIZES.sockaddr_nl);

  constructor(bridge: string) {
    this.#host = this.#socket();
    this.#bridge = this.#indexOf(this.#host, bridge);
  }

  /** Makes the pod without a turn of the event loop. */
  make({ netns, host, address, gateway }: LoopPod): void {
    const libc = this.#libc;
    Deno.writeFileSync(netns, new Uint8Array(), { createNew: true });
    const inside = inNetns(libc, () => libc.unshare(LIBC.CLONE_NEWNET), () => {
      this.#must("mount a namespace", libc.mount(HERE, netns, LIBC.MS_BIND));
      return this.#socket();
    }, () => new Error("Cannot make a namespace"));
    const fd = this.#must("open a namespace", libc.open(netns, LIBC.O_RDONLY | LIBC.O_CLOEXEC));
    try {
      const peer = { name: "eth0", mac: mac(), netns };
      const pair = { kind: "create-veth", name: host, mac: mac(), bridge: "", peer } as const;
      this.#change(this.#host, [createVeth(pair, { bridge: this.#bridge, netns: fd })]);
      const index = this.#indexOf(inside, "eth0");
      if (EVERYWHERE === undefined) throw new Error("there is no network of all addresses");
      this.#change(inside, [
        setLink({ up: true }, LOOPBACK),
        addAddress({ address }, index),
        setLink({ up: true }, index),
        addRoute({ kind: "add-route", device: "eth0", dst: EVERYWHERE, gateway }, index),
      ]);
    } finally {
      libc.close(fd);
      libc.close(inside);
    }
  }

  /** Removes the pod; the kernel waits for milliseconds meanwhile, on another thread. */
  async remove({ netns, host }: Pick<LoopPod, "netns" | "host">): Promise<void> {
    const socket = this.#socket();
    try {
      const { bytes } = removeLink(this.#indexOf(socket, host));
      this.#must("remove a pair", await this.#libc.sendAway(socket, bytes, 0));
      this.#receive(socket, 1);
    } finally {
      this.#libc.close(socket);
    }
    this.#must("unmount a namespace", await this.#libc.umountAway(netns, LIBC.MNT_DETACH));
    Deno.removeSync(netns);
  }

  [Symbol.dispose](): void {
    this.#libc.close(this.#host);
  }

  #socket(): number {
    const type = LIBC.SOCK_RAW | LIBC.SOCK_CLOEXEC;
    return this.#must("open a socket", this.#libc.socket(LIBC.AF_NETLINK, type, NETLINK.NETLINK_ROUTE));
  }

  #indexOf(socket: number, name: string): number {
    this.#must("ask for a link", this.#libc.send(socket, getLink(name).bytes, 0));
    this.#receiveOnce(socket);
    const type = this.#view.getUint16(NETLINK_OFFSETS.nlmsghdr.nlmsg_type, true);
    if (type !== NETLINK.RTM_NEWLINK) throw new Error(`Cannot find the link "${name}"`);
    return this.#view.getInt32(NETLINK_SIZES.nlmsghdr + NETLINK_OFFSETS.ifinfomsg.ifi_index, true);
  }

  #change(socket: number, requests: readonly NetlinkRequest[]): void {
    const size = requests.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const message = new Uint8Array(size);
    let at = 0;
    for (const { bytes } of requests) {
      message.set(bytes, at);
      at += bytes.length;
    }
    this.#must("send a change", this.#libc.send(socket, message, 0));
    this.#receive(socket, requests.length);
  }

  /** Reads that many acknowledgements, which have arrived when the request is sent. */
  #receive(socket: number, count: number): void {
    for (let left = count; left > 0;) {
      const length = this.#receiveOnce(socket);
      for (let at = 0; at < length; left--) {
        const error = this.#view.getInt32(at + NETLINK_SIZES.nlmsghdr, true);
        if (error !== 0) throw new Error(`Cannot change the network: error ${-error}`);
        at += this.#view.getUint32(at, true) + 3 & ~3;
      }
    }
  }

  #receiveOnce(socket: number): number {
    return this.#must(
      "read an answer",
      this.#libc.recvfrom(socket, this.#answer, LIBC.MSG_DONTWAIT, this.#from),
    );
  }

  #must(what: string, result: number): number {
    if (result < 0) throw new Error(`Cannot ${what}: error ${this.#libc.errno()}`);
    return result;
  }
}

/** A locally administered address. */
function mac(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(5));
  return ["02", ...Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"))].join(":");
}
