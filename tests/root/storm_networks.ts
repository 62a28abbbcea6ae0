/**
 * The networks of a storm. Every version of a file has a subnet of its own, so an address shows its origin.
 */
import type { JsonObject } from "../../lib/cni/json.ts";

/** Which plugins a storm is about. */
export const STORM_PLUGINS = ["built-in", "1.9.1"] as const;
export type StormPlugins = typeof STORM_PLUGINS[number];

/** Marks each call, and passes on the results of the plugins before it. */
export const MARKER = "storm-marker";

export const NETWORKS = {
  main: { index: 0, isSteady: true, isMasqueraded: true },
  blue: { index: 1, isSteady: false, isMasqueraded: true },
  green: { index: 2, isSteady: false, isMasqueraded: false },
  port: { index: 3, isSteady: false, isMasqueraded: true },
  // Addresses can only be requested where the subnet stays: it has one version.
  fixed: { index: 4, isSteady: false, isMasqueraded: false },
  decoy: { index: 5, isSteady: false, isMasqueraded: false },
} as const;

/** `main` is the default, and its file is never gone for longer than two system calls take. */
export type NetworkKey = keyof typeof NETWORKS;

/** Versions begin anew after so many. */
export const VERSIONS = 250;

/**
 * The version of a second file with the name of a network, which takes the place of the first while that is
 * gone.
 */
export const SECOND = 255;

/** The subnet from which addresses are requested: room for a thousand pods. */
const FIXED_SUBNET = "10.84.0.0/22";

/** The address that a pod with that number requests. */
export function askedAddress(pod: number): string {
  const host = 10 + pod;
  if (host > 1_000) throw new RangeError(`pod ${pod} is beyond ${FIXED_SUBNET}`);
  return `10.84.${host >> 8}.${host & 255}`;
}

/** To which version of which network an address belongs. */
export function originOf(
  address: string,
): { readonly key: NetworkKey; readonly version: number } | undefined {
  const [first, second = 0, version = 0] = address.split(".").map(Number);
  const key = (Object.keys(NETWORKS) as NetworkKey[]).find((key) => NETWORKS[key].index === second - 80);
  if (first !== 10 || key === undefined) return undefined;
  return { key, version: key === "fixed" ? 0 : version };
}

/** What the networks of one storm are made of. */
export interface NetworkPlaces {
  readonly plugins: StormPlugins;
  /** Of all names of networks. */
  readonly tag: string;
  /** Of all bridges; 15 characters with the four that are added. */
  readonly bridge: string;
  /** Where host-local keeps its addresses. */
  readonly dataDir: string;
}

export function nameOf(key: NetworkKey, { tag }: Pick<NetworkPlaces, "tag">): string {
  return `${key}-${tag}`;
}

/** The content of a network's file. */
export function textOf(key: NetworkKey, version: number, places: NetworkPlaces): string {
  const name = nameOf(key, places);
  const list = { cniVersion: "1.1.0", name, plugins: pluginsOf(key, version, places) };
  return JSON.stringify(list, undefined, 2);
}

/** The content of a file in the plugin folder of a network. */
export function folderText(key: NetworkKey): string {
  return JSON.stringify(markerOf(`${key}/folder`), undefined, 2);
}

function pluginsOf(key: NetworkKey, version: number, places: NetworkPlaces): readonly JsonObject[] {
  const { index, isMasqueraded } = NETWORKS[key];
  const isReal = places.plugins !== "built-in";
  const subnet = key === "fixed" ? FIXED_SUBNET : `10.${80 + index}.${version}.0/24`;
  const bridge: JsonObject = {
    type: "bridge",
    bridge: `${places.bridge}${key.charAt(0)}${version}`,
    isGateway: true,
    isDefaultGateway: key === "main",
    ipMasq: isMasqueraded,
    // A bridge that comes and goes with its pods, which only the built-in one can do.
    ...(key === "green" && !isReal ? { removeEmptyBridge: true } : {}),
    ...(key === "fixed" ? { capabilities: { ips: true } } : {}),
    ipam: { type: "host-local", dataDir: places.dataDir, ranges: [[{ subnet }]] },
  };
  const marker = markerOf(`${key}/${version}`);
  if (key !== "port") return [bridge, marker];
  const capabilities = { portMappings: true };
  // Without a plugin that forwards, the ports are claimed all the same.
  return isReal ? [bridge, { type: "portmap", capabilities }, marker] : [bridge, { ...marker, capabilities }];
}

function markerOf(mark: string): JsonObject {
  return { type: MARKER, mark };
}

/** The marker as a program: it appends `VERB CONTAINER INTERFACE MARK` to the log. */
export function markerProgram(log: string): string {
  return `#!/bin/sh
case $CNI_COMMAND in
  VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}'; exit ;;
  ADD | CHECK | DEL) ;;
  *) exit ;;
esac
read -r config || :
mark=\${config#*'"mark":"'}
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME \${mark%%'"'*}" >>'${log}'
[ "$CNI_COMMAND" = ADD ] || exit 0
# It comes last in what a plugin gets.
result=\${config#*'"prevResult":'}
echo "\${result%\\}}"
`;
}
