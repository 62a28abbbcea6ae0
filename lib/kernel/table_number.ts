import { NETLINK } from "./netlink_constants.ts";
import type { NetlinkWriter } from "./netlink_writer.ts";

/** What fits into the byte of the header. */
const LAST_SHORT = 255;

/** The number of a table of routes as the header has it; an attribute has it then if it is too long. */
export function shortTable(table: number): number {
  return table > LAST_SHORT ? NETLINK.RT_TABLE_UNSPEC : table;
}

/** Writes the attribute with the number of a table if the header has no place for it. */
export function tableAttribute(writer: NetlinkWriter, type: number, table: number): void {
  if (table > LAST_SHORT) writer.attributeU32(type, table);
}
