import { type Cidr, type Ip, parseCidr, parseIp } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { atLeast, type SpecVersion } from "../cni/version.ts";
import type { JsonObject } from "../cni/json.ts";
import type { Route } from "../cni/result.ts";
import {
  anyObject,
  anyText,
  flag,
  listOf,
  mapped,
  type Members,
  oneOf,
  openObjectOf,
  type OptionalMembersOf,
  orNull,
  readShape,
  type Shape,
  ValidationError,
} from "../cni/shape.ts";

const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;

/** A string. Null counts as missing, here and below, as in the plugins of the CNI project. */
export const TEXT: Shape<string | undefined> = orNull(anyText);

/** True or false. */
export const FLAG: Shape<boolean | undefined> = orNull(flag);

/** An IP address; undefined if the string is empty. */
export const IP: Shape<Ip | undefined> = nonEmpty((value, path) => {
  const ip = parseIp(value);
  if (ip === undefined) throw new ValidationError(path, `is not an IP address: ${value}`);
  return ip;
});

/** An address with a prefix length; undefined if the string is empty. */
export const CIDR: Shape<Cidr | undefined> = nonEmpty((value, path) => {
  const cidr = parseCidr(value);
  if (cidr === undefined) throw new ValidationError(path, `is not an address with a prefix length: ${value}`);
  return cidr;
});

/** A MAC address in lower case; undefined if the string is empty. */
export const MAC_ADDRESS: Shape<string | undefined> = nonEmpty((value, path) => {
  if (!isMac(value)) throw new ValidationError(path, `is not a MAC address: ${value}`);
  return value.toLowerCase();
});

/** Whether a text is a MAC address. */
export function isMac(text: string): boolean {
  return MAC.test(text);
}

/**
 * Returns the MAC address of `CNI_ARGS`, in lower case; undefined if there is none.
 *
 * @throws {CniError} with the code 4
 */
export function macOfArgs(cniArgs: ReadonlyMap<string, string>): string | undefined {
  const text = cniArgs.get("MAC") ?? "";
  if (text === "" || isMac(text)) return text.toLowerCase() || undefined;
  throw new CniError("usage", `ARGS: MAC is not a MAC address: ${text}`, {
    code: ERROR_CODES.invalidEnvironment,
  });
}

/** A string that `read` changes; undefined if it is empty. */
export function nonEmpty<T>(
  read: (value: string, path: readonly (string | number)[]) => T,
): Shape<T | undefined> {
  return mapped(TEXT, (value, path) => value ? read(value, path) : undefined);
}

/** One of some words; undefined if it is empty. */
export function choice<const T extends string>(words: readonly T[]): Shape<T | undefined> {
  const { schema } = oneOf<T | "">([...words, ""]);
  return {
    ...nonEmpty((word, path) => oneOf(words).read(word, path)),
    schema: { anyOf: [schema, { type: "null" }] },
  };
}

/** An array. */
export function optionalList<T>(items: Shape<T>): Shape<readonly T[] | undefined> {
  return orNull(listOf(items));
}

/** An object of which only these members are read. */
export function section<M extends Members>(members: M): Shape<OptionalMembersOf<M> | undefined> {
  return orNull(openObjectOf({}, members));
}

/** A value that must not be null or an empty string. */
export function present<T>(shape: Shape<T | undefined>): Shape<T> {
  return {
    ...mapped(shape, (value, path) => {
      if (value === undefined) throw new ValidationError(path, "is missing");
      return value;
    }),
    schema: { allOf: [shape.schema], not: { enum: [null, ""] } },
  };
}

/** A route. It is checked, and handed on as written, with attributes that this code does not know. */
export const ROUTE: Shape<Route> = handedOn(openObjectOf({ dst: present(CIDR) }, { gw: IP }));

/** An object that has to have a shape, and is handed on as it was written. */
export function handedOn<T>(shape: Shape<unknown>): Shape<T> {
  return {
    ...mapped(anyObject, (object, path) => {
      shape.read(object, path);
      return object as T;
    }),
    schema: shape.schema,
  };
}

/**
 * Reads the configuration of a plugin.
 *
 * @throws {CniError} with the code 7, naming the member
 */
export function readConfig<T>(shape: Shape<T>, config: JsonObject): T {
  return readShape(
    shape,
    config,
    (error) =>
      new CniError("config", error.describe("the configuration"), {
        code: ERROR_CODES.invalidNetworkConfig,
        cause: error,
      }),
  );
}

/**
 * Refuses more than one address of a family before version 0.3.0, whose results have no place for them.
 *
 * @throws {CniError} with the code 7
 */
export function refuseManyAddresses(families: readonly (4 | 6 | undefined)[], version: SpecVersion): void {
  if (new Set(families).size === families.length || atLeast(version, "0.3.0")) return;
  throw new CniError("config", `CNI version ${version} does not support more than 1 address per family`, {
    code: ERROR_CODES.invalidNetworkConfig,
  });
}
