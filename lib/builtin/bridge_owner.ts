import { type Cidr, formatCidr } from "../cni/address.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Host } from "./host.ts";

/** The alias of a bridge that this plugin has made; behind it are the addresses that it has given the bridge. */
export const MADE_BRIDGE = "podwire bridge";

/** The kernel takes no longer one. */
const LONGEST_ALIAS = 255;

/**
 * Returns the alias of a bridge with these addresses beside those that its alias names already; undefined for a bridge that
 * another owner has made, whose alias stays as it is.
 */
export function aliasWith({ alias }: LinkInfo, addresses: readonly Cidr[]): string | undefined {
  if (!isMade(alias)) return undefined;
  const given = new Set([...givenIn(alias), ...addresses.map(formatCidr)]);
  const text = [MADE_BRIDGE, ...given].join(" ");
  return text.length <= LONGEST_ALIAS ? text : undefined;
}

/**
 * Returns which addresses of a bridge an ADD may replace, and how many ports other than its own use them. Those that this plugin
 * has given a bridge of its own may go when no other port is left.
 */
export async function replaceable(
  { run, signal }: Host,
  bridge: LinkInfo,
  ownPort: string,
): Promise<{ readonly ports: number; readonly addresses: readonly string[] }> {
  const [links] = await kernelFor(run).apply([{ kind: "show-links", bridge: bridge.name }], { signal });
  const ports = links.filter(({ name }) => name !== ownPort).length;
  return { ports, addresses: ports === 0 && isMade(bridge.alias) ? givenIn(bridge.alias) : [] };
}

function isMade(alias: string): boolean {
  return alias === MADE_BRIDGE || alias.startsWith(`${MADE_BRIDGE} `);
}

function givenIn(alias: string): readonly string[] {
  return alias.slice(MADE_BRIDGE.length).split(" ").filter((word) => word !== "");
}
