import type { WantedNetwork } from "../pod/request.ts";
import { CniError } from "../cni/error.ts";
import type { Json } from "../cni/json.ts";
import { address, addressWithPrefix, capability, ipRanges, pair, portMapping, rate } from "./flag_value.ts";

const FLAG = "--network";

/** What the keys collect. */
interface Collected {
  readonly ip: string[];
  readonly publish: ReturnType<typeof portMapping>[];
  readonly range: ReturnType<typeof ipRanges>[];
  readonly dns: string[];
  readonly search: string[];
  readonly "dns-option": string[];
  readonly alias: string[];
  readonly annotation: (readonly [string, string])[];
  readonly arg: (readonly [string, string])[];
  readonly cap: (readonly [string, Json])[];
  readonly mac: string[];
  readonly ingress: number[];
  readonly egress: number[];
  readonly device: string[];
  readonly cgroup: string[];
  readonly "default-route": string[];
}

/** How the value of each key is read. */
const READERS: { readonly [K in keyof Collected]: (flag: string, text: string) => Collected[K][number] } = {
  ip: addressWithPrefix,
  publish: portMapping,
  range: ipRanges,
  dns: address,
  search: (_, text) => text,
  "dns-option": (_, text) => text,
  alias: (_, text) => text,
  annotation: pair,
  arg: pair,
  cap: capability,
  mac: (_, text) => text,
  ingress: bits,
  egress: bits,
  device: (_, text) => text,
  cgroup: (_, text) => text,
  "default-route": address,
};
/** The key that needs no value. */
const DEFAULT_ROUTE = "default-route";
const ONCE: readonly string[] = ["mac", "ingress", "egress", "device", "cgroup"];

/**
 * The networks that the flags ask for.
 *
 * @throws {CniError} kind `usage`, naming flag, key and value
 */
export function wantedNetworks(texts: readonly string[]): readonly WantedNetwork[] | "none" | undefined {
  return texts.length === 0 ? undefined : allOf(FLAG, texts.map((text) => pieces(text)));
}

/**
 * The networks of a list, one a line or several, each as the flag has it: between commas, a piece without "=" is the
 * next network, but for `default-route`.
 *
 * @throws {CniError} kind `usage`, naming key and value
 */
export function wantedNetworkItems(flag: string, text: string): readonly WantedNetwork[] | "none" {
  const items: string[][] = [];
  for (const line of text.split("\n").map((line) => line.trim()).filter((line) => line !== "")) {
    for (const [index, piece] of pieces(line).entries()) {
      const isSetting = piece.includes("=") || piece.trim() === DEFAULT_ROUTE;
      if (index === 0 || !isSetting) items.push([piece.trim()]);
      else items.at(-1)?.push(piece.trim());
    }
  }
  return allOf(flag, items);
}

function allOf(flag: string, items: readonly (readonly string[])[]): readonly WantedNetwork[] | "none" {
  const isNone = (item: readonly string[]) => item.length === 1 && item[0] === "none";
  if (!items.some(isNone)) return items.map((item) => ofPieces(flag, item));
  if (items.length === 1) return "none";
  throw new CniError("usage", `${flag}: "none" means no network, and there are others`, {
    hint: "a network of that name needs its interface, as in none:eth0",
  });
}

/** `NET[:IFNAME][,default-route][,KEY=VALUE...]` */
export function wantedNetwork(text: string): WantedNetwork {
  return ofPieces(FLAG, pieces(text));
}

function ofPieces(flag: string, [head = "", ...settings]: readonly string[]): WantedNetwork {
  const [name = "", ifName, ...more] = head.split(":");
  if (name === "" || ifName === "" || more.length > 0) {
    throw new CniError("usage", `${flag}: "${head}" is not NET[:IFNAME]`);
  }
  if (name === "none" && ifName === undefined) {
    throw new CniError("usage", `${flag}: "none" means no network, which can be asked for nothing`, {
      hint: "a network of that name needs its interface, as in none:eth0",
    });
  }
  return { name, ...(ifName === undefined ? {} : { ifName }), ...settingsOf(flag, settings) };
}

function settingsOf(flag: string, texts: readonly string[]): Omit<WantedNetwork, "name" | "ifName"> {
  const pairs = texts.filter((text) => text !== DEFAULT_ROUTE);
  const settings = fromCollected(collected(flag, pairs));
  if (pairs.length === texts.length) return settings;
  if (settings.defaultRoute === undefined && pairs.length + 1 === texts.length) {
    return { ...settings, defaultRoute: true };
  }
  throw new CniError("usage", `${flag}: ${DEFAULT_ROUTE} is given without a gateway and once more`);
}

function collected(flag: string, pairs: readonly string[]): Partial<Collected> {
  const all = new Map<string, unknown[]>();
  for (const text of pairs) {
    const [key, value] = pair(flag, text);
    const reader = Object.hasOwn(READERS, key) ? READERS[key as keyof Collected] : undefined;
    if (reader === undefined) {
      const known = Object.keys(READERS).join(", ");
      throw new CniError("usage", `${flag}: unknown key "${key}" in "${text}"`, {
        details: `keys are ${known}`,
      });
    }
    if (value === "") throw new CniError("usage", `${flag}: "${text}" has no value`);
    const values = all.get(key) ?? [];
    if (values.length > 0 && ONCE.includes(key)) {
      throw new CniError("usage", `${flag}: ${key} is given twice, "${values[0]}" and "${value}"`);
    }
    all.set(key, [...values, reader(`${flag} ${key}`, value)]);
  }
  return Object.fromEntries(all) as Partial<Collected>;
}

function fromCollected(given: Partial<Collected>): Omit<WantedNetwork, "name" | "ifName"> {
  const { ingress: [ingressRate] = [], egress: [egressRate] = [] } = given;
  const { mac: [mac] = [], device: [deviceID] = [], cgroup: [cgroupPath] = [] } = given;
  const { dns: servers, search: searches, "dns-option": options } = given;
  return defined({
    ips: given.ip,
    mac,
    publish: given.publish,
    bandwidth: someOf({ ingressRate, egressRate }),
    ipRanges: given.range,
    dns: someOf({ servers, searches, options }),
    aliases: given.alias,
    deviceID,
    cgroupPath,
    annotations: given.annotation && Object.fromEntries(given.annotation),
    args: given.arg,
    capabilities: given.cap && Object.fromEntries(given.cap),
    defaultRoute: given["default-route"],
  });
}

/** Without the members that are not there. */
export function defined<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const there = Object.entries(members).filter(([, value]) => value !== undefined);
  return Object.fromEntries(there) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** As {@linkcode defined}, and undefined if nothing is left. */
export function someOf<T extends object>(
  members: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } | undefined {
  const there = defined(members);
  return Object.keys(there).length === 0 ? undefined : there;
}

function bits(flag: string, text: string): number {
  const bits = rate(text);
  if (bits !== undefined) return bits;
  throw new CniError("usage", `${flag}: "${text}" is no rate in bit/s, such as 10M`);
}

/** What stands between the commas, unescaped. */
function pieces(text: string): readonly string[] {
  const pieces: string[] = [];
  let piece = "";
  for (let at = 0; at < text.length; at++) {
    if (piece === "" && pieces.length > 0 && text.startsWith("cap=", at)) {
      const end = jsonEnd(text, at);
      piece = text.slice(at, end);
      at = end;
    }
    const [char = "", next = ""] = [text[at], text[at + 1]];
    if (char === "\\" && (next === "," || next === "\\")) piece += text[++at];
    else if (char !== ",") piece += char;
    else {
      pieces.push(piece);
      piece = "";
    }
  }
  return [...pieces, piece];
}

/** The next comma that is not inside of a list, an object or a text of JSON. */
function jsonEnd(text: string, from: number): number {
  let depth = 0;
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    const char = text[at] ?? "";
    if (quoted && char === "\\") at++;
    else if (char === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (char === "," && depth <= 0) return at;
    else if ("[{".includes(char)) depth++;
    else if ("]}".includes(char)) depth--;
  }
  return text.length;
}
