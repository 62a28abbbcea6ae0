import { CniError } from "../cni/error.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { isTag } from "./attachment_tag.ts";
import { linksEverywhere } from "./links_everywhere.ts";
import type { MasterLink } from "./master_link.ts";
import { hostOf } from "./pair_attachment.ts";
import type { VlanConfig } from "./vlan_config.ts";

/** Returns the error about a VLAN that the master has already, with the name of the interface that has it. */
export async function takenVlan(
  request: PluginRequest,
  { vlanId, isInside }: VlanConfig,
  master: MasterLink,
): Promise<CniError> {
  const where = isInside ? request.netns : undefined;
  const holders = await linksEverywhere(
    hostOf(request),
    (link) =>
      link.kind === "vlan" && link.vlanId === vlanId &&
      (link.parent === master.name || link.peerIndex === master.index),
  );
  // The name of the master means it in its own namespace only, and its index in any other one.
  const holder = holders.find(({ link, netns }) => (link.parent !== "") === (netns === where)) ?? holders[0];
  const text = holder === undefined
    ? "an interface in a namespace without a name has it"
    : `${described(holder.link)} has it${holder.netns === undefined ? "" : ` in "${holder.netns}"`}`;
  return new CniError("conflict", `Cannot create VLAN ${vlanId} on "${master.name}": ${text}`, {
    details:
      `an interface has each VLAN once; the plugin bridge with "vlan": ${vlanId} gives it to many containers`,
  });
}

function described({ name, alias }: { readonly name: string; readonly alias: string }): string {
  const [, ...words] = isTag(alias) ? alias.split(", ") : [];
  return words.length === 0 ? `"${name}"` : `"${name}" (${words.join(", ")})`;
}
