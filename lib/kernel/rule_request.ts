import { type Cidr, networkOf } from "../cni/address.ts";
import { LIBC } from "../host/libc_constants.ts";
import { familyOf, ipBytes } from "./ip_bytes.ts";
import { NETLINK } from "./netlink_constants.ts";
import { type NetlinkRequest, NetlinkWriter } from "./netlink_writer.ts";
import type { AddRule, RemoveRule } from "./operation.ts";
import { shortTable, tableAttribute } from "./table_number.ts";

/** Adds a rule; it must not be there yet. */
export function addRule(rule: AddRule): NetlinkRequest {
  const flags = NETLINK.NLM_F_ACK | NETLINK.NLM_F_CREATE | NETLINK.NLM_F_EXCL;
  return ruleRequest(new NetlinkWriter(NETLINK.RTM_NEWRULE, flags), rule);
}

/** Removes a rule. */
export function removeRule(rule: RemoveRule): NetlinkRequest {
  return ruleRequest(new NetlinkWriter(NETLINK.RTM_DELRULE, NETLINK.NLM_F_ACK), rule);
}

/** Asks for all rules of a family. */
export function listRules(family: 4 | 6): NetlinkRequest {
  const writer = new NetlinkWriter(NETLINK.RTM_GETRULE, NETLINK.NLM_F_DUMP);
  writer.u8(family === 4 ? LIBC.AF_INET : LIBC.AF_INET6, 0, 0, 0);
  return writer.u8(0, 0, 0, NETLINK.FR_ACT_UNSPEC).u32(0).end();
}

function ruleRequest(
  writer: NetlinkWriter,
  { source, table, priority }: {
    readonly source: Cidr;
    readonly table: number;
    readonly priority?: number | undefined;
  },
): NetlinkRequest {
  const { ip, prefix } = networkOf(source);
  writer.u8(familyOf(ip), 0, prefix, 0).u8(shortTable(table), 0, 0, NETLINK.FR_ACT_TO_TBL).u32(0);
  if (prefix > 0) writer.attribute(NETLINK.FRA_SRC, ipBytes(ip));
  tableAttribute(writer, NETLINK.FRA_TABLE, table);
  if (priority !== undefined) writer.attributeU32(NETLINK.FRA_PRIORITY, priority);
  return writer.end();
}
