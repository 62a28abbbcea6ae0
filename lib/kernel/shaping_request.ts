import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import { burstTicks, type RateLimit } from "./shaping.ts";

/** The handles of what is made here: `1:` and `ffff:`. */
const ROOT_HANDLE = 0x0001_0000, INGRESS_HANDLE = 0xffff_0000;
/** The class `1:1`, and the priority 1 with all protocols in network order, as `tc` writes the filter. */
const FLOW = 0x0001_0001, FIRST_OF_ALL = 0x0001_0300;
const CREATE = NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE;

/** Makes the queue of what leaves through the interface with that index; replaces the one that is there. */
export function limitRate({ rate, burst, limit }: RateLimit, index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWQDISC, CREATE | NETLINK.NLM_F_REPLACE);
  trafficHeader(writer, { index, handle: ROOT_HANDLE, parent: NETLINK.TC_H_ROOT });
  writer.attributeText(NETLINK.TCA_KIND, "tbf");
  writer.nested(NETLINK.TCA_OPTIONS, () => {
    writer.nested(NETLINK.TCA_TBF_PARMS, () => {
      rateSpec(writer, Math.min(rate, 2 ** 32 - 1));
      rateSpec(writer, 0);
      writer.u32(limit, burstTicks({ rate, burst }), 0);
    });
    if (rate >= 2 ** 32) {
      writer.nested(NETLINK.TCA_TBF_RATE64, () => writer.u32(rate % 2 ** 32, Math.floor(rate / 2 ** 32)));
    }
  });
  return writer.end();
}

/** Makes the place for filters of what comes in through an interface. */
export function addIngress(index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWQDISC, CREATE | NETLINK.NLM_F_EXCL);
  trafficHeader(writer, { index, handle: INGRESS_HANDLE, parent: NETLINK.TC_H_INGRESS });
  writer.attributeText(NETLINK.TCA_KIND, "ingress");
  return writer.end();
}

/** Makes the filter that sends all of it out through another interface. */
export function redirectAll(index: number, to: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_NEWTFILTER, CREATE | NETLINK.NLM_F_EXCL);
  trafficHeader(writer, { index, parent: INGRESS_HANDLE, info: FIRST_OF_ALL });
  writer.attributeText(NETLINK.TCA_KIND, "u32");
  writer.nested(NETLINK.TCA_OPTIONS, () => {
    writer.attributeU32(NETLINK.TCA_U32_CLASSID, FLOW);
    // One key, without bits to compare: the structures tc_u32_sel and tc_u32_key.
    writer.nested(NETLINK.TCA_U32_SEL, () => {
      writer.u8(NETLINK.TC_U32_TERMINAL, 0, 1, 0).u32(0, 0, 0).u32(0, 0, 0, 0);
    });
    writer.nested(NETLINK.TCA_U32_ACT, () => {
      writer.nested(1, () => redirection(writer, to));
    });
  });
  return writer.end();
}

function redirection(writer: NetlinkWriter, to: number): void {
  writer.attributeText(NETLINK.TCA_ACT_KIND, "mirred");
  writer.nested(NETLINK.TCA_ACT_OPTIONS, () => {
    // The structure tc_mirred.
    writer.nested(NETLINK.TCA_MIRRED_PARMS, () => {
      writer.u32(0, 0, NETLINK.TC_ACT_STOLEN, 0, 0, NETLINK.TCA_EGRESS_REDIR, to);
    });
  });
}

/** Removes the queue that {@linkcode limitRate} has made; the kernel refuses it if it is another one. */
export function stopLimit(index: number): NetlinkRequest {
  return removal("tbf", { index, handle: ROOT_HANDLE, parent: NETLINK.TC_H_ROOT });
}

/** Removes what {@linkcode addIngress} has made, with its filters. */
export function stopRedirect(index: number): NetlinkRequest {
  return removal("ingress", { index, handle: INGRESS_HANDLE, parent: NETLINK.TC_H_INGRESS });
}

/** Asks for the queues of all interfaces. */
export function listQueues(index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETQDISC, NETLINK.NLM_F_DUMP);
  trafficHeader(writer, { index });
  return writer.end();
}

/** Asks for the filters of what comes in through an interface. */
export function listIngressFilters(index: number): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETTFILTER, NETLINK.NLM_F_DUMP);
  trafficHeader(writer, { index, parent: INGRESS_HANDLE });
  return writer.end();
}

interface TrafficHeader {
  readonly index: number;
  readonly handle?: number;
  readonly parent?: number;
  readonly info?: number;
}

function removal(kind: string, header: TrafficHeader): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_DELQDISC, NETLINK.NLM_F_ACK);
  trafficHeader(writer, header);
  writer.attributeText(NETLINK.TCA_KIND, kind);
  return writer.end({ waits: true });
}

/** The structure `tcmsg`. */
function trafficHeader(
  writer: NetlinkWriter,
  { index, handle = 0, parent = 0, info = 0 }: TrafficHeader,
): void {
  writer.u8(0, 0).u16(0).u32(index, handle, parent, info);
}

/** The structure `tc_ratespec`. */
function rateSpec(writer: NetlinkWriter, rate: number): void {
  writer.u32(0, 0, rate);
}
