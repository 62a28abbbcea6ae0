import { assert, assertEquals } from "@std/assert";
import { builtins } from "../../lib/builtin/mod.ts";
import { CONFIG_READINGS } from "../../lib/builtin/config_table.ts";
import { parseNetwork } from "../../lib/catalog/load.ts";
import { isObject, type Json, type JsonObject, parseJson, printJson } from "../../lib/cni/json.ts";
import { isCniError } from "../../lib/cni/error.ts";
import { ValidationError } from "../../lib/cni/shape.ts";
import { itemsOf, listSchema, membersOf, pluginSchema } from "../../lib/lint/schema.ts";
import { podwire } from "../cli/fake_io.ts";
import { schemaProblems } from "../json_schema.ts";
import { need } from "../root/need.ts";
import { BROKEN } from "./broken.ts";
import { bridge, list, PORTMAP } from "./world.ts";

/** What a reader makes of a configuration, as text. */
function outcome(type: string, config: JsonObject): string {
  const text = (value: unknown) =>
    JSON.stringify(value, (_, own) => typeof own === "bigint" ? `${own}` : own) ?? "";
  try {
    return text(CONFIG_READINGS[type]?.read(config, "1.1.0"));
  } catch (error) {
    if (!isCniError(error)) throw error;
    return error.message;
  }
}

/** Whether a reader knows a member: some value of it makes a difference. */
function isKnown(type: string, withValue: (value: Json | undefined) => JsonObject): boolean {
  const without = outcome(type, withValue(undefined));
  return VALUES.some((value) => outcome(type, withValue(value)) !== without);
}

/** Adds a member, or removes it. */
function put(object: JsonObject, key: string, value: Json | undefined): JsonObject {
  const { [key]: _, ...rest } = object;
  return value === undefined ? rest : { ...rest, [key]: value };
}

/** All members that any built-in plugin knows, by path, each with an innocent value. */
function everything(): JsonObject {
  const of = (schema: Json): Json => {
    const members = membersOf(schema);
    if (Object.keys(members).length > 0) {
      return Object.fromEntries(Object.entries(members).map(([key, own]) => [key, of(own)]));
    }
    return itemsOf(schema) === undefined ? null : [];
  };
  return Object.assign({}, ...Object.keys(CONFIG_READINGS).map((type) => of(pluginSchema(type) ?? {})));
}

Deno.test("every built-in plugin has a schema, and no other", () => {
  assertEquals(Object.keys(CONFIG_READINGS).toSorted(), Object.keys(builtins).toSorted());
});

/** What a reader may look at without being a member of its plugin's own. */
const OF_ALL = ["name", "cniVersion", "type", "capabilities", "args", "ipam", "dns", "runtimeConfig"];

for (const type of Object.keys(CONFIG_READINGS)) {
  Deno.test(`the schema of ${type} has each member that its reader knows, and no other`, () => {
    const base: JsonObject = { type, ...VALID[type] ?? VALID_IPAM[type] };
    const keys = [...Object.keys(everything()), "zzz"].filter((key) => !OF_ALL.includes(key));
    const known = keys.filter((key) => isKnown(type, (value) => put(base, key, value)));
    const described = Object.keys(membersOf(pluginSchema(type) ?? {})).filter((key) =>
      !OF_ALL.includes(key) && !key.startsWith("podwire")
    );
    assertEquals(known.toSorted(), described.toSorted());
  });
}

/** A valid configuration of each IPAM plugin. */
const VALID_IPAM: Readonly<Record<string, JsonObject>> = {
  "host-local": { ipam: { subnet: "10.1.0.0/24" } },
  static: { ipam: { addresses: [{ address: "10.1.0.7/24" }] } },
};

Deno.test("the schema of an IPAM plugin has each member of ipam that its reader knows, and no other", () => {
  for (const type of ["host-local", "static"]) {
    const inside = membersOf(membersOf(pluginSchema(type) ?? {}).ipam ?? {});
    const ipam = (VALID_IPAM[type] ?? {}).ipam as JsonObject;
    const keys = [
      ...new Set([...Object.keys(membersOf(everything().ipam ?? {})), ...Object.keys(inside), "zzz"]),
    ];
    const known = keys.filter((key) => isKnown(type, (value) => ({ ipam: put(ipam, key, value) })));
    assertEquals(known.toSorted(), Object.keys(inside).toSorted(), type);
  }
});

Deno.test("`podwire schema` prints the schema", async () => {
  const { code, stdout } = await podwire(["schema"], { uid: 1000 });
  assertEquals({ code, json: parseJson(stdout) }, { code: 0, json: parseJson(printJson(listSchema())) });
});

const VALUES: readonly Json[] = [
  null,
  true,
  false,
  0,
  1,
  -1,
  1.5,
  70_000,
  2 ** 40,
  "",
  "x",
  "true",
  "bridge",
  "10.1.0.0/24",
  "10.1.0.7",
  [],
  ["x"],
  [1],
  [[]],
  [{}],
  {},
  { x: 1 },
];

/** Configurations, each with one member of another value. */
function* mutations(type: string, base: JsonObject): Generator<JsonObject> {
  const keys = Object.keys(membersOf(pluginSchema(type) ?? {})).filter((key) => key !== "type");
  for (const key of keys) {
    for (const value of VALUES) yield { ...base, [key]: value };
    const inner = membersOf(membersOf(pluginSchema(type) ?? {})[key] ?? {});
    const holder = base[key];
    for (const [name] of Object.entries(inner)) {
      for (const value of VALUES) {
        yield { ...base, [key]: { ...isObject(holder) ? holder : {}, [name]: value } };
      }
    }
  }
  for (const value of VALUES) yield { ...base, ...isObject(value) ? value : { unknown: value } };
}

/** A valid configuration of each plugin. */
const VALID: Readonly<Record<string, JsonObject>> = {
  bandwidth: { ingressRate: 8000, ingressBurst: 8000 },
  bridge: { bridge: "br0", ipam: { type: "static", addresses: [{ address: "10.1.0.7/24" }] } },
  dummy: { ipam: { type: "host-local", subnet: "10.1.0.0/24" } },
  firewall: { backend: "nftables" },
  "host-device": { device: "eth1" },
  ipvlan: { master: "eth0", mode: "l2" },
  loopback: {},
  macvlan: { master: "eth0", mode: "bridge" },
  portmap: { snat: true },
  ptp: {
    ipam: {
      type: "host-local",
      ranges: [[{ subnet: "10.1.0.0/24", rangeStart: "10.1.0.9" }]],
      exclude: ["10.1.0.12"],
    },
  },
  sbr: { table: 100 },
  tuning: { mtu: 1400, sysctl: { "net.core.somaxconn": "500" } },
  vlan: { master: "eth0", vlanId: 7, ipam: { type: "host-local", subnet: "10.1.0.0/24" } },
  vrf: { vrfname: "red" },
};

/** Whether podwire reads it, and if not, whether one value by itself has the wrong type. */
function readerSays(plugin: JsonObject): "accepts" | "wrong type" | "other" {
  try {
    const { plugins: [own] } = parseNetwork(printJson({ cniVersion: "1.0.0", name: "a", plugins: [plugin] }));
    if (own === undefined) return "other";
    const ipam = isObject(own.json.ipam) ? own.json.ipam.type : undefined;
    for (const type of [own.type, ipam]) {
      if (typeof type === "string" && Object.hasOwn(CONFIG_READINGS, type)) {
        CONFIG_READINGS[type]?.read(own.json, "1.0.0");
      }
    }
    return "accepts";
  } catch (error) {
    const cause = isCniError(error) ? error.cause : error;
    const text = cause instanceof ValidationError ? cause.problem : isCniError(error) ? error.msg : "";
    return /\bmust be (?:a|an|true or false|one of|a whole number)\b/.test(text) ? "wrong type" : "other";
  }
}

for (const [type, base] of Object.entries(VALID)) {
  Deno.test({
    name: `the reader of ${type} and its schema agree about each value of each member`,
    ...need("ajv"),
    fn: async () => {
      assertEquals(readerSays({ type, ...base }), "accepts", "the valid one");
      const plugins = [{ type, ...base }, ...mutations(type, { type, ...base })];
      const lists = plugins.map((plugin) =>
        JSON.parse(printJson({ cniVersion: "1.0.0", name: "a", plugins: [plugin] }))
      );
      const problems = await schemaProblems(listSchema(), lists);
      const differing = plugins.flatMap((plugin, at) => {
        const says = readerSays(plugin);
        const isValid = problems[at]?.length === 0;
        const differs = says === "accepts" ? !isValid : says === "wrong type" && isValid;
        return differs ? [`${says}: ${printJson(plugin)}: ${problems[at]?.join("; ")}`] : [];
      });
      assertEquals(differing, []);
    },
  });
}

Deno.test({
  name: "the schema accepts what the engine accepts of the broken configurations, and all healthy ones",
  ...need("ajv"),
  fn: async () => {
    const texts = Object.values(BROKEN).flatMap(({ files }) =>
      Object.entries(files).filter(([name]) => name.endsWith(".conflist")).map(([, content]) =>
        typeof content === "string" ? content : JSON.stringify(content)
      )
    );
    const healthy = [
      list("web", [bridge("br0", "10.1.0.0/24"), PORTMAP]),
      list("x", [{ type: "other", anything: 1 }]),
    ];
    const accepted = [...texts, ...healthy.map((one) => JSON.stringify(one))].filter((text) => {
      try {
        parseNetwork(text);
        return !text.includes('"invalid"');
      } catch {
        return false;
      }
    }).filter((text) => {
      const { plugins } = parseNetwork(text);
      return plugins.every(({ json }) => readerSays(json) !== "wrong type");
    });
    assert(accepted.length > 30, `${accepted.length}`);
    const problems = await schemaProblems(listSchema(), accepted.map((text) => JSON.parse(text)));
    const refused = problems.flatMap((own, at) =>
      own.length === 0 ? [] : [`${accepted[at]}: ${own.join("; ")}`]
    );
    assertEquals(refused, []);
  },
});

Deno.test({
  name: "the schema and the engine refuse the same lists",
  ...need("ajv"),
  fn: async () => {
    const plugins = [{ type: "loopback" }];
    const base = { cniVersion: "1.0.0", name: "a", plugins };
    const keys = [
      "cniVersion",
      "cniVersions",
      "name",
      "disableCheck",
      "disableGC",
      "loadOnlyInlinedPlugins",
      "plugins",
    ];
    const lists = [
      {},
      { name: "a", loadOnlyInlinedPlugins: true },
      { name: "a", loadOnlyInlinedPlugins: "TRUE" },
      ...keys.flatMap((key) =>
        [...VALUES, "1.0", "9.9.9", "a/b", ["1.0.0"], plugins].map((value) => ({ ...base, [key]: value }))
      ),
    ];
    const problems = await schemaProblems(listSchema(), lists);
    const differing = lists.flatMap((one, at) => {
      const isValid = problems[at]?.length === 0;
      try {
        parseNetwork(JSON.stringify(one));
        return isValid ? [] : [`only the engine accepts ${JSON.stringify(one)}: ${problems[at]?.join("; ")}`];
      } catch (error) {
        const text = isCniError(error) ? error.msg : "";
        // What a schema does not know: which versions there are, and that of another writing.
        const isBeyond = /no version that is supported|must be written as/.test(text);
        // A folder beside the file may have the plugins.
        const isFolder = /no plugin configs found|no plugins|missing plugin/i.test(text);
        return isValid && !isBeyond && !isFolder
          ? [`only the schema accepts ${JSON.stringify(one)}: ${text}`]
          : [];
      }
    });
    assertEquals(differing, []);
  },
});
