import { CniError } from "../cni/error.ts";
import type { Host } from "./host.ts";
import { listIptables } from "./iptables.ts";
import { listNft } from "./nft.ts";

/** What can rewrite the addresses of packets. */
export type RuleBackend = "iptables" | "nftables";

/** Fails unless the requested backend works on this machine, or any if none is requested. */
export async function requireRuleBackend(
  host: Host,
  requested: RuleBackend | undefined,
  options: { readonly what: string; readonly details: string; readonly code: number },
): Promise<void> {
  if (requested !== "nftables" && await listIptables(host, 4, "nat", "POSTROUTING") !== undefined) return;
  if (requested !== "iptables" && await listNft(host, "table inet cni_plugins_masquerade") !== undefined) {
    return;
  }
  throw noRuleBackend(requested, options);
}

/** Returns the error of a plugin that needs a backend and has none. */
export function noRuleBackend(
  requested: RuleBackend | undefined,
  { what, details, code }: { readonly what: string; readonly details: string; readonly code: number },
): CniError {
  const state = requested === undefined
    ? "neither iptables nor nftables works here"
    : `${requested} does not work here`;
  return new CniError("not-ready", `Cannot ${what}: ${state}`, { code, details });
}
