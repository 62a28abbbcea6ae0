import { formatCidr, formatIp, isPlainCidr4, parseCidr, parseIp } from "./address.ts";
import { CniError, ERROR_CODES } from "./error.ts";
import {
  formatPath,
  isArray,
  isObject,
  type Json,
  type JsonObject,
  type JsonPath,
  kindOf,
  member,
  numberOf,
  printJson,
  readablePath,
} from "./json.ts";
import type { SpecVersion } from "./version.ts";

/** Versions whose results have the same members. */
export type ResultFamily = "02x" | "04x" | "1xx";

/** The family of the results of each version. */
export const FAMILY_OF: Readonly<Record<SpecVersion, ResultFamily>> = {
  "0.1.0": "02x",
  "0.2.0": "02x",
  "0.3.0": "04x",
  "0.3.1": "04x",
  "0.4.0": "04x",
  "1.0.0": "1xx",
  "1.1.0": "1xx",
};

/** Checks a value and returns its normal form; `undefined` is a missing member, both as argument and as result. */
type Normalise = (json: Json | undefined, path: Path) => Json | undefined;
/** Undefined while nothing is known to be wrong: thousands of results are read to be shown, and none needs its paths. */
type Path = JsonPath | undefined;

/** Makes the error about a result that is not valid. */
export function resultError(msg: string, path: JsonPath = []): CniError {
  const code = ERROR_CODES.decodingFailure;
  return new CniError("plugin-output", msg, path.length === 0 ? { code } : { code, path: formatPath(path) });
}

/**
 * Returns the members of a result without its version: addresses in canonical form, no empty members, and unknown
 * members as they are.
 *
 * Source: CNI specifications 0.1.0 to 1.1.0, sections on the result of ADD; which empty members are written follows the Go
 * library.
 *
 * @throws {CniError} of kind `plugin-output`, code 6, with the path of the wrong value
 */
export function normaliseResult(json: JsonObject, family: ResultFamily): JsonObject {
  try {
    return SHAPES[family](json, undefined);
  } catch {
    return SHAPES[family](json, []);
  }
}

const text = ((json, path) => {
  if (json === undefined || json === null || json === "") return undefined;
  if (typeof json !== "string") throw wrongType(path, "a string", json);
  return json;
}) satisfies Normalise;

const textAlways: Normalise = (json, path) => text(json, path) ?? "";

const integer: Normalise = (json, path) => {
  if (json === undefined || json === null) return undefined;
  const number = numberOf(json);
  if (number === undefined || !/^-?\d+$/.test(printJson(json))) throw wrongType(path, "an integer", json);
  if (!Number.isSafeInteger(number)) throw wrongType(path, "an integer below 2^53", json);
  return number || 0;
};

const integerUnlessZero: Normalise = (json, path) => integer(json, path) || undefined;

const cidr: Normalise = (json, path) => {
  const written = text(json, path);
  if (written === undefined) throw resultError(`${readable(path)} is missing`, path);
  if (isPlainCidr4(written)) return written;
  const found = parseCidr(written);
  if (found === undefined) throw resultError(`${readable(path)}: invalid CIDR address: ${written}`, path);
  return formatCidr(found);
};

const ip: Normalise = (json, path) => {
  const written = text(json, path);
  if (written === undefined) return undefined;
  const found = parseIp(written);
  if (found === undefined) throw resultError(`${readable(path)}: invalid IP address: ${written}`, path);
  return formatIp(found);
};

const leftOut: Normalise = () => undefined;

const listOf = (element: Normalise): Normalise => (json, path) => {
  if (json === undefined || json === null) return undefined;
  if (!isArray(json)) throw wrongType(path, "an array", json);
  const list = json.map((entry, index) => {
    const at = path && [...path, index];
    if (entry === null) throw resultError(`${readable(at)} is null`, at);
    return element(entry, at) ?? entry;
  });
  return list.length === 0 ? undefined : list;
};

type Members = Readonly<Record<string, Normalise>>;

const object = (members: Members) => (json: Json, path: Path): JsonObject => {
  if (!isObject(json)) throw wrongType(path, "an object", json);
  const normal: Record<string, Json> = {};
  for (const key in members) {
    const value = members[key]?.(member(json, key), path && [...path, key]);
    if (value !== undefined) normal[key] = value;
  }
  return isOfOnly(json, members) ? normal : withUnknown(normal, json, members);
};

function isOfOnly(json: JsonObject, members: Members): boolean {
  for (const key in json) if (!Object.hasOwn(members, key)) return false;
  return true;
}

function withUnknown(normal: JsonObject, json: JsonObject, members: Members): JsonObject {
  const unknown = Object.entries(json).filter(([key]) => !Object.hasOwn(members, key));
  return Object.fromEntries([...Object.entries(normal), ...unknown]);
}

const objectIfThere = (members: Members): Normalise => (json, path) =>
  json === undefined || json === null ? undefined : object(members)(json, path);

const DNS: Members = { nameservers: listOf(text), domain: text, search: listOf(text), options: listOf(text) };

const dnsAlways: Normalise = (json, path) => object(DNS)(json ?? {}, path);

const dnsUnlessEmpty: Normalise = (json, path) => {
  if (json === undefined) return undefined;
  const dns = object(DNS)(json ?? {}, path);
  return Object.keys(dns).length === 0 ? undefined : dns;
};

const routes = listOf(objectIfThere({
  dst: cidr,
  gw: ip,
  mtu: integerUnlessZero,
  advmss: integerUnlessZero,
  priority: integerUnlessZero,
  table: integer,
  scope: integer,
}));

const ipOfFamily = objectIfThere({ ip: cidr, gateway: ip, routes });

const SHAPES: Readonly<Record<ResultFamily, (json: Json, path: Path) => JsonObject>> = {
  "02x": object({ cniVersion: leftOut, ip4: ipOfFamily, ip6: ipOfFamily, dns: dnsAlways }),
  "04x": object({
    cniVersion: leftOut,
    interfaces: listOf(objectIfThere({ name: textAlways, mac: text, sandbox: text })),
    ips: listOf(objectIfThere({ version: textAlways, interface: integer, address: cidr, gateway: ip })),
    routes,
    dns: dnsAlways,
  }),
  "1xx": object({
    cniVersion: leftOut,
    interfaces: listOf(objectIfThere({
      name: textAlways,
      mac: text,
      mtu: integerUnlessZero,
      sandbox: text,
      socketPath: text,
      pciID: text,
    })),
    // Versions before 1.0.0 had the address family here; it follows from the address.
    ips: listOf(objectIfThere({ version: leftOut, interface: integer, address: cidr, gateway: ip })),
    routes,
    dns: dnsUnlessEmpty,
  }),
};

/**
 * Checks that each address of a normalised result belongs to an interface of the same result, or to none.
 *
 * @throws {CniError} as {@linkcode normaliseResult}
 */
export function refuseStrayIndices(normal: JsonObject, family: ResultFamily): void {
  if (family === "02x") return;
  const count = lengthOf(normal.interfaces);
  for (let index = 0; index < lengthOf(normal.ips); index++) {
    const config = (normal.ips as readonly JsonObject[])[index];
    const link = numberOf(config?.interface);
    if (link === undefined || link >= 0 && link < count) continue;
    const path = ["ips", index, "interface"];
    throw resultError(`${readable(path)} is ${link}, but the result has ${interfaces(count)}`, path);
  }
}

function lengthOf(list: Json | undefined): number {
  return isArray(list) ? list.length : 0;
}

function interfaces(count: number): string {
  return count === 0 ? "no interfaces" : count === 1 ? "only one interface" : `only ${count} interfaces`;
}

function wrongType(path: Path, wanted: string, found: Json): CniError {
  const what = numberOf(found) === undefined ? kindOf(found) : printJson(found);
  return resultError(`${readable(path) || "the result"} must be ${wanted}, not ${what}`, path);
}

function readable(path: Path): string {
  return readablePath(formatPath(path ?? []));
}
