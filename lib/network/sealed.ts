import { isObject, type JsonObject, parseJson, printJson } from "../spec/json.ts";

/** The text of a record: the body with its kind and a checksum over both. */
export async function seal(kind: string, body: JsonObject): Promise<string> {
  const tagged = { kind, ...body };
  return `${printJson({ ...tagged, checksum: await checksumOf(tagged) })}\n`;
}

/**
 * The body of a record.
 *
 * @throws {Error} if it is no record of that kind, or not as it was written
 */
export async function unseal(kind: string, text: string): Promise<JsonObject> {
  const json = parseJson(text);
  if (!isObject(json)) throw new Error("it is not a JSON object");
  const { checksum, ...tagged } = json;
  if (tagged.kind !== kind) throw new Error(`its kind is not ${kind}`);
  if (checksum !== await checksumOf(tagged)) throw new Error("its checksum does not match");
  const { kind: _, ...body } = tagged;
  return body;
}

async function checksumOf(tagged: JsonObject): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(printJson(tagged)));
  return new Uint8Array(digest).toHex();
}

/** The member, which has to be a string. */
export function textOf(body: JsonObject, key: string): string {
  const value = body[key];
  if (typeof value !== "string") throw new Error(`its "${key}" is not a string`);
  return value;
}

/** The member, which has to be a string where it is there. */
export function optionalText(body: JsonObject, key: string): string | undefined {
  return body[key] === undefined ? undefined : textOf(body, key);
}

/** The member, which has to be an object where it is there. */
export function optionalObject(body: JsonObject, key: string): JsonObject | undefined {
  const value = body[key];
  if (value === undefined) return undefined;
  if (!isObject(value)) throw new Error(`its "${key}" is not an object`);
  return value;
}

/** The member, which has to be one of these words. */
export function wordOf<T extends string>(body: JsonObject, key: string, words: readonly T[]): T {
  const word = words.find((known) => known === body[key]);
  if (word === undefined) throw new Error(`its "${key}" is unknown: ${printJson(body[key] ?? null)}`);
  return word;
}
