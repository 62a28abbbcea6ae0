import { formatIp, parseIp } from "../cni/address.ts";
import { CniError } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject, type JsonPath, kindOf } from "../cni/json.ts";
import { validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import { LAST_PORT, PROTOCOLS } from "../cni/port_protocol.ts";
import {
  anyObject,
  anyText,
  integer,
  listOf,
  mapped,
  objectOf,
  openObjectOf,
  orNull,
  type Shape,
  text,
  ValidationError,
} from "../cni/shape.ts";
import type { Bandwidth, PortMapping } from "../pod/request.ts";
import type { RefuseMember } from "../pod/setting.ts";
import { isMac, macDigits, requireBandwidth, requireGateways, requireIps } from "../pod/setting_rules.ts";
import { BANDWIDTH } from "../pod/setting_shape.ts";

// One element of an annotation that names networks.
//
// Source: Kubernetes Network Custom Resource Definition De-facto Standard, version 1.3, section 4.1.2.

/** What a pod may ask of a network that it names, beside an attachment to it. */
export interface NetworkWishes {
  /** Addresses, each with or without the length of its prefix. */
  readonly ips?: readonly string[] | undefined;
  /** A MAC address of 6 bytes. */
  readonly mac?: string | undefined;
  /** Ports of the host that lead to the pod. */
  readonly portMappings?: readonly PortMapping[] | undefined;
  /** Limits in bits per second, and bursts in bits. */
  readonly bandwidth?: Bandwidth | undefined;
  /** What is merged over `args.cni` of the network's plugins. */
  readonly cniArgs?: JsonObject | undefined;
  /** Gateways of the pod, at most one of each family. Empty for the default route that the network's plugins make. */
  readonly defaultRoute?: readonly string[] | undefined;
}

/** One network that an annotation names. */
export interface AnnotatedNetwork extends ElementPlace, NetworkWishes {
  /** The namespace before the name. @default {none was written} */
  readonly namespace?: string | undefined;
  /** The name, without its namespace. */
  readonly name: string;
  /** The interface inside the pod. @default {`net` and the element's number} */
  readonly ifName?: string | undefined;
}

/** The place of an element, for errors. */
export interface ElementPlace {
  /** The annotation. */
  readonly annotation: string;
  /** The place in its list, from 1. */
  readonly element: number;
}

/** Returns the error for one key of an element, or for the whole element. */
export function invalidElement(
  { annotation, element }: ElementPlace,
  key: string | undefined,
  problem: string,
  hint?: string,
): CniError {
  const where = key === undefined ? "" : `, key "${key}"`;
  return new CniError("usage", `annotation ${annotation}, element ${element}${where}: ${problem}`, {
    path: `${annotation}[${element - 1}]${key === undefined ? "" : `.${key}`}`,
    hint,
  });
}

const LABEL = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;
const MAC_DIGITS = 12;

/** Runs a rule of the specification; what it throws becomes the problem of the value at `path`, after `what`. */
export function withRule(path: JsonPath, check: () => void, what = "is refused"): void {
  try {
    check();
  } catch (error) {
    if (error instanceof CniError) throw new ValidationError(path, `${what}: ${error.msg}`);
    throw error;
  }
}

/** A rule of settings reports paths such as `ips[0]`: the value is that of the key, and its index stays. */
function refuseAt(path: JsonPath): RefuseMember {
  return (member, problem) => {
    const [, index] = /\[(\d+)\]/.exec(member) ?? [];
    const field = /\.(\w+)$/.exec(member)?.[1];
    const steps = [...index === undefined ? [] : [Number(index)], ...field === undefined ? [] : [field]];
    return new ValidationError([...path, ...steps], `is refused: ${problem}`);
  };
}

/** Whether a text can be the name of an object, or of a namespace, in Kubernetes. */
export function isLabel(text: string): boolean {
  return LABEL.test(text);
}

function label(value: string, path: JsonPath): string {
  if (isLabel(value)) return value;
  const rule = "lower-case letters, digits and -, with a letter or digit at both ends";
  throw new ValidationError(path, `must be ${rule}, not ${JSON.stringify(value)}`);
}

function interfaceName(value: string, path: JsonPath): string {
  withRule(path, () => validateInterfaceName(value));
  return value;
}

const IPS = mapped(listOf(text()), (ips, path) => {
  if (ips.length === 0) throw new ValidationError(path, "must name an address");
  requireIps(ips, refuseAt(path));
  return ips;
});

function mac(value: string, path: JsonPath): string {
  const digits = macDigits(value);
  if (!isMac(value) || digits.length !== MAC_DIGITS) {
    throw new ValidationError(path, `must be a MAC address of 6 bytes, not ${JSON.stringify(value)}`);
  }
  if (Number.parseInt(digits.slice(0, 2), 16) % 2 === 1 || /^0+$/.test(digits)) {
    throw new ValidationError(path, `must be the MAC address of one interface, not ${JSON.stringify(value)}`);
  }
  return value;
}

const PROTOCOL = mapped(text(), (value, path) => {
  const found = PROTOCOLS.find((known) => known === value.toLowerCase());
  if (found !== undefined) return found;
  throw new ValidationError(path, `must be one of ${PROTOCOLS.join(", ")}, not ${JSON.stringify(value)}`);
});
const HOST_IP = mapped(anyText, (value, path) => {
  if (value === "" || parseIp(value) !== undefined) return value;
  throw new ValidationError(path, `must be an IP address, not ${JSON.stringify(value)}`);
});
const PORT = integer(1, LAST_PORT);
const PORT_MAPPINGS: Shape<readonly PortMapping[]> = listOf(
  mapped(
    objectOf({ hostPort: PORT, containerPort: PORT }, { protocol: PROTOCOL, hostIP: HOST_IP }),
    ({ hostPort, containerPort, protocol = "tcp", hostIP = "" }) => ({
      hostPort,
      containerPort,
      protocol,
      hostIP,
    }),
  ),
);

const LIMITS = mapped(BANDWIDTH, (limits: Bandwidth, path) => {
  requireBandwidth(limits, refuseAt(path));
  return limits;
});

const GATEWAYS = mapped(listOf(text()), (gateways, path) => {
  requireGateways(gateways, refuseAt(path));
  const families = gateways.map((gateway) => parseIp(gateway)?.family);
  const second = families.findIndex((family, index) => families.indexOf(family) !== index);
  if (second >= 0) {
    throw new ValidationError([...path, second], `is a second gateway for IPv${families[second]}`);
  }
  return gateways.map((gateway) => {
    const ip = parseIp(gateway);
    return ip === undefined ? gateway : formatIp(ip);
  });
});

/** Go prints members without a value as null, and takes an empty text for none. */
function optionalText(read: (value: string, path: JsonPath) => string): Shape<string | undefined> {
  return mapped(
    orNull(anyText),
    (value, path) => value === undefined || value === "" ? undefined : read(value, path),
  );
}

const NOT_SUPPORTED: Readonly<Record<string, string>> = {
  "infiniband-guid": "podwire does not set the GUID of an InfiniBand device",
  "ipam-claim-reference": "a claim is an object of the API server, which podwire does not ask",
  "deviceID": "device plugins report their devices to the API server, which podwire does not ask",
};

const MEMBERS = {
  namespace: optionalText(label),
  interface: optionalText(interfaceName),
  interfaceRequest: optionalText(interfaceName),
  ips: orNull(IPS),
  mac: optionalText(mac),
  portMappings: orNull(PORT_MAPPINGS),
  bandwidth: orNull(LIMITS),
  "cni-args": orNull(anyObject),
  "default-route": orNull(GATEWAYS),
};

/** The rule for names that are written without a namespace. */
export type PlainName = "label" | "network";

function plainName(rule: PlainName, value: string, path: JsonPath): string {
  if (rule === "label") return label(value, path);
  withRule(path, () => validateNetworkName(value));
  return value;
}

/**
 * Reads an element of a JSON list.
 *
 * @throws {CniError} kind `usage`, naming the annotation, the element, the key and the rule
 */
export function readElement(
  json: Json,
  place: ElementPlace,
  plain: PlainName,
  warn: (warning: string) => void,
): AnnotatedNetwork {
  if (!isObject(json)) throw invalidElement(place, undefined, `must be an object, not ${kindOf(json)}`);
  requireKnownKeys(json, place);
  const element = valid(place, () => openObjectOf({ name: text() }, MEMBERS).read(json, []));
  const { name, namespace, ips, portMappings, bandwidth } = element;
  const rule = namespace === undefined ? plain : "label";
  valid(place, () => plainName(rule, name, ["name"]));
  const { interface: own, interfaceRequest: old, mac } = element;
  if (own !== undefined && old !== undefined && own !== old) {
    throw invalidElement(place, "interfaceRequest", `is "${old}", and key "interface" is "${own}"`);
  }
  if (old !== undefined) {
    const where = `annotation ${place.annotation}, element ${place.element}`;
    warn(`${where}: key "interfaceRequest" is the old name of "interface"`);
  }
  return {
    ...place,
    namespace,
    name,
    ifName: own ?? old,
    ips,
    mac,
    portMappings: isArray(json.portMappings) && json.portMappings.length > 0 ? portMappings : undefined,
    bandwidth: bandwidth !== undefined && Object.keys(bandwidth).length > 0 ? bandwidth : undefined,
    cniArgs: element["cni-args"],
    defaultRoute: element["default-route"],
  };
}

/** Keys with a period belong to others. The standard keeps those without one for itself. */
function requireKnownKeys(json: JsonObject, place: ElementPlace): void {
  const known = ["name", ...Object.keys(MEMBERS)];
  for (const [key, value] of Object.entries(json)) {
    if (key.includes(".") || known.includes(key)) continue;
    const why = Object.hasOwn(NOT_SUPPORTED, key) ? NOT_SUPPORTED[key] : undefined;
    if (why !== undefined) {
      if (value === null || value === "") continue;
      throw invalidElement(place, key, `is not supported: ${why}`);
    }
    throw invalidElement(
      place,
      key,
      `is unknown; there are ${known.join(", ")}`,
      "a key of your own has a period",
    );
  }
}

function valid<T>(place: ElementPlace, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error;
    const [key, ...rest] = error.path;
    const inner = rest.map((step) => typeof step === "number" ? `[${step}]` : `.${step}`).join("");
    throw invalidElement(place, `${key}${inner}`, error.problem);
  }
}

const SYNTAX = "[NAMESPACE/]NAME[@INTERFACE]";

/**
 * Reads an item of a list that is written without JSON: `[NAMESPACE/]NAME[@INTERFACE]`.
 *
 * @throws {CniError} kind `usage`, naming the annotation, the element and the rule
 */
export function readItem(item: string, place: ElementPlace, plain: PlainName): AnnotatedNetwork {
  const written = item.trim();
  const refuse = (problem: string) => invalidElement(place, undefined, problem);
  if (written === "") throw refuse(`is empty, and must be ${SYNTAX}`);
  const slashed = written.split("/").map((part) => part.trim());
  if (slashed.length > 2) {
    throw refuse(`${JSON.stringify(written)} has more than one "/": it must be ${SYNTAX}`);
  }
  const namespace = slashed.length === 2 ? slashed[0] : undefined;
  const rest = (slashed.at(-1) ?? "").split("@").map((part) => part.trim());
  if (rest.length > 2) throw refuse(`${JSON.stringify(written)} has more than one "@": it must be ${SYNTAX}`);
  const [name = "", ifName] = rest;
  if (name === "" || namespace === "" || ifName === "") {
    throw refuse(`${JSON.stringify(written)} has an empty part: it must be ${SYNTAX}`);
  }
  return valid(place, () => ({
    ...place,
    namespace: namespace === undefined ? undefined : label(namespace, ["namespace"]),
    name: plainName(namespace === undefined ? plain : "label", name, ["name"]),
    ifName: ifName === undefined ? undefined : interfaceName(ifName, ["interface"]),
  }));
}
