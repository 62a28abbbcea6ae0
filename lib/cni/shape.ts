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

/** What a value has to look like: what reads it, and the JSON Schema that describes it to others. */
export interface Shape<T> {
  readonly schema: JsonObject;
  /** @throws {ValidationError} naming the member */
  read(json: Json, path: JsonPath): T;
}

/** The type that a shape reads. */
export type Shaped<S> = S extends Shape<infer T> ? T : never;

/**
 * Given as the path of a value, it is the path of all values in it: thousands of records are read, and only the error of a
 * reader who wants to know needs the paths.
 */
export const UNTRACKED: JsonPath = [];

function below(path: JsonPath, step: string | number): JsonPath {
  return path === UNTRACKED ? path : [...path, step];
}

/** A value does not have its shape. */
export class ValidationError extends Error {
  override readonly name: string = "ValidationError";

  /** `problem` follows the name of the member, as in "must be a string, not a number". */
  constructor(readonly path: JsonPath, readonly problem: string) {
    super(describe(path, problem, "it"));
  }

  /** The message in which the whole value, which has no path, is called by a name such as "the body". */
  describe(whole: string): string {
    return describe(this.path, this.problem, whole);
  }
}

function describe(path: JsonPath, problem: string, whole: string): string {
  return `${path.length === 0 ? whole : readablePath(formatPath(path))} ${problem}`;
}

function mustBe(what: string, json: Json, path: JsonPath): ValidationError {
  return new ValidationError(path, `must be ${what}, not ${kindOf(json)}`);
}

/** A value as it was written, cut where a message would become too long. */
function quote(json: Json): string {
  const text = printJson(json);
  return text.length <= 80 ? text : `${text.slice(0, 80)}...`;
}

/** Reads a value; `fail` makes the error that is thrown if the value does not have the shape. */
export function readShape<T>(
  shape: Shape<T>,
  json: Json,
  fail: (error: ValidationError) => Error,
  path: JsonPath = [],
): T {
  try {
    return shape.read(json, path);
  } catch (error) {
    throw error instanceof ValidationError ? fail(error) : error;
  }
}

/** A string; it may be empty only if `minLength` is 0. */
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

/** Any string, also an empty one. */
export const anyText: Shape<string> = text({ minLength: 0 });

/** One of some strings. */
export function oneOf<const T extends string>(words: readonly T[]): Shape<T> {
  const [only] = words;
  return {
    schema: { enum: [...words] },
    read(json, path) {
      const found = words.find((known) => known === json);
      if (found !== undefined) return found;
      const wanted = words.length === 1 ? `"${only}"` : `one of ${words.join(", ")}`;
      throw new ValidationError(path, `must be ${wanted}, not ${quote(json)}`);
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

/** True; the member is left out to say no. */
export const trueOnly: Shape<true> = {
  schema: { const: true },
  read(json, path) {
    if (json !== true) throw new ValidationError(path, "must be true or left out");
    return true;
  },
};

/** A whole number within bounds. */
export function integer(minimum: number, maximum: number): Shape<number> {
  return {
    schema: { type: "integer", minimum, maximum },
    read(json, path) {
      const number = numberOf(json);
      if (number === undefined) throw mustBe("a number", json, path);
      if (Number.isInteger(number) && number >= minimum && number <= maximum) return number;
      const wanted = `a whole number from ${minimum} to ${maximum}`;
      throw new ValidationError(path, `must be ${wanted}, not ${quote(json)}`);
    },
  };
}

/** Any number, as the nearest double. */
export const anyNumber: Shape<number> = {
  schema: { type: "number" },
  read(json, path) {
    const number = numberOf(json);
    if (number === undefined) throw mustBe("a number", json, path);
    return number;
  },
};

/** Any JSON at all, as it is. */
export const anything: Shape<Json> = { schema: {}, read: (json) => json };

/** Any object, as it is. */
export const anyObject: Shape<JsonObject> = {
  schema: { type: "object" },
  read(json, path) {
    if (!isObject(json)) throw mustBe("an object", json, path);
    return json;
  },
};

/** An array of such values. */
export function listOf<T>({ schema, read }: Shape<T>): Shape<readonly T[]> {
  return {
    schema: { type: "array", items: schema },
    read(json, path) {
      if (!isArray(json)) throw mustBe("an array", json, path);
      return json.map((item, index) => read(item, below(path, index)));
    },
  };
}

/** An object of such values, under names that its author chooses. */
export function mapOf<T>({ schema, read }: Shape<T>): Shape<Readonly<Record<string, T>>> {
  return {
    schema: { type: "object", additionalProperties: schema },
    read(json, path) {
      if (!isObject(json)) throw mustBe("an object", json, path);
      return Object.fromEntries(
        Object.entries(json).map(([key, item]) => [key, read(item, below(path, key))]),
      );
    },
  };
}

/** A value of the first shape if `isFirst` returns true, else of the second. */
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

/** Reads null as undefined, as Go does. */
export function orNull<T>({ schema, read }: Shape<T>): Shape<T | undefined> {
  return {
    schema: { anyOf: [schema, { type: "null" }] },
    read: (json, path) => json === null ? undefined : read(json, path),
  };
}

/** Reads a value that does not have the shape as undefined: it is not worth losing the rest. */
export function lenient<T>({ read }: Shape<T>): Shape<T | undefined> {
  return {
    schema: {},
    read(json, path) {
      try {
        return read(json, path);
      } catch (error) {
        if (error instanceof ValidationError) return undefined;
        throw error;
      }
    },
  };
}

/** What `change` makes of a value that has its shape. It may throw a {@linkcode ValidationError}. */
export function mapped<T, U>(shape: Shape<T>, change: (value: T, path: JsonPath) => U): Shape<U> {
  return { schema: shape.schema, read: (json, path) => change(shape.read(json, path), path) };
}

/** Shapes by name. */
export type Members = Readonly<Record<string, Shape<unknown>>>;
/** What they read. */
export type MembersOf<M extends Members> = { readonly [K in keyof M]: Shaped<M[K]> };
/** What they read of an object in which each of them may be missing. */
export type OptionalMembersOf<M extends Members> = {
  readonly [K in keyof M]?: Exclude<Shaped<M[K]>, undefined>;
};
/** What an object of such members reads. */
export type ObjectOf<R extends Members, O extends Members> = MembersOf<R> & OptionalMembersOf<O>;

/** An object of these members and no others. */
export function objectOf<R extends Members, O extends Members>(
  required: R,
  optional: O,
): Shape<ObjectOf<R, O>> {
  const { schema, read } = openObjectOf(required, optional);
  const names = Object.keys({ ...required, ...optional });
  return {
    schema: { ...schema, additionalProperties: false },
    read(json, path) {
      const unknown = isObject(json) && Object.keys(json).find((key) => !names.includes(key));
      if (typeof unknown === "string") {
        const known = names.length === 0 ? "there are none" : `there are ${names.join(", ")}`;
        throw new ValidationError([...path, unknown], `is unknown; ${known}`);
      }
      return read(json, path);
    },
  };
}

/** An object with these members. Others are ignored: a later version may define them. */
export function openObjectOf<R extends Members, O extends Members>(
  required: R,
  optional: O,
): Shape<ObjectOf<R, O>> {
  const all = new Map<string, Shape<unknown>>(Object.entries({ ...required, ...optional }));
  const needed = Object.keys(required);
  const properties = Object.fromEntries([...all].map(([name, { schema }]) => [name, schema]));
  return {
    schema: { type: "object", properties, required: needed },
    read(json, path) {
      if (!isObject(json)) throw mustBe("an object", json, path);
      const missing = needed.find((key) => member(json, key) === undefined);
      if (missing !== undefined) throw new ValidationError([...path, missing], "is missing");
      // Thousands of records are read so, and a list of the members would take as long as these. No name is `__proto__`.
      const read: Record<string, unknown> = {};
      for (const key in json) {
        const shape = all.get(key);
        const item = json[key];
        if (shape === undefined || item === undefined) continue;
        const value = shape.read(item, below(path, key));
        if (value !== undefined || needed.includes(key)) read[key] = value;
      }
      return read as ObjectOf<R, O>;
    },
  };
}

/** As {@linkcode openObjectOf}; `unknownMembers` holds the members that it does not define, if there are any. */
export function extensibleObjectOf<R extends Members, O extends Members>(
  required: R,
  optional: O,
): Shape<ObjectOf<R, O> & { readonly unknownMembers?: JsonObject }> {
  const { schema, read } = openObjectOf(required, optional);
  const names = new Set(Object.keys({ ...required, ...optional }));
  return {
    schema,
    read(json, path) {
      const known = read(json, path);
      if (isOfOnly(json as JsonObject, names)) return known;
      const unknown = Object.entries(json as JsonObject).filter(([key]) => !names.has(key));
      return { ...known, unknownMembers: Object.fromEntries(unknown) };
    },
  };
}

function isOfOnly(json: JsonObject, names: ReadonlySet<string>): boolean {
  for (const key in json) if (!names.has(key)) return false;
  return true;
}
