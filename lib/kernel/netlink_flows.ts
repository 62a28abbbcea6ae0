import type { Ip } from "../cni/address.ts";
import { LIBC } from "../host/libc_constants.ts";
import type { Libc } from "../host/libc.ts";
import type { Flow, FlowSelection } from "./flow.ts";
import { ipOf } from "./ip_bytes.ts";
import { withNetfilter } from "./netfilter_socket.ts";
import { NETLINK, NETLINK_SIZES } from "./netlink_constants.ts";
import type { NetlinkMessage, NetlinkReader } from "./netlink_reader.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";

const UDP = 17;
/** What of a tuple a filter looks at, by its bits in the kernel, which no header has. */
const OF_PROTOCOL = 1 << 3, OF_DESTINATION_PORT = 1 << 5;

/** A connection, with what names it when it is to be removed. */
interface AnsweredFlow extends Flow {
  readonly tuple: Uint8Array;
  readonly zone: Uint8Array | undefined;
}

/**
 * Removes the selected connections in the namespace where the calling thread is now; returns how many there were.
 *
 * @throws {NetlinkError} If the kernel does not show its connections.
 */
export async function removeFlowsByNetlink(
  libc: Libc,
  selection: FlowSelection,
  signal: AbortSignal | undefined,
): Promise<number> {
  return await withNetfilter(libc, async (socket) => {
    const selected = await selectedFlows(socket, selection);
    for (const flow of selected) {
      signal?.throwIfAborted();
      try {
        await socket.change(removal(selection.family, flow));
      } catch (error) {
        // It has ended by itself.
        if (!(error instanceof NetlinkError) || error.errno !== "ENOENT") throw error;
      }
    }
    return selected.length;
  });
}

/** A machine may have hundreds of thousands of connections: a kernel from 5.8 on leaves out the most of them itself. */
async function selectedFlows(
  socket: NetlinkSocket,
  { family, port, isSelected }: FlowSelection,
): Promise<readonly AnsweredFlow[]> {
  let selected: AnsweredFlow[] = [];
  const writer = flowRequest(NETLINK.IPCTNL_MSG_CT_GET, NETLINK.NLM_F_DUMP, family);
  writer.nested(NETLINK.CTA_TUPLE_ORIG | NETLINK.NLA_F_NESTED, () => {
    writer.nested(NETLINK.CTA_TUPLE_PROTO | NETLINK.NLA_F_NESTED, () => {
      writer.attributeU8(NETLINK.CTA_PROTO_NUM, UDP);
      if (port === undefined) return;
      writer.attribute(NETLINK.CTA_PROTO_DST_PORT, Uint8Array.of(port >> 8, port & 0xff));
    });
  });
  writer.nested(NETLINK.CTA_FILTER | NETLINK.NLA_F_NESTED, () => {
    const flags = port === undefined ? OF_PROTOCOL : OF_PROTOCOL | OF_DESTINATION_PORT;
    writer.attributeU32(NETLINK.CTA_FILTER_ORIG_FLAGS, flags).attributeU32(NETLINK.CTA_FILTER_REPLY_FLAGS, 0);
  });
  await socket.list(writer.end(), () => {
    selected = [];
    return (message, reader) => {
      const flow = readFlow(message, reader);
      if (flow !== undefined && isSelected(flow)) selected.push(flow);
    };
  });
  return selected;
}

function flowRequest(type: number, flags: number, family: 4 | 6): NetlinkWriter {
  const writer = new NetlinkWriter(NETLINK.NFNL_SUBSYS_CTNETLINK << 8 | type, flags);
  // The structure `nfgenmsg`: the family, a version and a number that are zero.
  return writer.u8(family === 4 ? LIBC.AF_INET : LIBC.AF_INET6, 0, 0, 0);
}

function removal(family: 4 | 6, { tuple, zone }: AnsweredFlow): NetlinkRequest {
  const writer = flowRequest(NETLINK.IPCTNL_MSG_CT_DELETE, NETLINK.NLM_F_ACK, family);
  writer.attribute(NETLINK.CTA_TUPLE_ORIG | NETLINK.NLA_F_NESTED, tuple);
  if (zone !== undefined) writer.attribute(NETLINK.CTA_ZONE, zone);
  return writer.end();
}

/** Reads a connection; undefined if it is not one of UDP. */
function readFlow({ start, end }: NetlinkMessage, reader: NetlinkReader): AnsweredFlow | undefined {
  let sent: Tuple | undefined;
  let answered: Tuple | undefined;
  let tuple: Uint8Array | undefined;
  let zone: Uint8Array | undefined;
  reader.attributes(start + NETLINK_SIZES.nfgenmsg, end, (type, start, end) => {
    if (type === NETLINK.CTA_TUPLE_ORIG) {
      sent = readTuple(reader, start, end);
      tuple = reader.bytes(start, end).slice();
    }
    if (type === NETLINK.CTA_TUPLE_REPLY) answered = readTuple(reader, start, end);
    if (type === NETLINK.CTA_ZONE) zone = reader.bytes(start, end).slice();
  });
  const { destination, port, protocol } = sent ?? {};
  const { source: answerer } = answered ?? {};
  if (protocol !== UDP || destination === undefined || port === undefined) return undefined;
  return answerer && tuple && { destination, port, answerer, tuple, zone };
}

/** What packets of one direction have in common. */
interface Tuple {
  source?: Ip | undefined;
  destination?: Ip | undefined;
  protocol?: number;
  /** That of the destination. */
  port?: number;
}

function readTuple(reader: NetlinkReader, start: number, end: number): Tuple {
  const tuple: Tuple = {};
  reader.attributes(start, end, (part, start, end) => {
    reader.attributes(start, end, (type, start, end) => {
      if (part === NETLINK.CTA_TUPLE_IP) {
        if (type === NETLINK.CTA_IP_V4_SRC || type === NETLINK.CTA_IP_V6_SRC) {
          tuple.source = ipOf(reader.bytes(start, end));
        }
        if (type === NETLINK.CTA_IP_V4_DST || type === NETLINK.CTA_IP_V6_DST) {
          tuple.destination = ipOf(reader.bytes(start, end));
        }
      }
      if (part === NETLINK.CTA_TUPLE_PROTO) {
        if (type === NETLINK.CTA_PROTO_NUM) tuple.protocol = reader.u8(start, end);
        if (type === NETLINK.CTA_PROTO_DST_PORT) {
          // The network's order: the most significant byte first.
          tuple.port = reader.u8(start, end) << 8 | reader.u8(start + 1, end);
        }
      }
    });
  });
  return tuple;
}
