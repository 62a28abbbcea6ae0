import { formatIp, parseIp } from "../cni/address.ts";
import type { Family } from "../cni/default_route.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { isArray, isObject, type JsonObject, member, memberInAnyCase } from "../cni/json.ts";
import { LAST_PORT, PROTOCOLS } from "../cni/port_protocol.ts";
import {
  anyObject,
  anyText,
  integer,
  mapped,
  oneOf,
  openObjectOf,
  orNull,
  ValidationError,
} from "../cni/shape.ts";
import { FLAG, optionalList, readConfig, section, TEXT } from "./config_shape.ts";
import { mergePorts, PortConflict, type PortRange } from "./port_range.ts";

/** The back ends, with the names of the key `backend`. */
export const PORTMAP_BACKENDS = ["iptables", "nftables"] as const;

/** One of {@linkcode PORTMAP_BACKENDS}. */
export type PortmapBackend = typeof PORTMAP_BACKENDS[number];

/** Configuration of the portmap plugin. */
export interface PortmapConfig {
  /** What the configuration asks for, by its name or by keys that only one back end has. @default {undefined} (any) */
  readonly backend: PortmapBackend | undefined;
  /** Whether connections are masqueraded whose answers would not come back otherwise. */
  readonly snat: boolean;
  /** Whether all of them are. */
  readonly masqAll: boolean;
  /** The bit of the mark that means "masquerade", in iptables. */
  readonly markBit: number;
  /** A chain of another owner that sets its mark, in place of the own one. */
  readonly setMarkChain: string | undefined;
  /** What a packet has to match as well, in the words of the back end. */
  readonly conditions: Readonly<Record<Family, readonly string[]>>;
  readonly ports: readonly PortRange[];
  /** How many requests there were before they were merged. */
  readonly requested: number;
}

/** Kubernetes uses 14 and 15, Calico 20 to 31. */
const DEFAULT_MARK_BIT = 13;
/** One line of nft, or of iptables-restore, is one rule. */
const LINE_END = /[\n\r\0]/;
const CHAIN = /^[^\s"'\\-][^\s"'\\]{0,27}$/;

const PORT = integer(1, LAST_PORT);

/** `containerd` writes the names of the members in capitals. */
const PORT_MAPPING = mapped(anyObject, (mapping, path): PortRange => {
  const read = (key: string) => memberInAnyCase(mapping, key) ?? null;
  const text = (key: string) => TEXT.read(read(key), [...path, key]) ?? "";
  const hostIp = text("hostIP");
  const ip = hostIp === "" ? undefined : parseIp(hostIp);
  if (hostIp !== "" && ip === undefined) {
    throw new ValidationError([...path, "hostIP"], `is not an IP address: ${hostIp}`);
  }
  // A client would wait for its time-out.
  if (ip?.family === 6 && ip.value === 1n) {
    const why =
      "the kernel routes no packet from ::1 to a container; take 127.0.0.1, or an address of a link";
    throw new ValidationError([...path, "hostIP"], `cannot be ${formatIp(ip)}: ${why}`);
  }
  return {
    protocol: oneOf(PROTOCOLS).read(text("protocol").toLowerCase() || "tcp", [...path, "protocol"]),
    family: ip?.family,
    hostIp: ip?.value === 0n ? undefined : ip,
    hostPort: PORT.read(read("hostPort"), [...path, "hostPort"]),
    containerPort: PORT.read(read("containerPort"), [...path, "containerPort"]),
    count: 1,
  };
});

const WORDS = optionalList(mapped(anyText, (word, path) => {
  if (LINE_END.test(word)) throw new ValidationError(path, "must be one line");
  return word;
}));

/** What the plugin reads. */
export const PORTMAP_SHAPE = openObjectOf({}, {
  backend: orNull(oneOf(PORTMAP_BACKENDS)),
  snat: FLAG,
  masqAll: FLAG,
  markMasqBit: orNull(integer(0, 31)),
  externalSetMarkChain: orNull(mapped(anyText, (name, path) => {
    if (!CHAIN.test(name)) {
      throw new ValidationError(path, `is not the name of a chain: ${JSON.stringify(name)}`);
    }
    return name;
  })),
  conditionsV4: WORDS,
  conditionsV6: WORDS,
  runtimeConfig: section({ portMappings: optionalList(PORT_MAPPING) }),
});

/**
 * Reads and validates the configuration.
 *
 * @throws {CniError} With the code 7, naming the member.
 */
export function readPortmapConfig(config: JsonObject): PortmapConfig {
  const read = readConfig(PORTMAP_SHAPE, config);
  const { snat, masqAll, markMasqBit, externalSetMarkChain, conditionsV4 = [], conditionsV6 = [] } = read;
  if (markMasqBit !== undefined && externalSetMarkChain !== undefined) {
    throw invalid("markMasqBit and externalSetMarkChain exclude each other: that chain sets its own mark");
  }
  const requested = read.runtimeConfig?.portMappings ?? [];
  return {
    backend: backendOf(read.backend, {
      externalSetMarkChain: externalSetMarkChain === undefined ? undefined : "iptables",
      conditionsV4: backendOfWords(conditionsV4),
      conditionsV6: backendOfWords(conditionsV6),
    }),
    snat: snat ?? true,
    masqAll: masqAll ?? false,
    markBit: markMasqBit ?? DEFAULT_MARK_BIT,
    setMarkChain: externalSetMarkChain,
    conditions: { 4: conditionsV4.filter(isWord), 6: conditionsV6.filter(isWord) },
    ports: merged(requested),
    requested: requested.length,
  };
}

/**
 * Returns the ports of a configuration of which nothing else has to be valid, for a DEL; those that cannot be read are left
 * out.
 */
export function readPortsToRemove(config: JsonObject): readonly PortRange[] {
  const runtimeConfig = member(config, "runtimeConfig");
  const mappings = isObject(runtimeConfig) ? member(runtimeConfig, "portMappings") : undefined;
  if (!isArray(mappings)) return [];
  return mappings.flatMap((mapping) => {
    try {
      return [PORT_MAPPING.read(mapping, [])];
    } catch {
      return [];
    }
  });
}

function isWord(word: string): boolean {
  return word !== "";
}

function merged(requested: readonly PortRange[]): readonly PortRange[] {
  try {
    return mergePorts(requested);
  } catch (error) {
    if (!(error instanceof PortConflict)) throw error;
    throw invalid(`runtimeConfig.portMappings: ${error.message}`);
  }
}

/** What keys ask for by themselves counts as if `backend` did. */
function backendOf(
  named: PortmapBackend | undefined,
  keys: Readonly<Record<string, PortmapBackend | undefined>>,
): PortmapBackend | undefined {
  let found = named;
  let source = "backend";
  for (const [key, backend] of Object.entries(keys)) {
    if (backend === undefined || backend === found) continue;
    if (found !== undefined) throw invalid(`${key} is of ${backend}, but ${source} asks for ${found}`);
    [found, source] = [backend, key];
  }
  return found;
}

/** Only words of iptables begin with a hyphen or an exclamation mark. */
function backendOfWords([first = ""]: readonly string[]): PortmapBackend | undefined {
  if (first === "") return undefined;
  return first.startsWith("-") || first.startsWith("!") ? "iptables" : "nftables";
}

function invalid(msg: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.invalidNetworkConfig });
}
