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
  readablePath,
} from "./json.ts";

/** What a value in a request has to look like: the JSON Schema that tells it to others, and what reads it. */
export interface Shape<T> {
  readonly schema: JsonObject;
  /** @throws {ValidationError} naming the member */
  read(json: Json, path: JsonPath): T;
}

/** The type that a shape reads. */
export type Shaped<S> = S extends Shape<infer T> ? T : never;

/** A member that is not as it has to be; the body itself has no name. */
export class ValidationError extends Error {
  override readonly name: string = "Misshapen";

  constructor(readonly path: JsonPath, must: string) {
    super(`${path.length === 0 ? "the body" : readablePath(formatPath(path))} ${must}`);
  }
}

function mustBe(what: string, json: Json, path: JsonPath): ValidationError {
  return new ValidationError(path, `must be ${what}, not ${kindOf(json)}`);
}

/** A text that has something in it, unless `minLength` is 0. */
export function text(more: JsonObject & { readonly minLength?: number } = {}): Shape<string> {
  const schema: JsonObject & { readonly minLength: number } = { type: "string", minLength: 1, ...more };
  return {
    schema,
    read(json, path) {
      if (typeof json !== "string") throw mustBe("a string", json, path);
      if (json === "" && schema.minLength > 0) throw new ValidationError(path, "must not be empty");
      return json;
    },
  };
}

/** One of some words. */
export function word<const T extends string>(words: readonly T[]): Shape<T> {
  return {
    schema: { enum: [...words] },
    read(json, path) {
      const found = words.find((known) => known === json);
      if (found === undefined) throw new ValidationError(path, `must be one of ${words.join(", ")}`);
      return found;
    },
  };
}

/** True or false. */
export const flag: Shape<boolean> = {
  schema: { type: "boolean" },
  read(json, path) {
    if (typeof json !== "boolean") throw mustBe("true or false", json, path);
    return json;
  },
};

/** True, of what is asked for or left out. */
export const yes: Shape<true> = {
  schema: { const: true },
  read(json, path) {
    if (json !== true) throw new ValidationError(path, "must be true or left out");
    return true;
  },
};

/** A whole number within bounds. */
export function whole(minimum: number, maximum: number): Shape<number> {
  return {
    schema: { type: "integer", minimum, maximum },
    read(json, path) {
      const number = numberOf(json);
      if (number === undefined) throw mustBe("a number", json, path);
      const isInside = Number.isInteger(number) && number >= minimum && number <= maximum;
      if (!isInside) throw new ValidationError(path, `must be a whole number from ${minimum} to ${maximum}`);
      return number;
    },
  };
}

/** Any JSON at all, as it is. */
export const anything: Shape<Json> = { schema: {}, read: (json) => json };

/** An array of such values. */
export function listOf<T>({ schema, read }: Shape<T>): Shape<readonly T[]> {
  return {
    schema: { type: "array", items: schema },
    read(json, path) {
      if (!isArray(json)) throw mustBe("an array", json, path);
      return json.map((item, index) => read(item, [...path, index]));
    },
  };
}

/** An object of such values, under names that the client chooses. */
export function mapOf<T>({ schema, read }: Shape<T>): Shape<Readonly<Record<string, T>>> {
  return {
    schema: { type: "object", additionalProperties: schema },
    read(json, path) {
      if (!isObject(json)) throw mustBe("an object", json, path);
      return Object.fromEntries(Object.entries(json).map(([key, item]) => [key, read(item, [...path, key])]));
    },
  };
}

/** A value of the first kind, or where `isFirst` says no, of the second. */
export function either<T, U>(
  isFirst: (json: Json) => boolean,
  first: Shape<T>,
  second: Shape<U>,
): Shape<T | U> {
  return {
    schema: { anyOf: [first.schema, second.schema] },
    read: (json, path) => isFirst(json) ? first.read(json, path) : second.read(json, path),
  };
}

/** What a value becomes once it has its shape. */
export function mapped<T, U>(shape: Shape<T>, change: (value: T, path: JsonPath) => U): Shape<U> {
  return { schema: shape.schema, read: (json, path) => change(shape.read(json, path), path) };
}

/** Shapes by name. */
export type Members = Readonly<Record<string, Shape<unknown>>>;
/** What they read. */
export type MembersOf<M extends Members> = { readonly [K in keyof M]: Shaped<M[K]> };

/** An object of these members and no others. */
export function objectOf<R extends Members, O extends Members>(
  required: R,
  optional: O,
): Shape<MembersOf<R> & Partial<MembersOf<O>>> {
  const all: Members = { ...required, ...optional };
  const names = Object.keys(all);
  const properties = Object.fromEntries(names.map((name) => [name, all[name]?.schema ?? {}]));
  return {
    schema: { type: "object", properties, required: Object.keys(required), additionalProperties: false },
    read(json, path) {
      if (!isObject(json)) throw mustBe("an object", json, path);
      const unknown = Object.keys(json).find((key) => !Object.hasOwn(all, key));
      if (unknown !== undefined) {
        const known = names.length === 0 ? "there are none" : `there are ${names.join(", ")}`;
        throw new ValidationError([...path, unknown], `is unknown; ${known}`);
      }
      const missing = Object.keys(required).find((key) => member(json, key) === undefined);
      if (missing !== undefined) throw new ValidationError([...path, missing], "is missing");
      const read = Object.entries(json).map(([key, value]) => [key, all[key]?.read(value, [...path, key])]);
      return Object.fromEntries(read) as MembersOf<R> & Partial<MembersOf<O>>;
    },
  };
}
