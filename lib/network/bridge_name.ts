import { fnv1a } from "../host/fnv.ts";

/** The longest name of an interface, in characters. */
const LONGEST_INTERFACE = 15;

/**
 * Returns the name of the bridge of a network that names none; one that fits begins like the network. With a VLAN there is room
 * for its number behind it: so the gateway in the VLAN is called.
 */
export function bridgeOf(network: string, vlan?: number): string {
  const longest = longestBridge(vlan);
  const name = `pw-${network}`;
  if (name.length <= longest) return name;
  return `pw-${fnv1a(network, 32).toString(16).padStart(8, "0")}`.slice(0, longest);
}

/** Returns how many characters the name of a bridge may have whose gateway is in a VLAN. */
function longestBridge(vlan: number | undefined): number {
  return LONGEST_INTERFACE - (vlan === undefined ? 0 : `.${vlan}`.length);
}

/** Says why a bridge that is named cannot have a gateway in a VLAN, with details; undefined if it can, or needs none. */
export function bridgeProblem(
  vlan: number,
  { bridge = "", ipam = "host-local" }: Readonly<Record<string, string>>,
): readonly [problem: string, details: string] | undefined {
  if (ipam !== "host-local" || bridge.length <= longestBridge(vlan)) return undefined;
  const name = `"${bridge}.${vlan}" would be the name of its gateway`;
  return [
    `bridge: "${bridge}" is too long for a VLAN`,
    `${name}, and may have ${LONGEST_INTERFACE} characters`,
  ];
}
