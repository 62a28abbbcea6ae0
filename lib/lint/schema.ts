import { CONFIG_READINGS, type ConfigReading } from "../builtin/config_table.ts";
import { CREATED } from "../catalog/created.ts";
import { EXISTING_LINK } from "../cni/existing_link.ts";
import { isArray, isObject, type Json, type JsonObject, member } from "../cni/json.ts";
import { PLUGIN_SHAPE } from "../cni/plugin_config.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import { ALWAYS_BUILTIN } from "../plugin/locate.ts";

/** The member of a list with the names of the rules that do not apply to its file. Plugins never get it. */
export const LINT_EXCLUDES = "podwireLintExclude";

/** What only a runtime writes into a request. */
const OF_THE_RUNTIME = ["runtimeConfig", "prevResult"];
const FLAG: JsonObject = {
  anyOf: [{ type: "boolean" }, { type: "string", pattern: "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$" }],
};
const VERSION: JsonObject = {
  type: "string",
  pattern: "^([+-]?\\d+(\\.[+-]?\\d+){0,2})?$",
  examples: [...SPEC_VERSIONS],
};
const OWN: JsonObject = {
  [ALWAYS_BUILTIN]: { description: "the plugin inside podwire runs, even if there is an executable" },
  [EXISTING_LINK]: { description: "the plugin works on an interface that exists" },
};

/** The members of every plugin's object, beside those of its type. */
const COMMON: JsonObject = {
  type: { type: "string", minLength: 1 },
  capabilities: {
    description: "what the runtime may pass to the plugin",
    anyOf: [{ type: "object", additionalProperties: { anyOf: [{ type: "boolean" }, { type: "null" }] } }, {
      type: "null",
    }],
  },
  args: { description: "arguments of the network, the same for each container" },
  ...OWN,
};

/** The members of a list. */
const LIST: JsonObject = {
  cniVersion: VERSION,
  cniVersions: { type: "array", items: VERSION },
  name: { type: "string", pattern: "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$" },
  disableCheck: FLAG,
  disableGC: FLAG,
  loadOnlyInlinedPlugins: FLAG,
  plugins: { type: "array", minItems: 1, items: { $ref: "#/$defs/plugin" } },
  [CREATED]: { description: "when `podwire network create` made the file" },
  [LINT_EXCLUDES]: {
    description: "the rules of `podwire lint` that do not apply to this file",
  },
};

/** The names of the members of a list. */
export const LIST_KEYS: readonly string[] = Object.keys(LIST);

/** Returns the schema of what a plugin of that type reads in its object, without what a runtime adds; undefined if it is not a built-in one. */
export function pluginSchema(type: string): JsonObject | undefined {
  const reading = Object.hasOwn(CONFIG_READINGS, type) ? CONFIG_READINGS[type] : undefined;
  if (reading === undefined) return undefined;
  const { shapes, isIpam = false } = reading;
  const schemas = shapes.map(({ schema }) => schema);
  return {
    type: "object",
    properties: { ...(isIpam ? {} : COMMON), ...Object.assign({}, ...schemas.map(propertiesOf)) },
    required: schemas.flatMap(({ required = [] }) => isArray(required) ? required : []),
  };
}

/** The schema of the member `ipam` for an IPAM plugin; undefined if there is no such built-in plugin. */
export function ipamSchema(type: string): JsonObject | undefined {
  const reading = Object.hasOwn(CONFIG_READINGS, type) ? CONFIG_READINGS[type] : undefined;
  return reading?.isIpam ? propertiesOf(pluginSchema(type) ?? {}).ipam as JsonObject : undefined;
}

/** The names of the members of `runtimeConfig` that a plugin of that type reads. */
export function capabilitiesOf(type: string): readonly string[] {
  const reading: ConfigReading | undefined = Object.hasOwn(CONFIG_READINGS, type)
    ? CONFIG_READINGS[type]
    : undefined;
  return (reading?.shapes ?? []).flatMap(({ schema }) => {
    const properties = member(schema, "properties");
    const runtime = isObject(properties) ? member(properties, "runtimeConfig") : undefined;
    return runtime === undefined ? [] : Object.keys(membersOf(runtime));
  });
}

/** Returns the schema of a network configuration list: JSON Schema of 2020-12. */
export function listSchema(): JsonObject {
  const types = Object.keys(CONFIG_READINGS);
  const ipam = types.filter((type) => CONFIG_READINGS[type]?.isIpam);
  const plain = types.filter((type) => !ipam.includes(type));
  const definitions = [
    ...plain.map((type) => [type, pluginSchema(type) ?? {}] as const),
    ...ipam.map((type) => [`ipam-${type}`, ipamSchema(type) ?? {}] as const),
  ];
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "A network configuration list of CNI, with the built-in plugins of podwire",
    type: "object",
    properties: LIST,
    required: ["name"],
    // Without plugins of its own, those of the folder beside the file are used.
    if: {
      properties: {
        loadOnlyInlinedPlugins: { anyOf: [{ const: true }, { type: "string", pattern: "^[Tt]" }] },
      },
      required: ["loadOnlyInlinedPlugins"],
    },
    then: { required: ["plugins"] },
    $defs: {
      plugin: {
        allOf: [
          { type: "object", required: ["type"], properties: COMMON },
          PLUGIN_SHAPE.schema,
          ...plain.map((type) => ({ if: ofType(type), then: { $ref: `#/$defs/${type}` } })),
          ...ipam.map((type) => ({
            if: { properties: { ipam: { type: "object", ...ofType(type) } }, required: ["ipam"] },
            then: { properties: { ...argsOf(type), ipam: { $ref: `#/$defs/ipam-${type}` } } },
          })),
        ],
      },
      ...Object.fromEntries(definitions),
    },
  };
}

/** An IPAM plugin reads more of the object than its own member. */
function argsOf(type: string): JsonObject {
  const { args } = propertiesOf(pluginSchema(type) ?? {});
  return args === undefined ? {} : { args };
}

function ofType(type: string): JsonObject {
  return { properties: { type: { const: type } }, required: ["type"] };
}

function propertiesOf(schema: JsonObject): JsonObject {
  const properties = member(schema, "properties");
  if (!isObject(properties)) return {};
  return Object.fromEntries(Object.entries(properties).filter(([key]) => !OF_THE_RUNTIME.includes(key)));
}

/** The members that a schema names, with their schemas, wherever in it they stand; empty if it names none. */
export function membersOf(schema: Json): Readonly<Record<string, Json>> {
  if (!isObject(schema)) return {};
  const own = member(schema, "properties");
  const nested = ["anyOf", "allOf"].flatMap((key) => {
    const schemas = member(schema, key);
    return isArray(schemas) ? schemas : [];
  });
  const other = member(schema, "else") ?? null;
  return Object.assign({}, isObject(own) ? own : {}, ...[...nested, other].map(membersOf));
}

/** The schema of the items of an array that a schema describes; undefined if it says nothing of items. */
export function itemsOf(schema: Json): Json | undefined {
  if (!isObject(schema)) return undefined;
  const own = member(schema, "items");
  if (own !== undefined) return own;
  const nested = member(schema, "anyOf");
  return isArray(nested) ? nested.map(itemsOf).find((items) => items !== undefined) : undefined;
}
