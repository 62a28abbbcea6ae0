import { isArray, isObject, type JsonObject, member } from "../cni/json.ts";
import { asResult, type Dns } from "../cni/result.ts";
import type { AttachmentRecord } from "../state/attachment_record.ts";

/** What the files inside a sandbox are made from. */
export interface InsideSandbox {
  /** The container ID. */
  readonly id: string;
  readonly name: string;
  /** Namespace of the name. */
  readonly namespace: string;
  /** In the order of attachment. */
  readonly networks: readonly InsideNetwork[];
  /** What the request asked for, whatever the networks are. @default {{}} */
  readonly wanted?: Dns | undefined;
}

/** What one attachment of a sandbox says about names. */
export interface InsideNetwork {
  /** The name of the network. */
  readonly network: string;
  /** The addresses of the sandbox in it, without prefix lengths. */
  readonly addresses: readonly string[];
  /** Other names of the sandbox in it. */
  readonly aliases: readonly string[];
  /** What the result of its plugins says. */
  readonly dns: Dns;
  /** What the request asked for. */
  readonly wanted: Dns;
}

/** Returns what the attachments of a sandbox say about names. */
export function insideNetworks(
  attachments: readonly Pick<AttachmentRecord, "network" | "state" | "result" | "capabilityArgs">[],
): readonly InsideNetwork[] {
  return attachments.flatMap(({ network, state, result: json, capabilityArgs }) => {
    if (state !== "attached" || json === undefined) return [];
    const { ips = [], dns = {} } = asResult(json);
    const addresses = ips.map(({ address }) => address.split("/")[0] ?? "");
    return [{
      network,
      addresses,
      aliases: textsOf(capabilityArgs, "aliases"),
      dns,
      wanted: wantedDns(capabilityArgs),
    }];
  });
}

function wantedDns(capabilityArgs: JsonObject): Dns {
  const dns = member(capabilityArgs, "dns");
  if (dns === undefined || !isObject(dns)) return {};
  return {
    nameservers: textsOf(dns, "servers"),
    search: textsOf(dns, "searches"),
    options: textsOf(dns, "options"),
  };
}

function textsOf(object: JsonObject, key: string): readonly string[] {
  const list = member(object, key);
  return isArray(list) ? list.filter((each) => typeof each === "string") : [];
}
