import type { Family } from "../cni/default_route.ts";
import { HostError, runOk } from "../host/command.ts";
import { readKernelFiles } from "../host/kernel_file.ts";
import { all } from "./all.ts";
import { CHAINS } from "./firewall_needs.ts";
import type { Host } from "./host.ts";

/** The older kind of iptables has its rules beside those of nftables. Packets pass both. */
const LEGACY = {
  4: { tables: "/proc/net/ip_tables_names", program: "iptables-legacy" },
  6: { tables: "/proc/net/ip6_tables_names", program: "ip6tables-legacy" },
} as const;

/**
 * Returns the names of chains of the older kind of iptables that stop forwarded packets of these families, unless the rules of
 * the plugin are in them: where it is the kind that is in use, they are.
 */
export async function closedLegacyChains(
  host: Host,
  families: readonly Family[],
): Promise<readonly string[]> {
  const closed = await all(families.map((family) => isClosed(host, family)));
  return families.filter((_, index) => closed[index]).map((family) => `FORWARD of ${LEGACY[family].program}`);
}

async function isClosed(host: Host, family: Family): Promise<boolean> {
  const { tables, program } = LEGACY[family];
  try {
    // To list a table that is not there would make it.
    const names = (await readKernelFiles([tables], host)).split("\n");
    if (!names.includes("filter")) return false;
    const args = ["-w", "-t", "filter", "-S", "FORWARD"];
    const lines = (await runOk(host.run, { program, args, signal: host.signal, ownGroup: false })).stdout
      .split("\n");
    return lines.includes("-P FORWARD DROP") && !lines.some((line) => line.endsWith(` -j ${CHAINS.forward}`));
  } catch (error) {
    // Without the program there is no word about its rules.
    if (error instanceof HostError) return false;
    throw error;
  }
}

/** Whether `iptables` is the older kind itself. */
export async function isLegacy({ run, signal }: Host): Promise<boolean> {
  try {
    const request = { program: "iptables", args: ["--version"], signal, ownGroup: false };
    return !(await runOk(run, request)).stdout.includes("nf_tables");
  } catch (error) {
    if (error instanceof HostError) return false;
    throw error;
  }
}
