import { type Cidr, formatCidr, networkOf, parseCidr } from "../cni/address.ts";
import { ConfigDocument } from "../cni/config_document.ts";
import { CniError } from "../cni/error.ts";
import type { JsonPath } from "../cni/json.ts";
import { validateNetworkName } from "../cni/name.ts";
import { LAST_PORT } from "../cni/port_protocol.ts";
import {
  flag,
  listOf,
  mapOf,
  mapped,
  objectOf,
  oneOf,
  type Shape,
  text,
  ValidationError,
} from "../cni/shape.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { readFileIfThere } from "../host/file.ts";
import type { PortSpan } from "../state/automatic_ports.ts";
import { isLabel, withRule } from "./annotated_network.ts";
import { ANNOTATIONS, type NetworksAnnotation } from "./annotations.ts";

/** Where the policy is, unless an option says otherwise. */
export const DEFAULT_POLICY = "/etc/podwire/nri.json";

/** The namespace that stands for all that are not named. */
export const ANY_NAMESPACE = "*";

/** What pods of a namespace may ask of a network, beside an attachment to it. All is off unless it is named. */
export interface NetworkPermissions {
  /** Whether they may choose their addresses. @default {false} */
  readonly ips?: boolean | undefined;
  /** Whether they may choose their MAC address. @default {false} */
  readonly mac?: boolean | undefined;
  /** Ports of the host that they may publish. @default {none} */
  readonly hostPorts?: readonly PortSpan[] | undefined;
  /** Whether they may limit their traffic. @default {false} */
  readonly bandwidth?: boolean | undefined;
  /** Keys of `cni-args` that they may set. @default {none} */
  readonly cniArgs?: readonly string[] | undefined;
  /** Whether the network may get their default route. @default {false} */
  readonly defaultRoute?: boolean | undefined;
}

/** One network that pods may use. */
export interface NetworkPolicy {
  /** What each namespace may ask of it; `*` is for those that are not named. Pods of other namespaces may not use it. */
  readonly namespaces: Readonly<Record<string, NetworkPermissions>>;
}

/** Who may ask for what. What it does not list is refused. */
export interface NriPolicy {
  /** For errors: the file that it is from. */
  readonly file: string;
  /** The annotations that are read. @default {ANNOTATIONS} */
  readonly annotations: readonly NetworksAnnotation[];
  /** The networks of podwire by the `NAMESPACE/NAME` that annotations name them by. */
  readonly names: Readonly<Record<string, string>>;
  /** The networks of podwire that pods may use. */
  readonly networks: Readonly<Record<string, NetworkPolicy>>;
  /** Subnets of the cluster's pods and services: routes to them stay on eth0 when another interface gets the default route. */
  readonly clusterCidrs: readonly string[];
}

const NETWORK = mapped(text(), (value, path) => {
  withRule(path, () => validateNetworkName(value), "is not the name of a network");
  return value;
});

const PORTS: Shape<PortSpan> = mapped(
  text({ description: "PORT or FIRST-LAST", examples: ["30000-30100"] }),
  (value, path) => {
    const [, from, to] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(value) ?? [];
    const span = { first: Number(from), last: Number(to ?? from) };
    if (span.first >= 1 && span.first <= span.last && span.last <= LAST_PORT) return span;
    throw new ValidationError(path, `must be PORT or FIRST-LAST, not ${JSON.stringify(value)}`);
  },
);

const CIDR = mapped(text(), (value, path) => {
  const cidr = parseCidr(value);
  if (cidr === undefined) throw new ValidationError(path, `must be a subnet, not ${JSON.stringify(value)}`);
  requireSubnet(cidr, value, path);
  return formatCidr(cidr);
});

function requireSubnet(cidr: Cidr, value: string, path: JsonPath): void {
  const network = networkOf(cidr);
  if (network.ip.value !== cidr.ip.value) {
    throw new ValidationError(path, `has host bits: the subnet of ${value} is ${formatCidr(network)}`);
  }
  if (cidr.prefix === 0) throw new ValidationError(path, "is the default route, and no subnet of a cluster");
}

const PERMISSIONS: Shape<NetworkPermissions> = objectOf({}, {
  ips: flag,
  mac: flag,
  hostPorts: listOf(PORTS),
  bandwidth: flag,
  cniArgs: listOf(text()),
  defaultRoute: flag,
});

const NAMESPACES = mapped(mapOf(PERMISSIONS), (namespaces, path) => {
  for (const name of Object.keys(namespaces)) {
    if (name === ANY_NAMESPACE || isLabel(name)) continue;
    throw new ValidationError([...path, name], `is not the name of a namespace, nor "${ANY_NAMESPACE}"`);
  }
  return namespaces;
});

const NAMES = mapped(mapOf(NETWORK), (names, path) => {
  for (const name of Object.keys(names)) {
    const parts = name.split("/");
    if (parts.length === 2 && parts.every(isLabel)) continue;
    throw new ValidationError([...path, name], "is not NAMESPACE/NAME");
  }
  return names;
});

const NETWORKS = mapped(mapOf(objectOf({ namespaces: NAMESPACES }, {})), (networks, path) => {
  for (const name of Object.keys(networks)) NETWORK.read(name, [...path, name]);
  return networks;
});

const POLICY = mapped(
  objectOf({}, {
    annotations: listOf(oneOf(ANNOTATIONS)),
    names: NAMES,
    networks: NETWORKS,
    clusterCidrs: listOf(CIDR),
  }),
  ({ annotations = ANNOTATIONS, names = {}, networks = {}, clusterCidrs = [] }, path) => {
    for (const [name, network] of Object.entries(names)) {
      if (Object.hasOwn(networks, network)) continue;
      throw new ValidationError(
        [...path, "names", name],
        `is the network "${network}", which networks does not list`,
      );
    }
    return { annotations, names, networks, clusterCidrs };
  },
);

/**
 * Reads a policy from the text of its file.
 *
 * @throws {CniError} kind `config`, naming the file, the line and the field
 */
export function parsePolicy(source: string, file: string): NriPolicy {
  const document = ConfigDocument.ofList(source, { file });
  return { file, ...document.read(POLICY, [], document.json) };
}

/**
 * Reads the policy. Permission: `--allow-read` for its file.
 *
 * @throws {CniError} kind `config`, naming the file and the field, also if there is no file
 */
export async function readPolicy(file: string = DEFAULT_POLICY): Promise<NriPolicy> {
  const bytes = await readFileIfThere(file).catch((error) => {
    throw asCniError(error);
  });
  if (bytes !== undefined) return parsePolicy(new TextDecoder().decode(bytes), file);
  throw new CniError("config", "the policy for the networks of pods does not exist", {
    file,
    hint: "with {} in it, no pod may use a network",
  });
}
