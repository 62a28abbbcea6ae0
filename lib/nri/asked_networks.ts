import { CniError } from "../cni/error.ts";
import type { WantedNetwork } from "../pod/request.ts";
import type { NetworkWishes } from "./annotated_network.ts";
import { type NamedNetwork, OWN_ANNOTATION, readAnnotations } from "./annotations.ts";
import { ANY_NAMESPACE, type NetworkPermissions, type NriPolicy } from "./policy.ts";

/** A pod as an engine describes it. */
export interface AskingPod {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly annotations: Readonly<Record<string, string>>;
}

/** A network that a pod asks for, and may have. */
export interface AskedNetwork extends NetworkWishes {
  /** The network of podwire. */
  readonly network: string;
  /** `NAMESPACE/NAME`, for network-status. */
  readonly title: string;
  /** The interface inside the pod. */
  readonly ifName: string;
  /** Subnets of the cluster, to which traffic stays on eth0. */
  readonly clusterCidrs: readonly string[];
}

/** Options of {@linkcode networksOf}. */
export interface NetworksOfOptions {
  /** Called for what is read, but should be written differently. */
  readonly warn?: ((warning: string) => void) | undefined;
}

/**
 * Returns the networks that a pod asks for in its annotations; none if it asks for none.
 *
 * @throws {CniError} kind `usage`, if an annotation is invalid, naming it, the element, the key and the rule; kind `permission`, if
 * the policy does not allow what it asks for, naming the namespace, the network and the rule
 */
export function networksOf(
  pod: AskingPod,
  policy: NriPolicy,
  { warn }: NetworksOfOptions = {},
): readonly AskedNetwork[] {
  return readAnnotations(pod.annotations, { read: policy.annotations, warn }).map((named) => {
    const { ifName, ips, mac, portMappings, bandwidth, cniArgs, defaultRoute } = named;
    const network = networkOf(named, pod, policy);
    requireAllowed(named, permissionsOf(network, named, pod, policy), { network, pod, policy });
    const title = `${named.namespace ?? pod.namespace}/${named.name}`;
    const { clusterCidrs } = policy;
    return { network, title, ifName, ips, mac, portMappings, bandwidth, cniArgs, defaultRoute, clusterCidrs };
  });
}

/** Returns the networks as a request for a sandbox takes them. */
export function wantedNetworksOf(asked: readonly AskedNetwork[]): readonly WantedNetwork[] {
  return asked.map(({ network, portMappings, clusterCidrs, ...settings }) => ({
    ...settings,
    name: network,
    publish: portMappings,
    requireCapabilities: true,
    foreignRoutes: { keep: clusterCidrs },
  }));
}

/** Returns the network that an element means. */
function networkOf(
  { annotation, element, namespace, name }: NamedNetwork,
  pod: AskingPod,
  { file, names, networks }: NriPolicy,
): string {
  const full = `${namespace ?? pod.namespace}/${name}`;
  const isPlain = namespace === undefined;
  // A name of ours without a namespace is a network of podwire. The standard's names an object, and only then a network.
  if (isPlain && annotation === OWN_ANNOTATION) return name;
  if (Object.hasOwn(names, full)) return names[full] ?? name;
  if (isPlain && Object.hasOwn(networks, name)) return name;
  const hint = `${file} gives it one with "names": {"${full}": NETWORK}`;
  throw new CniError(
    "permission",
    `annotation ${annotation}, element ${element}: there is no network "${full}"`,
    {
      hint,
    },
  );
}

/** What is asked for, for errors. */
interface Asked {
  readonly network: string;
  readonly pod: AskingPod;
  readonly policy: NriPolicy;
}

/** Returns what the pod's namespace may ask of a network. */
function permissionsOf(
  network: string,
  { annotation, element }: NamedNetwork,
  { namespace }: AskingPod,
  { file, networks }: NriPolicy,
): { readonly rule: string; readonly permissions: NetworkPermissions } {
  const refuse = (why: string) =>
    new CniError(
      "permission",
      `annotation ${annotation}, element ${element}: pods of namespace "${namespace}" may not use network "${network}": ${why}`,
      { path: `${annotation}[${element - 1}].name` },
    );
  const namespaces = Object.hasOwn(networks, network) ? networks[network]?.namespaces : undefined;
  if (namespaces === undefined) throw refuse(`networks of ${file} does not list the network`);
  const rule = `networks.${network}.namespaces`;
  for (const name of [namespace, ANY_NAMESPACE]) {
    const permissions = Object.hasOwn(namespaces, name) ? namespaces[name] : undefined;
    if (permissions !== undefined) return { rule: `${rule}.${name}`, permissions };
  }
  throw refuse(`${rule} of ${file} lists neither the namespace nor "${ANY_NAMESPACE}"`);
}

/** Refuses what the pod's namespace may not ask of the network. */
function requireAllowed(
  named: NamedNetwork,
  { rule, permissions }: ReturnType<typeof permissionsOf>,
  { network, pod, policy }: Asked,
): void {
  const { annotation, element, ips, mac, portMappings = [], bandwidth, cniArgs = {}, defaultRoute } = named;
  const refuse = (key: string, member: keyof NetworkPermissions, what: string) =>
    new CniError(
      "permission",
      `annotation ${annotation}, element ${element}, key "${key}": pods of namespace "${pod.namespace}" ` +
        `may not ask network "${network}" for ${what}: ${rule}.${member} of ${policy.file} does not allow it`,
      { path: `${annotation}[${element - 1}].${key}` },
    );
  if (ips !== undefined && !permissions.ips) throw refuse("ips", "ips", "addresses");
  if (mac !== undefined && !permissions.mac) throw refuse("mac", "mac", "a MAC address");
  for (const [index, { hostPort }] of portMappings.entries()) {
    const isAllowed = permissions.hostPorts?.some(({ first, last }) =>
      typeof hostPort === "number" && first <= hostPort && hostPort <= last
    );
    if (!isAllowed) {
      throw refuse(`portMappings[${index}].hostPort`, "hostPorts", `port ${hostPort} of the host`);
    }
  }
  if (bandwidth !== undefined && !permissions.bandwidth) {
    throw refuse("bandwidth", "bandwidth", "limits of its traffic");
  }
  for (const key of Object.keys(cniArgs)) {
    if (permissions.cniArgs?.includes(key)) continue;
    throw refuse(`cni-args.${key}`, "cniArgs", `the argument "${key}"`);
  }
  if (defaultRoute !== undefined && !permissions.defaultRoute) {
    throw refuse("default-route", "defaultRoute", "the default route");
  }
}
