import { parseCidr } from "../cni/address.ts";
import { type NetworkConfigList, requestConfig } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import { asResult, convertResult } from "../cni/result.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { DHCP, dhcpSocketOf } from "../plugin/dhcp.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { listOnRecord } from "../state/recorded_config.ts";

/** A lease of an attachment, as it is asked for. */
export interface Lease {
  readonly record: AttachmentRecord;
  readonly list: NetworkConfigList;
  /** The configuration that the plugin `dhcp` got in the ADD. */
  readonly config: JsonObject;
  /** Of the daemon that holds it. */
  readonly socket: string;
}

/** Returns the leases that an attachment needs; none if its ADD has not ended. */
export function leasesOf(record: AttachmentRecord): readonly Lease[] {
  // Most records are of no such network, and need not be read as JSON.
  if (record.state !== "attached" || !record.config.includes(DHCP)) return [];
  const list = listOf(record);
  return list === undefined ? [] : list.plugins.flatMap((plugin) => {
    const socket = dhcpSocketOf(plugin.json);
    if (socket === undefined) return [];
    const config = requestConfig(list, plugin, { runtimeConfig: record.capabilityArgs });
    return [{ record, list, config, socket }];
  });
}

/** What cannot be read is reported by what detaches it. */
function listOf(record: AttachmentRecord): NetworkConfigList | undefined {
  try {
    return listOnRecord(record);
  } catch {
    return undefined;
  }
}

/** Returns the sockets of the daemons that the plugins of these networks ask. */
export function dhcpSocketsOf(lists: readonly NetworkConfigList[]): ReadonlySet<string> {
  return new Set(lists.flatMap(({ plugins }) => plugins.flatMap(({ json }) => dhcpSocketOf(json) ?? [])));
}

/** Returns the addresses of a result of any version; none if it cannot be read. */
export function addressesOf(result: JsonObject | undefined): readonly string[] {
  try {
    const { ips = [] } = result === undefined ? {} : asResult(convertResult(result, CURRENT_VERSION));
    return ips.flatMap(({ address }) => parseCidr(address) === undefined ? [] : address);
  } catch {
    return [];
  }
}
