import { FAMILIES, type Family } from "../cni/default_route.ts";
import { isArray, type JsonObject } from "../cni/json.ts";
import type { Dns } from "../cni/result.ts";
import {
  anyObject,
  anyText,
  integer,
  lenient,
  mapped,
  openObjectOf,
  orNull,
  type Shape,
} from "../cni/shape.ts";
import { choice, FLAG, optionalList, readConfig, section, TEXT } from "./config_shape.ts";
import { MASQUERADE_BACKENDS, type MasqueradeBackend } from "./masquerade.ts";

/**
 * What a DEL and a GC need of the configuration of a plugin that connects a container by a veth pair; a mistake in the rest
 * must not prevent the cleaning up.
 */
export interface PairTeardown {
  /** Empty if there are no addresses. */
  readonly ipamType: string;
  /** The families whose packets are masqueraded. */
  readonly ipMasq: readonly Family[];
  /** Undefined also if the configuration has another word for it. */
  readonly ipMasqBackend: MasqueradeBackend | undefined;
}

/** The members of {@linkcode PairTeardown}. */
export const PAIR_TEARDOWN = {
  ipMasq: FLAG,
  ipMasqIPv4: lenient(FLAG),
  ipMasqIPv6: lenient(FLAG),
  ipam: section({ type: TEXT }),
};

/** Settings of the resolver that the runtime asks for, in the words of the capability `dns`; undefined if there are none. */
const RUNTIME_DNS: Shape<Dns | undefined> = mapped(
  section({
    servers: optionalList(anyText),
    searches: optionalList(anyText),
    options: optionalList(anyText),
  }),
  (given) => {
    const { servers = [], searches = [], options = [] } = given ?? {};
    const members = Object.entries({ nameservers: servers, search: searches, options });
    const set = members.filter(([, words]) => words.length > 0);
    return set.length === 0 ? undefined : Object.fromEntries(set);
  },
);

/** The member of `runtimeConfig` with the settings of the resolver. */
export const PAIR_RUNTIME = { dns: RUNTIME_DNS };

/** The members that are not needed then. */
export const PAIR_MEMBERS = {
  ipMasqIPv4: FLAG,
  ipMasqIPv6: FLAG,
  ipMasqBackend: choice(MASQUERADE_BACKENDS),
  mtu: orNull(integer(0, 65_535)),
  dns: ownDns(),
};

/** Undefined if nothing is set, to take that of the IPAM plugin. */
function ownDns(): Shape<Dns | undefined> {
  return mapped(lenient(anyObject), (dns, path) => {
    if (dns === undefined) return undefined;
    const isSet = ["nameservers", "search", "options"].some((key) => isArray(dns[key])) ||
      (openObjectOf({}, { domain: TEXT }).read(dns, path).domain ?? "") !== "";
    return isSet ? dns as unknown as Dns : undefined;
  });
}

/** The members that say what is masqueraded: that of a family wins over that of both. */
interface MasqueradeMembers {
  readonly ipMasq?: boolean | undefined;
  readonly ipMasqIPv4?: boolean | undefined;
  readonly ipMasqIPv6?: boolean | undefined;
}

/** Returns the families whose packets are masqueraded. */
export function masqueradedFamilies(
  { ipMasq = false, ipMasqIPv4 = ipMasq, ipMasqIPv6 = ipMasq }: MasqueradeMembers,
): readonly Family[] {
  return FAMILIES.filter((family) => family === 4 ? ipMasqIPv4 : ipMasqIPv6);
}

const TEARDOWN = openObjectOf({}, PAIR_TEARDOWN);

/**
 * Reads the part of the configuration that a DEL and a GC need.
 *
 * @throws {CniError} With the code 7.
 */
export function readPairTeardown(config: JsonObject): PairTeardown {
  const { ipam, ...masquerade } = readConfig(TEARDOWN, config);
  return {
    ipMasq: masqueradedFamilies(masquerade),
    ipMasqBackend: MASQUERADE_BACKENDS.find((backend) => backend === config.ipMasqBackend),
    ipamType: ipam?.type ?? "",
  };
}
