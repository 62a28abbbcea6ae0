import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { JsonObject } from "../cni/json.ts";
import { anyObject, lenient, openObjectOf, ValidationError } from "../cni/shape.ts";
import { choice, FLAG, nonEmpty, optionalList, readConfig, section } from "./config_shape.ts";
import { CHAINS } from "./firewall_needs.ts";

/** What opens the way to a container; `none` makes no rule at all. */
export const FIREWALL_BACKENDS = ["iptables", "nftables", "firewalld", "none"] as const;

/** One of {@linkcode FIREWALL_BACKENDS}. */
export type FirewallBackend = typeof FIREWALL_BACKENDS[number];

/**
 * Who may open connections to a container: everybody, only those on the same bridge, or not even these. The last two keep out
 * the containers of other bridges that have such a policy too.
 */
export const INGRESS_POLICIES = ["open", "same-bridge", "isolated"] as const;

/** One of {@linkcode INGRESS_POLICIES}. */
export type IngressPolicy = typeof INGRESS_POLICIES[number];

/** What a DEL and a GC need of the configuration; a mistake in it must not prevent the cleaning up. */
export interface FirewallTeardown {
  /** Undefined to take what works on this machine. */
  readonly backend: FirewallBackend | undefined;
  readonly zone: string;
  readonly ingressPolicy: IngressPolicy;
  /** Whether packets of the container that belong to no known connection are not forwarded. */
  readonly dropsInvalid: boolean;
}

/** Configuration of the firewall plugin. */
export interface FirewallConfig extends FirewallTeardown {
  /** The chain that belongs to the administrator of the machine. */
  readonly adminChain: string;
  /** Whether the runtime publishes ports of the container, and lets this plugin know. */
  readonly publishesPorts: boolean;
}

const DEFAULT_ADMIN_CHAIN = "CNI-ADMIN";
/** That of the CNI plugins project: another one would have to be made in the permanent configuration of firewalld. */
const DEFAULT_ZONE = "trusted";

/** Names that iptables and nftables both accept. */
const CHAIN_NAME = /^[A-Za-z][\w.-]{0,27}$/;
/** The chains of the kernel, the other chains of the plugin, and what a rule does instead of a jump to a chain. */
const TAKEN = new Set<string>([
  ...["INPUT", "FORWARD", "OUTPUT", "ACCEPT", "DROP", "RETURN", "QUEUE", "REJECT", "LOG", "forward"],
  ...Object.values(CHAINS),
]);

const WORD = nonEmpty((word, path) => {
  if (/^[\w.-]+$/.test(word)) return word;
  throw new ValidationError(path, `is not the name of a zone: ${word}`);
});

const ADMIN_CHAIN = nonEmpty((name, path) => {
  if (!CHAIN_NAME.test(name)) {
    throw new ValidationError(
      path,
      `is not the name of a chain (1 to 28 letters, digits and "_.-"): ${name}`,
    );
  }
  if (TAKEN.has(name)) throw new ValidationError(path, `has another meaning: ${name}`);
  return name;
});

const MEMBERS = {
  backend: choice(FIREWALL_BACKENDS),
  firewalldZone: WORD,
  ingressPolicy: choice(INGRESS_POLICIES),
};

/** What the plugin reads. */
export const FIREWALL_SHAPE = openObjectOf({}, {
  ...MEMBERS,
  iptablesAdminChainName: ADMIN_CHAIN,
  dropInvalid: FLAG,
  runtimeConfig: section({ portMappings: optionalList(anyObject) }),
});

const TEARDOWN = openObjectOf({}, {
  backend: lenient(MEMBERS.backend),
  firewalldZone: lenient(MEMBERS.firewalldZone),
  ingressPolicy: lenient(MEMBERS.ingressPolicy),
  dropInvalid: lenient(FLAG),
});

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7.
 */
export function readFirewallConfig(config: JsonObject): FirewallConfig {
  const { backend, firewalldZone, ingressPolicy, iptablesAdminChainName, ...read } = readConfig(
    FIREWALL_SHAPE,
    config,
  );
  if (backend === "none" && (ingressPolicy ?? "open") !== "open") {
    throw new CniError(
      "config",
      `ingressPolicy "${ingressPolicy}" needs rules, and backend "none" makes none`,
      {
        code: ERROR_CODES.invalidNetworkConfig,
      },
    );
  }
  return {
    backend,
    zone: firewalldZone ?? DEFAULT_ZONE,
    ingressPolicy: ingressPolicy ?? "open",
    adminChain: iptablesAdminChainName ?? DEFAULT_ADMIN_CHAIN,
    dropsInvalid: read.dropInvalid ?? false,
    publishesPorts: (read.runtimeConfig?.portMappings ?? []).length > 0,
  };
}

/** Reads the part of the configuration that a DEL and a GC need. */
export function readFirewallTeardown(config: JsonObject): FirewallTeardown {
  const { backend, firewalldZone, ingressPolicy, dropInvalid } = readConfig(TEARDOWN, config);
  return {
    backend,
    zone: firewalldZone ?? DEFAULT_ZONE,
    ingressPolicy: ingressPolicy ?? "open",
    dropsInvalid: dropInvalid ?? false,
  };
}
