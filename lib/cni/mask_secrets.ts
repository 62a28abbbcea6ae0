import { isArray, isObject, type Json } from "./json.ts";

/** What stands in the place of a secret. */
export const MASK = "***";

/** Names of members and variables whose values are secrets. */
const SECRET = /pass(?:word|wd|phrase)|secret|token|credential|private_?key|api_?key|auth(?:orization)?$/i;
/** A user and a password in a URL. */
const IN_URL = /(?<=^[a-z][a-z\d+.-]*:\/\/)[^/?#@]*(?=@)/i;

/** Whether a member or a variable of that name holds a secret. */
export function isSecretName(name: string): boolean {
  return SECRET.test(name);
}

/** Returns a text in which a user and a password of a URL are masked, and the pairs of `CNI_ARGS` that are secrets. */
export function maskedText(name: string, text: string): string {
  if (text === "") return text;
  if (isSecretName(name)) return MASK;
  if (name !== "CNI_ARGS") return text.replace(IN_URL, MASK);
  return text.split(";").map((pair) => {
    const [key = "", ...value] = pair.split("=");
    return value.length === 0 ? pair : `${key}=${maskedText(key, value.join("="))}`;
  }).join(";");
}

/** Returns a value in which all that looks like a secret is masked. */
export function maskSecrets(json: Json, name = ""): Json {
  if (typeof json === "string") return maskedText(name, json);
  if (isArray(json)) return json.map((item) => maskSecrets(item, name));
  if (isObject(json)) {
    return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, maskSecrets(value, key)]));
  }
  return isSecretName(name) && json !== null && typeof json !== "boolean" ? MASK : json;
}
