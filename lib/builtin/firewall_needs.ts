import { type Ip, parseCidr } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Interface, Result } from "../cni/result.ts";

/** The chains of the plugin beside the one of the administrator. */
export const CHAINS = {
  /** What the containers may do; FORWARD jumps to it. */
  forward: "CNI-FORWARD",
  /** The containers of which ports may be published; `CNI-FORWARD` jumps to it. */
  published: "CNI-PUBLISHED",
  /** Packets of bridges that are isolated; FORWARD jumps to it first. */
  stage1: "CNI-ISOLATION-STAGE-1",
  /** Those of them that leave their bridge. */
  stage2: "CNI-ISOLATION-STAGE-2",
} as const;

/** Which packets of containers an ingress policy stops. */
export interface Isolation {
  /** The bridge of the containers. */
  readonly bridge: string;
  /** Whether also the containers of the bridge cannot reach each other. */
  readonly isWithin: boolean;
}

/** What an attachment needs of the firewall. */
export interface FirewallNeeds {
  /** The comment of its rules; it begins with the tag of the attachment. */
  readonly comment: string;
  readonly addresses: readonly Ip[];
  readonly adminChain: string;
  readonly isolation: Isolation | undefined;
  /** Whether its packets that belong to no known connection, and that nothing masquerades therefore, are not forwarded. */
  readonly dropsInvalid?: boolean | undefined;
}

/** Which rules are to go. */
export interface FirewallRemoval {
  /** Whether a comment is that of such a rule. */
  readonly isOwn: (comment: string) => boolean;
  /** Those whose rules have no comment. */
  readonly addresses: readonly Ip[];
}

/** Returns the addresses of a family. */
export function addressesOfFamily(addresses: readonly Ip[], family: Family): readonly Ip[] {
  return addresses.filter((ip) => ip.family === family);
}

/** Returns the addresses of a result. */
export function addressesOfResult({ ips = [] }: Result): readonly Ip[] {
  return ips.flatMap(({ address }) => parseCidr(address)?.ip ?? []);
}

/**
 * Returns the bridge of a result: its first interface, which is on the host. In a VLAN it is the interface of the gateway
 * instead: packets of the pods come to the host through that one.
 *
 * @throws {CniError} With the code 7 if the plugin before this one made no such interface. A rule for the name of an interface
 * in the container would stop the packets of an interface of the host with the same name.
 */
export function bridgeOfResult({ interfaces = [] }: Result, policy: string): string {
  const [first] = interfaces;
  // What iptables and nftables take as it is; a "+" at the end would stand for all names that begin so.
  if (first !== undefined && !first.sandbox && /^[\w.:@-]+$/.test(first.name)) {
    const isGateway = ({ name, sandbox }: Interface) =>
      !sandbox && name.startsWith(`${first.name}.`) && /^\d+$/.test(name.slice(first.name.length + 1));
    return interfaces.find(isGateway)?.name ?? first.name;
  }
  const found = first === undefined
    ? "the plugins before this one made no interface"
    : `the first interface of the result, ${JSON.stringify(first.name)}, is not a bridge of the host`;
  throw new CniError("config", `Cannot apply ingressPolicy "${policy}": ${found}`, {
    code: ERROR_CODES.invalidNetworkConfig,
    details: 'use the plugin after "bridge"',
  });
}
