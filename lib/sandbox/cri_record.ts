import { type JsonObject, member } from "../cni/json.ts";
import type { Dns } from "../cni/result.ts";
import {
  anyObject,
  anyText,
  extensibleObjectOf,
  lenient,
  listOf,
  openObjectOf,
  type Shape,
} from "../cni/shape.ts";

/** What a kubelet, or another client of the CRI, has asked for. Its sandbox belongs to that client. */
export interface CriSandbox {
  /** The runtime handler, empty for the default one. */
  readonly handler: string;
  /** `PodSandboxConfig` of the CRI in the JSON of Protocol Buffers, without what the sandbox itself has: names, labels, annotations. */
  readonly config: JsonObject;
  /** Members that another version wrote. */
  readonly unknownMembers?: JsonObject;
}

/** Encodes it as a member of the sandbox record. */
export function encodeCri({ unknownMembers = {}, ...known }: CriSandbox): JsonObject {
  return { ...unknownMembers, ...known };
}

/** What {@linkcode encodeCri} returns. */
export const CRI: Shape<CriSandbox> = extensibleObjectOf({ handler: anyText, config: anyObject }, {});

const TEXTS = lenient(listOf(anyText));
const DNS = lenient(openObjectOf({}, { servers: TEXTS, searches: TEXTS, options: TEXTS }));

/** Returns how the sandbox looks up names, as its client has asked for it. */
export function criDns({ config }: CriSandbox): Dns {
  const { servers = [], searches = [], options = [] } = DNS.read(member(config, "dnsConfig") ?? {}, []) ?? {};
  return { nameservers: servers, search: searches, options };
}

/** Whether the client has said how names are looked up. */
export function hasCriDns(cri: CriSandbox): boolean {
  return Object.values(criDns(cri)).some((list) => list.length > 0);
}

/** Returns the host name of its infra container, as its client has asked for it; undefined if it has not. */
export function criHostname({ config }: CriSandbox): string | undefined {
  const hostname = member(config, "hostname");
  return typeof hostname === "string" && hostname !== "" ? hostname : undefined;
}
