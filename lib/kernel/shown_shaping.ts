import { NETLINK, NETLINK_OFFSETS, NETLINK_SIZES } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import { burstOfTicks, type Incoming, type RateLimit, type Shaping } from "./shaping.ts";
import { listIngressFilters, listQueues } from "./shaping_request.ts";
import { findLink, listed } from "./shown_links.ts";

/** A queue, as far as it is of interest here. */
interface Queue {
  readonly isIngress: boolean;
  readonly limit: RateLimit | undefined;
}

/** Shows how the packets of an interface are queued. @throws {NetlinkError} */
export async function showShaping(socket: NetlinkSocket, device: string): Promise<Shaping> {
  const { index } = await findLink(socket, device);
  const queues = await listed(
    socket,
    listQueues(index),
    (message, reader) => readQueue(message, reader, index),
  );
  const limit = queues.find((queue) => queue.limit !== undefined)?.limit;
  const isFiltered = queues.some(({ isIngress }) => isIngress);
  return { limit, incoming: isFiltered ? await incomingOf(socket, index) : "unfiltered" };
}

async function incomingOf(socket: NetlinkSocket, index: number): Promise<Incoming> {
  const filters = await listed(
    socket,
    listIngressFilters(index),
    (message, reader) =>
      message.type === NETLINK.RTM_NEWTFILTER ? { target: targetOf(message, reader) } : undefined,
  );
  if (filters.length === 0) return "no filters";
  const target = filters.find(({ target }) => target !== undefined)?.target;
  if (target === undefined) return "other filters";
  try {
    return { redirectsTo: (await findLink(socket, target)).name };
  } catch (error) {
    // The filter stays, and drops what comes in.
    if (error instanceof NetlinkError && ["ENODEV", "EINVAL"].includes(error.errno)) {
      return "redirected to nothing";
    }
    throw error;
  }
}

/** Undefined for the queues of other interfaces: the kernel lists them all. */
function readQueue(message: NetlinkMessage, reader: NetlinkReader, index: number): Queue | undefined {
  if (message.type !== NETLINK.RTM_NEWQDISC) return undefined;
  const { start, end } = message;
  const { tcm_ifindex, tcm_parent } = NETLINK_OFFSETS.tcmsg;
  if (reader.i32(start + tcm_ifindex, end) !== index) return undefined;
  const parent = reader.u32(start + tcm_parent, end);
  let kind = "";
  let options: readonly [start: number, end: number] = [end, end];
  reader.attributes(start + NETLINK_SIZES.tcmsg, end, (type, start, end) => {
    if (type === NETLINK.TCA_KIND) kind = reader.text(start, end);
    else if (type === NETLINK.TCA_OPTIONS) options = [start, end];
  });
  const isLimit = kind === "tbf" && parent === NETLINK.TC_H_ROOT;
  return { isIngress: kind === "ingress", limit: isLimit ? readLimit(reader, ...options) : undefined };
}

function readLimit(reader: NetlinkReader, start: number, end: number): RateLimit {
  const { rate: rateAt, limit: limitAt, buffer: bufferAt } = NETLINK_OFFSETS.tc_tbf_qopt;
  const found = { rate: 0, limit: 0, buffer: 0, large: 0 };
  reader.attributes(start, end, (type, start, end) => {
    if (type === NETLINK.TCA_TBF_PARMS) {
      found.rate = reader.u32(start + rateAt + NETLINK_OFFSETS.tc_ratespec.rate, end);
      found.limit = reader.u32(start + limitAt, end);
      found.buffer = reader.u32(start + bufferAt, end);
    } else if (type === NETLINK.TCA_TBF_RATE64) {
      found.large = reader.u32(start, end) + reader.u32(start + 4, end) * 2 ** 32;
    }
  });
  const rate = found.large || found.rate;
  return { rate, burst: burstOfTicks(found.buffer, rate), limit: found.limit };
}

/** Returns the index of the interface to which a filter redirects; undefined if it does something else. */
function targetOf(message: NetlinkMessage, reader: NetlinkReader): number | undefined {
  let target: number | undefined;
  const within = (start: number, end: number, path: readonly number[]) => {
    const [wanted, ...rest] = path;
    reader.attributes(start, end, (type, start, end) => {
      if (type !== wanted) return;
      if (rest.length > 0) within(start, end, rest);
      else target ??= redirectTarget(reader, start, end);
    });
  };
  // The first action decides: it takes the packet.
  const path = [
    NETLINK.TCA_OPTIONS,
    NETLINK.TCA_U32_ACT,
    1,
    NETLINK.TCA_ACT_OPTIONS,
    NETLINK.TCA_MIRRED_PARMS,
  ];
  within(message.start + NETLINK_SIZES.tcmsg, message.end, path);
  return target;
}

function redirectTarget(reader: NetlinkReader, start: number, end: number): number | undefined {
  const { eaction, ifindex } = NETLINK_OFFSETS.tc_mirred;
  const isRedirect = reader.i32(start + eaction, end) === NETLINK.TCA_EGRESS_REDIR;
  return isRedirect ? reader.u32(start + ifindex, end) : undefined;
}
