import { didYouMean } from "../cni/near_miss.ts";
import { isArray, isObject, type Json, type JsonPath } from "../cni/json.ts";
import { hasWrongForm } from "./engine_rules.ts";
import {
  ipamOf,
  isListFile,
  type NetworkFile,
  objectOf,
  type PlacedPlugin,
  type ReadText,
} from "./network_file.ts";
import { type Problem, problemAt, type Rule } from "./rule.ts";
import { capabilitiesOf, ipamSchema, itemsOf, LIST_KEYS, membersOf, pluginSchema } from "./schema.ts";

/** What the schemas leave out, because another rule refuses it or a runtime reads it. */
const OF_THE_RUNTIME = [
  "name",
  "cniVersion",
  "prevResult",
  "runtimeConfig",
  "shapedSubnets",
  "unshapedSubnets",
];
/** Keys that people write for themselves. */
const COMMENT = /^(?:[_$#/]|x-|comment|description)/i;

/** A key that nothing reads. */
interface UnknownKey {
  readonly source: ReadText;
  readonly path: JsonPath;
  readonly key: string;
  /** What would read it, such as `bridge`. */
  readonly reader: string;
  readonly suggestion: string | undefined;
}

/** What is wrong with the names of members. */
export const KEY_RULES: readonly Rule[] = [
  {
    name: "misspelt-key",
    severity: "warning",
    summary: "a key that looks like a mistyped one",
    explanation:
      "Keys that a plugin does not know have no effect, and no message says so. Upper and lower case count.",
    check: ({ files }) => keyProblems(files, true),
  },
  {
    name: "unknown-key",
    severity: "note",
    summary: "a key that the plugin of that type does not know",
    explanation:
      "It has no effect for a built-in plugin, and probably none for others. Keys for yourself may begin with `_` or `x-`.",
    check: ({ files }) => keyProblems(files, false),
  },
];

function* keyProblems(files: readonly NetworkFile[], isNear: boolean): Generator<Problem> {
  for (const file of files) {
    if (!file.isConfig || hasWrongForm(file)) continue;
    for (const { source, path, key, reader, suggestion } of unknownKeys(file)) {
      if ((suggestion !== undefined) !== isNear) continue;
      yield problemAt(source, path, `${reader} does not know the key "${key}"`, { suggestion });
    }
  }
}

function* unknownKeys(file: NetworkFile): Generator<UnknownKey> {
  const json = objectOf(file);
  if (json !== undefined && file.read !== undefined && isListFile(file)) {
    for (const key of Object.keys(json)) {
      if (LIST_KEYS.includes(key) || COMMENT.test(key)) continue;
      const suggestion = didYouMean(key, LIST_KEYS);
      yield { source: file.read, path: [key], key, reader: "a list", suggestion };
    }
  }
  for (const plugin of file.plugins) yield* unknownKeysOf(plugin);
}

function* unknownKeysOf(plugin: PlacedPlugin): Generator<UnknownKey> {
  const { type, json, source, path } = plugin;
  const schema = pluginSchema(type);
  const ipam = ipamOf(plugin);
  if (schema !== undefined) {
    // The plugin's own schema of `ipam` names its type alone; what else is in there belongs to the IPAM plugin.
    const { ipam: _, ...members } = membersOf(schema);
    const known = {
      ...members,
      ...Object.fromEntries(["ipam", "dns", "args", ...OF_THE_RUNTIME].map((key) => [key, {}])),
    };
    yield* walk(source, path, json, known, type);
  }
  const inside = ipam === undefined ? undefined : ipamSchema(ipam.type);
  if (ipam === undefined || inside === undefined) return;
  yield* walk(source, [...path, "ipam"], ipam.json, { type: {}, ...membersOf(inside) }, ipam.type);
}

/** Looks at an object whose members are known, and at the objects in it. */
function* walk(
  source: ReadText,
  path: JsonPath,
  json: Json,
  members: Readonly<Record<string, Json>>,
  reader: string,
): Generator<UnknownKey> {
  if (!isObject(json)) return;
  const names = Object.keys(members);
  for (const [key, value] of Object.entries(json)) {
    const at = [...path, key];
    const schema = Object.hasOwn(members, key) ? members[key] : undefined;
    if (schema !== undefined) yield* walkInto(source, at, value, schema, reader);
    else if (!COMMENT.test(key)) yield { source, path: at, key, reader, suggestion: didYouMean(key, names) };
  }
}

function* walkInto(
  source: ReadText,
  path: JsonPath,
  json: Json,
  schema: Json,
  reader: string,
): Generator<UnknownKey> {
  if (isArray(json)) {
    const items = itemsOf(schema);
    if (items === undefined) return;
    for (const [at, item] of json.entries()) yield* walkInto(source, [...path, at], item, items, reader);
    return;
  }
  const members = membersOf(schema);
  // A route may have attributes that no reader here knows.
  if (Object.keys(members).length > 0 && !path.includes("routes")) {
    yield* walk(source, path, json, members, reader);
  }
}

/** The capabilities that a plugin and its IPAM plugin read; undefined if one of them is not a built-in one. */
export function readCapabilities(plugin: PlacedPlugin): readonly string[] | undefined {
  const types = [plugin.type, ipamOf(plugin)?.type ?? plugin.type];
  if (types.some((type) => pluginSchema(type) === undefined)) return undefined;
  return types.flatMap(capabilitiesOf);
}
