import { formatCidr, formatIp, parseCidr, parseIp } from "./address.ts";
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
} from "./json.ts";
import type { SpecVersion } from "./version.ts";

/** Versions whose results have the same members. */
export type ResultFamily = "02x" | "04x" | "1xx";

/** Which family a version's results are of. */
export const FAMILY_OF: Readonly<Record<SpecVersion, ResultFamily>> = {
  "0.1.0": "02x",
  "0.2.0": "02x",
  "0.3.0": "04x",
  "0.3.1": "04x",
  "0.4.0": "04x",
  "1.0.0": "1xx",
  "1.1.0": "1xx",
};

/** Checks a value and answers its normal form; `undefined` stands, on both sides, for a member that is not there. */
type Normalise = (json: Json | undefined, path: JsonPath) => Json | undefined;

/** The error about a result that cannot be understood. */
export function resultError(msg: string): CniError {
  return new CniError("plugin-output", msg, { code: ERROR_CODES.decodingFailure });
}

/**
 * The members of a result beside its version, with canonical addresses and without empty ones; unknown ones are kept.
 *
 * Source: CNI specifications 0.1.0 to 1.1.0, sections on the result of ADD; what is written when empty follows the Go
 * library.
 *
 * @throws {CniError} of kind `plugin-output`, code 6, with the path of what is wrong
 */
export function normaliseResult(json: JsonObject, family: ResultFamily): JsonObject {
  return SHAPES[family](json, []);
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
  if (!Number.isSafeInteger(number) || !/^-?\d+$/.test(printJson(json))) {
    throw wrongType(path, "an integer", json);
  }
  return number || 0;
};

const integerUnlessZero: Normalise = (json, path) => integer(json, path) || undefined;

const cidr: Normalise = (json, path) => {
  const written = text(json, path);
  if (written === undefined) throw resultError(`${formatPath(path)} is missing`);
  const found = parseCidr(written);
  if (found === undefined) throw resultError(`${formatPath(path)}: invalid CIDR address: ${written}`);
  return formatCidr(found);
};

const ip: Normalise = (json, path) => {
  const written = text(json, path);
  if (written === undefined) return undefined;
  const found = parseIp(written);
  if (found === undefined) throw resultError(`${formatPath(path)}: invalid IP address: ${written}`);
  return formatIp(found);
};

const leftOut: Normalise = () => undefined;

const listOf = (element: Normalise): Normalise => (json, path) => {
  if (json === undefined || json === null) return undefined;
  if (!isArray(json)) throw wrongType(path, "an array", json);
  const list = json.map((entry, index) => {
    if (entry === null) throw resultError(`${formatPath([...path, index])} is null`);
    return element(entry, [...path, index]) ?? entry;
  });
  return list.length === 0 ? undefined : list;
};

type Members = Readonly<Record<string, Normalise>>;

const object = (members: Members) => (json: Json, path: JsonPath): JsonObject => {
  if (!isObject(json)) throw wrongType(path, "an object", json);
  const normal: [string, Json][] = [];
  for (const [key, normalise] of Object.entries(members)) {
    const value = normalise(member(json, key), [...path, key]);
    if (value !== undefined) normal.push([key, value]);
  }
  const unknown = Object.entries(json).filter(([key]) => !Object.hasOwn(members, key));
  return Object.fromEntries([...normal, ...unknown]);
};

const objectIfThere = (members: Members): Normalise => (json, path) =>
  json === undefined || json === null ? undefined : object(members)(json, path);

const DNS: Members = { nameservers: listOf(text), domain: text, search: listOf(text), options: listOf(text) };

const dnsAlways: Normalise = (json, path) => object(DNS)(json ?? {}, path);

const dnsUnlessEmpty: Normalise = (json, path) => {
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

const SHAPES: Readonly<Record<ResultFamily, (json: Json, path: JsonPath) => JsonObject>> = {
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
    // Versions before 1.0.0 had a label of the address family here; the address itself tells.
    ips: listOf(objectIfThere({ version: leftOut, interface: integer, address: cidr, gateway: ip })),
    routes,
    dns: dnsUnlessEmpty,
  }),
};

function wrongType(path: JsonPath, wanted: string, found: Json): CniError {
  const shown = numberOf(found) === undefined ? kindOf(found) : printJson(found);
  return resultError(`${formatPath(path) || "the result"} must be ${wanted}, not ${shown}`);
}
