import { CniError, ERROR_CODES } from "../cni/error.ts";
import { isArray, isObject, type JsonObject } from "../cni/json.ts";
import { validateInterfaceName } from "../cni/name.ts";
import type { Dns } from "../cni/result.ts";
import {
  booleanField,
  fieldError,
  integerField,
  macField,
  type Section,
  sectionField,
  stringField,
  unsupportedField,
} from "./field.ts";
import { MASQUERADE_BACKENDS, type MasqueradeBackend } from "./masquerade.ts";

/** What the bridge plugin is told. */
export interface BridgeConfig {
  readonly bridge: string;
  readonly removeEmptyBridge: boolean;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly ipMasq: boolean;
  readonly ipMasqBackend: MasqueradeBackend | undefined;
  /** 0 leaves it to the kernel. */
  readonly mtu: number;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  readonly portIsolation: boolean;
  /** Empty for one at random. */
  readonly mac: string;
  /** Empty for a layer 2 network, without addresses. */
  readonly ipamType: string;
  /** Undefined to take that of the IPAM plugin. */
  readonly dns: Dns | undefined;
}

/** What a DEL and a GC need; anything else that is wrong must not stand in the way of cleaning up. */
export interface BridgeTeardown {
  /** Empty if what the configuration says is not the name of an interface: there is no such bridge. */
  readonly bridge: string;
  /** Whether the bridge goes with its last port: podwire's own option, which other plugins pass over. */
  readonly removeEmptyBridge: boolean;
  readonly ipMasq: boolean;
  readonly ipamType: string;
}

const DEFAULT_BRIDGE = "cni0";
const UNSUPPORTED = [
  "vlan",
  "vlanTrunk",
  "preserveDefaultVlan",
  "macspoofchk",
  "enabledad",
  "disableContainerInterface",
] as const;

/**
 * Reads and validates the configuration, with the wish for a MAC address: `CNI_ARGS` (`MAC`), overruled by
 * `args.cni.mac`, overruled by `runtimeConfig.mac`.
 *
 * @throws {CniError} with the code 2 for what this plugin cannot do, 7 for what is wrong, 4 for a bad `CNI_ARGS`.
 */
export function readBridgeConfig(config: JsonObject, args: ReadonlyMap<string, string>): BridgeConfig {
  const top: Section = { json: config, path: "" };
  for (const key of UNSUPPORTED) if (!isOff(config, key)) throw unsupportedField(top, key);
  const mtu = integerField(top, "mtu");
  if (mtu < 0 || mtu > 65_535) throw fieldError(top, "mtu", `is ${mtu}, not between 0 and 65535`);
  const hairpinMode = booleanField(top, "hairpinMode");
  const promiscMode = booleanField(top, "promiscMode");
  if (hairpinMode && promiscMode) {
    throw fieldError(top, "hairpinMode", "and promiscMode cannot both be set");
  }
  const isDefaultGateway = booleanField(top, "isDefaultGateway");
  return {
    ...readBridgeTeardown(config),
    bridge: readName(top),
    isGateway: booleanField(top, "isGateway") || isDefaultGateway,
    isDefaultGateway,
    forceAddress: booleanField(top, "forceAddress"),
    ipMasqBackend: readBackend(top),
    mtu,
    hairpinMode,
    promiscMode,
    portIsolation: booleanField(top, "portIsolation"),
    mac: macField(sectionField(top, "runtimeConfig"), "mac") ||
      macField(sectionField(sectionField(top, "args"), "cni"), "mac") ||
      argsMac(args),
    dns: readDns(top),
  };
}

/** Reads the part of the configuration that taking down needs. */
export function readBridgeTeardown(config: JsonObject): BridgeTeardown {
  const top: Section = { json: config, path: "" };
  return {
    bridge: nameOrNone(stringField(top, "bridge") || DEFAULT_BRIDGE),
    removeEmptyBridge: booleanField(top, "removeEmptyBridge"),
    ipMasq: booleanField(top, "ipMasq"),
    ipamType: stringField(sectionField(top, "ipam"), "type"),
  };
}

function isOff(config: JsonObject, key: string): boolean {
  const value = config[key] ?? false;
  return value === false || value === 0 || value === "" || (isArray(value) && value.length === 0);
}

function readName(top: Section): string {
  const name = stringField(top, "bridge") || DEFAULT_BRIDGE;
  if (nameOrNone(name) === "") throw fieldError(top, "bridge", `is not the name of an interface: ${name}`);
  return name;
}

function nameOrNone(name: string): string {
  try {
    validateInterfaceName(name);
    return name;
  } catch {
    return "";
  }
}

function readBackend(top: Section): MasqueradeBackend | undefined {
  const text = stringField(top, "ipMasqBackend");
  if (text === "") return undefined;
  const backend = MASQUERADE_BACKENDS.find((known) => known === text);
  if (backend === undefined) {
    throw fieldError(top, "ipMasqBackend", `is "${text}", not one of ${MASQUERADE_BACKENDS.join(", ")}`);
  }
  return backend;
}

function argsMac(args: ReadonlyMap<string, string>): string {
  const text = args.get("MAC") ?? "";
  try {
    return macField({ json: { MAC: text }, path: "" }, "MAC");
  } catch {
    throw new CniError("usage", `ARGS: MAC is not a MAC address: ${text}`, {
      code: ERROR_CODES.invalidEnvironment,
    });
  }
}

function readDns(top: Section): Dns | undefined {
  const { dns } = top.json;
  if (!isObject(dns)) return undefined;
  const isSet = ["nameservers", "search", "options"].some((key) => isArray(dns[key])) ||
    stringField(sectionField(top, "dns"), "domain") !== "";
  return isSet ? dns as unknown as Dns : undefined;
}
