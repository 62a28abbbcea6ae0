import { CniError, ERROR_CODES } from "../cni/error.ts";
import { type Cidr, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { isArray, isObject, type Json, type JsonObject, kindOf, member, numberOf } from "../cni/json.ts";

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

/** A place in a plugin's configuration: the object, and how a message calls it. */
export interface Section {
  readonly json: JsonObject;
  /** Empty for the configuration itself, else as in `ipam` or `ipam.ranges[0][1]`. */
  readonly path: string;
}

/** An error that names the field. */
export function fieldError(section: Section, key: string, state: string): CniError {
  return new CniError("config", `"${pathOf(section, key)}" ${state}`, {
    code: ERROR_CODES.invalidNetworkConfig,
  });
}

/** The error for what is understood and not done: a promise that could not be kept silently. */
export function unsupportedField(section: Section, key: string): CniError {
  return new CniError("config", `unsupported field "${pathOf(section, key)}"`, {
    code: ERROR_CODES.unsupportedField,
    details: "remove it, or use the plugin of that type from the CNI plugins project",
  });
}

function pathOf({ path }: Section, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

function present(section: Section, key: string): Json | undefined {
  return member(section.json, key) ?? undefined;
}

/** Empty when absent. */
export function stringField(section: Section, key: string): string {
  const value = present(section, key) ?? "";
  if (typeof value !== "string") throw fieldError(section, key, `is ${kindOf(value)}, not a string`);
  return value;
}

/** False when absent. */
export function booleanField(section: Section, key: string): boolean {
  const value = present(section, key) ?? false;
  if (typeof value !== "boolean") throw fieldError(section, key, `is ${kindOf(value)}, not true or false`);
  return value;
}

/** 0 when absent. */
export function integerField(section: Section, key: string): number {
  const value = present(section, key) ?? 0;
  const number = numberOf(value);
  if (number === undefined || !Number.isSafeInteger(number)) {
    throw fieldError(section, key, `is ${kindOf(value)}, not an integer`);
  }
  return number;
}

/** An empty section when absent. */
export function sectionField(section: Section, key: string): Section {
  const value = present(section, key) ?? {};
  if (!isObject(value)) throw fieldError(section, key, `is ${kindOf(value)}, not an object`);
  return { json: value, path: pathOf(section, key) };
}

/** Empty when absent. */
export function arrayField(section: Section, key: string): readonly Json[] {
  const value = present(section, key) ?? [];
  if (!isArray(value)) throw fieldError(section, key, `is ${kindOf(value)}, not an array`);
  return value;
}

/** The objects of an array, each with its place in it. */
export function sectionsField(section: Section, key: string): Section[] {
  return arrayField(section, key).map((value, index) => sectionAt(section, `${key}[${index}]`, value));
}

/** Takes a value that was found at a place for a section. */
export function sectionAt(section: Section, key: string, value: Json): Section {
  if (!isObject(value)) throw fieldError(section, key, `is ${kindOf(value)}, not an object`);
  return { json: value, path: pathOf(section, key) };
}

/** `undefined` when absent or empty. */
export function ipField(section: Section, key: string): Ip | undefined {
  const text = stringField(section, key);
  if (text === "") return undefined;
  const ip = parseIp(text);
  if (ip === undefined) throw fieldError(section, key, `is not an IP address: ${text}`);
  return ip;
}

/** `undefined` when absent or empty. */
export function cidrField(section: Section, key: string): Cidr | undefined {
  const text = stringField(section, key);
  if (text === "") return undefined;
  const cidr = parseCidr(text);
  if (cidr === undefined) throw fieldError(section, key, `is not an address with a prefix length: ${text}`);
  return cidr;
}

/** A MAC address in lower case; empty when absent. */
export function macField(section: Section, key: string): string {
  const text = stringField(section, key);
  if (text !== "" && !MAC.test(text)) throw fieldError(section, key, `is not a MAC address: ${text}`);
  return text.toLowerCase();
}
