import { CniError } from "../cni/error.ts";
import { isArray, kindOf, parseJson } from "../cni/json.ts";
import {
  type AnnotatedNetwork,
  invalidElement,
  type PlainName,
  readElement,
  readItem,
} from "./annotated_network.ts";

/** The annotation of Kubernetes' Network Plumbing Working Group, which multus reads too. */
export const STANDARD_ANNOTATION = "k8s.v1.cni.cncf.io/networks";
/** The annotation of podwire. */
export const OWN_ANNOTATION = "podwire.dev/networks";
/** The annotation with which multus replaces the network of a cluster. */
const MULTUS_DEFAULT_NETWORK = "v1.multus-cni.io/default-network";

/** The annotations that name networks. */
export const ANNOTATIONS = [STANDARD_ANNOTATION, OWN_ANNOTATION] as const;

/** One of {@linkcode ANNOTATIONS}. */
export type NetworksAnnotation = typeof ANNOTATIONS[number];

/** A network that an annotation names, and its interface. */
export interface NamedNetwork extends AnnotatedNetwork {
  readonly annotation: NetworksAnnotation;
  readonly ifName: string;
}

/** Options of {@linkcode readAnnotations}. */
export interface ReadAnnotationsOptions {
  /** The annotations that are read; another one is another program's. @default {ANNOTATIONS} */
  readonly read?: readonly NetworksAnnotation[] | undefined;
  /** Called for what is read, but should be written differently. */
  readonly warn?: ((warning: string) => void) | undefined;
}

/** Without a namespace, an element of the standard's annotation names an object in Kubernetes, ours a network of podwire. */
const PLAIN_NAMES: Readonly<Record<NetworksAnnotation, PlainName>> = {
  [STANDARD_ANNOTATION]: "label",
  [OWN_ANNOTATION]: "network",
};

/**
 * Returns the networks that a pod's annotations name, in their order; none if they name none.
 *
 * @throws {CniError} kind `usage`, naming the annotation, the element, the key and the rule
 */
export function readAnnotations(
  annotations: Readonly<Record<string, string>>,
  { read = ANNOTATIONS, warn = () => {} }: ReadAnnotationsOptions = {},
): readonly NamedNetwork[] {
  requireNoDefaultNetwork(annotations, read);
  const given = read.filter((name) => valueOf(annotations, name) !== "");
  const [annotation, second] = given;
  if (annotation === undefined) return [];
  if (second !== undefined) {
    const msg = `both annotations ${annotation} and ${second} name networks`;
    throw new CniError("usage", msg, { path: second, hint: "name all networks in one of them" });
  }
  const networks = elementsOf(annotation, valueOf(annotations, annotation), warn).map((network) => ({
    ...network,
    annotation,
    ifName: network.ifName ?? `net${network.element}`,
  }));
  requireOneOfEach(networks);
  return networks;
}

function valueOf(annotations: Readonly<Record<string, string>>, name: string): string {
  return Object.hasOwn(annotations, name) ? (annotations[name] ?? "").trim() : "";
}

function requireNoDefaultNetwork(
  annotations: Readonly<Record<string, string>>,
  read: readonly NetworksAnnotation[],
): void {
  // Where the standard's annotation is left to another program, this one is too.
  if (!read.includes(STANDARD_ANNOTATION) || valueOf(annotations, MULTUS_DEFAULT_NETWORK) === "") return;
  const msg = `annotation ${MULTUS_DEFAULT_NETWORK} is not supported: podwire adds networks to a pod, ` +
    "and its eth0 belongs to the network of the cluster";
  throw new CniError("usage", msg, { path: MULTUS_DEFAULT_NETWORK });
}

function elementsOf(
  annotation: NetworksAnnotation,
  value: string,
  warn: (warning: string) => void,
): readonly AnnotatedNetwork[] {
  const plain = PLAIN_NAMES[annotation];
  // By these characters the standard knows which form it is.
  if (!/[[{"]/.test(value)) {
    return value.split(",").map((item, index) => readItem(item, { annotation, element: index + 1 }, plain));
  }
  const json = parsed(annotation, value);
  if (!isArray(json)) {
    const msg = `annotation ${annotation}: must be a list, not ${kindOf(json)}`;
    throw new CniError("usage", msg, { path: annotation });
  }
  return json.map((item, index) => readElement(item, { annotation, element: index + 1 }, plain, warn));
}

function parsed(annotation: string, value: string) {
  try {
    return parseJson(value, { kind: "usage", duplicateKeys: "refused" });
  } catch (cause) {
    if (!(cause instanceof CniError)) throw cause;
    throw new CniError("usage", `annotation ${annotation}: is not valid JSON: ${cause.message}`, {
      path: annotation,
      cause,
    });
  }
}

/** Refuses two elements with one interface, and two that name a default route. */
function requireOneOfEach(networks: readonly NamedNetwork[]): void {
  const owners = new Map<string, number>();
  for (const network of networks) {
    const { ifName, element } = network;
    const owner = owners.get(ifName);
    if (owner !== undefined) {
      throw invalidElement(network, "interface", `is "${ifName}", which element ${owner} has already`);
    }
    owners.set(ifName, element);
  }
  const [first, second] = networks.filter(({ defaultRoute }) => defaultRoute !== undefined);
  if (first === undefined || second === undefined) return;
  const msg = `is in element ${first.element} already, and only one element may have it`;
  throw invalidElement(second, "default-route", msg);
}
