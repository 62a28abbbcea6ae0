import { FAMILIES } from "../cni/default_route.ts";
import { readKernelFiles } from "../host/kernel_file.ts";
import { openLibc } from "../host/libc.ts";
import { speaksNetlink } from "../kernel/choose_kernel.ts";
import { hasNftRules } from "../kernel/netlink_nft.ts";
import type { TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";
import { dnatChain } from "./portmap_frame.ts";
import { HOST_PORTS } from "./portmap_table.ts";

/** Tables of the old iptables, which is not built on nftables, that this network namespace has. */
const OLD_TABLES = ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"];

/**
 * Whether an attachment may have rules although its DEL names no ports, as when a runtime has lost them. Most pods have none:
 * so the kernel is asked in this process, without a program and without the lock of iptables. It cannot be asked that way
 * about the tables of the old iptables, and not at all without the whole `--allow-ffi`; then the answer is yes.
 */
export async function mayHavePorts({ run, signal }: Host, attachment: TaggedAttachment): Promise<boolean> {
  if (!speaksNetlink(run) || /^nat$/m.test(await readKernelFiles(OLD_TABLES, { run, signal }))) return true;
  const chain = await dnatChain(attachment);
  const { containerId: comment } = attachment;
  return await hasNftRules(
    openLibc(),
    FAMILIES.flatMap((family) => [
      { family, table: "nat", chain },
      { family, table: "cni_hostport", chain: HOST_PORTS, comment },
    ]),
  );
}
