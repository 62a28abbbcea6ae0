import { type JsonPath, JsonReader, type JsonSource, type Position, positionAt } from "./json_reader.ts";

export {
  type DuplicateKeys,
  formatPath,
  type JsonPath,
  type JsonSource,
  MAX_DEPTH,
  type Position,
  readablePath,
} from "./json_reader.ts";

/** A JSON value in which every number can be printed as it was written. */
export type Json = null | boolean | number | string | JsonNumber | readonly Json[] | JsonObject;

/** A JSON object. Read members whose name comes from outside with {@linkcode member}. */
export interface JsonObject {
  /** Any member, in the order of the document. */
  readonly [key: string]: Json;
}

/** A number whose text a double does not preserve, such as `9007199254740993`, `1.0` or `1e400`. */
export interface JsonNumber {
  /** The number as written. */
  readonly rawJSON: string;
}

/** Functions of V8 that TypeScript's library does not declare yet: https://tc39.es/proposal-json-parse-with-source/ */
const { rawJSON, isRawJSON } = JSON as unknown as {
  rawJSON(text: string): JsonNumber;
  isRawJSON(value: unknown): value is JsonNumber;
};

/** Whether a value is an object, and not an array or a {@linkcode JsonNumber}. */
export function isObject(json: Json | undefined): json is JsonObject {
  return typeof json === "object" && json !== null && !Array.isArray(json) && !isRawJSON(json);
}

/** Whether a value is an array. */
export function isArray(json: Json | undefined): json is readonly Json[] {
  return Array.isArray(json);
}

/** The nearest double of a number; `undefined` for a value that is not a number. */
export function numberOf(json: Json | undefined): number | undefined {
  if (typeof json === "number") return json;
  return isRawJSON(json) ? Number(json.rawJSON) : undefined;
}

/** A member of an object, never an inherited one such as `constructor`. */
export function member(json: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(json, key) ? json[key] : undefined;
}

/** The member that a JSON reader of Go would take: its name in any case, the exact name first. */
export function memberInAnyCase(json: JsonObject, key: string): Json | undefined {
  const exact = member(json, key);
  if (exact !== undefined) return exact;
  const other = Object.keys(json).find((name) => name.toLowerCase() === key.toLowerCase());
  return other === undefined ? undefined : json[other];
}

/** What kind of JSON value it is, with its article, for messages. */
export function kindOf(json: Json): string {
  if (json === null) return "null";
  if (isArray(json)) return "an array";
  if (isObject(json)) return "an object";
  return numberOf(json) === undefined ? `a ${typeof json}` : "a number";
}

/**
 * Reads a JSON text.
 *
 * Nothing is lost: a number keeps its text where a double would change it, and `__proto__` is a normal key. If an object
 * has a key twice, the last one counts, unless the source refuses such keys.
 *
 * @throws {CniError} of kind `config` (or the source's) with line, column and path: code 6 when the text is not valid JSON or
 * nested too deep, 7 when a key is refused
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { parseJson, printJson } from "./json.ts";
 *
 * assertEquals(printJson(parseJson('{"mtu": 1500, "id": 9007199254740993}')), '{"mtu":1500,"id":9007199254740993}');
 * ```
 */
export function parseJson(text: string, source: JsonSource = {}): Json {
  return readJson(text, source).json;
}

/** A JSON value, and what its text was like. */
export interface ReadJson {
  readonly json: Json;
  /** How deep objects and arrays are nested. */
  readonly depth: number;
  /** Whether an object has a key twice. */
  readonly hasDuplicateKeys: boolean;
}

/**
 * Reads a JSON text as {@linkcode parseJson}, and returns also what decides whether a stricter source would accept it.
 *
 * @throws {CniError} as {@linkcode parseJson}
 */
export function readJson(text: string, source: JsonSource = {}): ReadJson {
  const reader = new JsonReader(text, source);
  reader.begin();
  const json = readValue(reader);
  reader.end();
  return { json, depth: reader.deepest, hasDuplicateKeys: reader.hasDuplicateKeys };
}

/**
 * Prints a JSON value; with `indent`, one member a line.
 *
 * `JSON.stringify` prints these values too; a copy made with `structuredClone` loses the text of numbers.
 */
export function printJson(value: Json, indent?: number): string {
  return JSON.stringify(value, undefined, indent);
}

/**
 * Returns where the value at a path begins in a text that {@linkcode parseJson} accepts; `undefined` if there is none.
 *
 * @throws {CniError} as {@linkcode parseJson}
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { positionOf } from "./json.ts";
 *
 * assertEquals(positionOf('{"plugins": [{"type": 1}]}', ["plugins", 0, "type"]), { line: 1, column: 23 });
 * ```
 */
export function positionOf(text: string, path: JsonPath): Position | undefined {
  const reader = new JsonReader(text);
  reader.begin();
  const offset = seek(reader, path);
  return offset === undefined ? undefined : positionAt(text, offset);
}

/** Reads one value and returns where the value at a path in it begins. */
function seek(reader: JsonReader, path: JsonPath): number | undefined {
  const bracket = reader.next();
  const start = reader.offset;
  const [step, ...rest] = path;
  if (step === undefined || (bracket !== "{" && bracket !== "[")) {
    readValue(reader);
    return step === undefined ? start : undefined;
  }
  let found: number | undefined;
  const visit = (at: string | number) => {
    if (at === step) found = seek(reader, rest);
    else readValue(reader);
  };
  if (bracket === "{") reader.object(visit);
  else reader.array(visit);
  return found;
}

function readValue(reader: JsonReader): Json {
  switch (reader.next()) {
    case "{": {
      const object: Record<string, Json> = {};
      reader.object((key) => {
        if (Object.hasOwn(object, key)) reader.duplicateKey();
        setMember(object, key, readValue(reader));
      });
      return object;
    }
    case "[": {
      const array: Json[] = [];
      reader.array(() => array.push(readValue(reader)));
      return array;
    }
    case '"':
      return reader.string();
    default:
      return valueOf(reader.word());
  }
}

/** Assigning to `__proto__` would set the prototype instead of making a member. */
function setMember(object: Record<string, Json>, key: string, value: Json): void {
  if (key !== "__proto__") object[key] = value;
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
}

function valueOf(word: string): Json {
  if (word === "null") return null;
  if (word === "true" || word === "false") return word === "true";
  const number = Number(word);
  return String(number) === word ? number : rawJSON(word);
}
