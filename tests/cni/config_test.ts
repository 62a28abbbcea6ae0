import { assertEquals, assertThrows } from "@std/assert";
import { listFromPluginConfig, parseConfigList, parsePluginConfig } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type Json, MAX_DEPTH, printJson } from "../../lib/cni/json.ts";
import { faultOf } from "./fault.ts";

const FILE = "/etc/cni/net.d/10-web.conflist";

/** A list with these members beside a name and one plugin; `undefined` takes a member away. */
function listText(members: Record<string, Json | undefined>): string {
  return JSON.stringify({ name: "web", plugins: [{ type: "bridge" }], ...members });
}

const parse = (members: Record<string, Json | undefined>) => parseConfigList(listText(members));
const listFault = (members: Record<string, Json | undefined>) => faultOf(() => parse(members));

Deno.test("A20 errors name the file, the line and the column", () => {
  const text = '{\n  "name": "web",\n  "plugins": [\n    {"type": "a"},\n    {"type": 7}\n  ]\n}';
  const expected = {
    kind: "config",
    code: 7,
    msg: "plugins[1].type must be a string, not a number",
    file: FILE,
    at: "5:14",
  };
  assertEquals(faultOf(() => parseConfigList(text, { file: FILE })), expected);
  assertEquals(faultOf(() => parseConfigList("{\n x}", { file: FILE })).at, "2:2");
});

Deno.test("A22 refuses text that is not one JSON object", () => {
  for (const text of ["", " ", "{", "[}", "{}{}"]) assertEquals(faultOf(() => parseConfigList(text)).code, 6);
  for (const text of ["[]", "null", '"web"', "1.0"]) {
    assertEquals(faultOf(() => parseConfigList(text)).code, 7);
  }
});

Deno.test("A23 A24 refuses a list without a name", () => {
  assertEquals(listFault({ name: undefined }), { kind: "config", code: 7, msg: 'missing "name"', at: "1:1" });
  assertEquals(listFault({ name: undefined, Name: "web" }).msg, 'missing "name"');
});

Deno.test("A25 refuses a name that is not a string", () => {
  const cases: [Json, string][] = [[null, "null"], [1, "a number"], [true, "a boolean"], [[], "an array"], [
    {},
    "an object",
  ]];
  for (const [name, found] of cases) {
    assertEquals(listFault({ name }).msg, `name must be a string, not ${found}`);
  }
});

Deno.test("A26 A27 A53 refuses names that the specification does not allow", () => {
  assertEquals(listFault({ name: "" }), {
    kind: "config",
    code: 7,
    msg: "name must not be empty",
    at: "1:9",
  });
  for (const name of ["../other", "a/b", ".", "..", "-a", "a b", "a\n", "ä"]) {
    assertEquals(listFault({ name }), {
      kind: "config",
      code: 7,
      msg: "name: invalid characters found in network name",
      details: name,
      at: "1:9",
    });
  }
});

Deno.test("A28 a list without version is one of 0.1.0", () => {
  assertEquals(parse({}).cniVersion, "0.1.0");
  assertEquals(parse({ cniVersion: "" }).cniVersion, "0.1.0");
  for (const cniVersion of [null, 1, ["1.0.0"]]) {
    assertEquals(listFault({ cniVersion }).msg.startsWith("cniVersion must be a string, not "), true);
  }
});

const SUPPORTED = "the supported versions are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0";

Deno.test("A29 refuses versions that podwire does not know, and names those that it knows", () => {
  for (const cniVersion of ["1.2.3", "1.2.0", "0.5.0", "2", "9.0.0"]) {
    const { code, msg, details, at } = listFault({ cniVersion });
    assertEquals({ code, msg, details }, {
      code: 7,
      msg: `cniVersion has no version that is supported: "${cniVersion}"`,
      details: SUPPORTED,
    });
    assertEquals(at, "1:58");
  }
  assertEquals(
    listFault({ cniVersion: "bad" }).msg,
    'cniVersion: invalid version "bad": the major part "bad" is not a number',
  );
});

Deno.test("A30 A31 refuses cniVersions that is not an array, and says what it is", () => {
  const cases: [Json, string][] = [[null, "null"], ["1.0.0", "a string"], [{}, "an object"]];
  for (const [cniVersions, found] of cases) {
    assertEquals(listFault({ cniVersions }).msg, `cniVersions must be an array, not ${found}`);
  }
});

Deno.test("A32 A33 refuses entries of cniVersions that are not versions", () => {
  assertEquals(listFault({ cniVersions: ["1.0.0", 1] }).msg, "cniVersions[1] must be a string, not a number");
  assertEquals(listFault({ cniVersions: ["1.0.0", null] }).msg, "cniVersions[1] must be a string, not null");
  assertEquals(
    listFault({ cniVersions: ["1.0.0", "1.2.3.4"] }).msg,
    'cniVersions[1]: invalid version "1.2.3.4": too many parts',
  );
});

Deno.test("A34 A35 A36 takes the highest version that is supported", () => {
  const cases: [Record<string, Json>, string][] = [
    [{ cniVersions: ["1.1.0", "0.4.0", "1.0.0"] }, "1.1.0"],
    [{ cniVersion: "1.0.0", cniVersions: ["0.1.0", "0.4.0"] }, "1.0.0"],
    [{ cniVersion: "0.3.1", cniVersions: ["0.4.0", "0.1.0"] }, "0.4.0"],
    [{ cniVersions: ["9.0.0", "0.4.0", "1.2.0"] }, "0.4.0"],
    [{ cniVersion: "9.0.0", cniVersions: ["0.4.0"] }, "0.4.0"],
    [{ cniVersion: "", cniVersions: ["0.4.0"] }, "0.4.0"],
    [{ cniVersion: "0.4.0", cniVersions: ["9.0.0"] }, "0.4.0"],
    [{ cniVersions: [] }, "0.1.0"],
    [{ cniVersion: "1.0.0", cniVersions: [] }, "1.0.0"],
  ];
  for (const [members, expected] of cases) {
    assertEquals(parse(members).cniVersion, expected, JSON.stringify(members));
  }
});

Deno.test("D76 a list carries every version that it offers", () => {
  const list = parse({ cniVersion: "0.4.0", cniVersions: ["1.1.0", "9.0.0", "1.0.0", "0.4.0"] });
  assertEquals(list.cniVersions, ["0.4.0", "1.0.0", "1.1.0"]);
  assertEquals(parse({}).cniVersions, ["0.1.0"]);
  assertEquals(listFromPluginConfig('{"name":"web","type":"a","cniVersion":"1.0.0"}').cniVersions, ["1.0.0"]);
});

Deno.test("A35 refuses a cniVersion that is not a version beside cniVersions", () => {
  assertEquals(
    listFault({ cniVersion: "x", cniVersions: ["1.0.0"] }).msg,
    'cniVersion: invalid version "x": the major part "x" is not a number',
  );
});

Deno.test("A37 A38 refuses a list that claims only versions that are not supported", () => {
  const cases: [Record<string, Json>, string][] = [
    [{ cniVersions: ["9.0.0"] }, '"9.0.0"'],
    [{ cniVersions: ["9.0.0"], cniVersion: "8.0.0" }, '"9.0.0", "8.0.0"'],
    [{ cniVersions: [], cniVersion: "8.0.0" }, '"8.0.0"'],
  ];
  for (const [members, given] of cases) {
    const { code, msg, details } = listFault(members);
    assertEquals(
      [code, msg, details],
      [7, `cniVersions has no version that is supported: ${given}`, SUPPORTED],
    );
  }
});

Deno.test("A39 refuses another spelling of a known version, and gives the right one", () => {
  assertEquals(
    listFault({ cniVersions: ["1.0.0", "1.1"] }).msg,
    'cniVersions[1] must be written as "1.1.0", not "1.1"',
  );
  assertEquals(
    listFault({ cniVersion: "+1.0.0" }).msg,
    'cniVersion must be written as "1.0.0", not "+1.0.0"',
  );
});

Deno.test("A42 A43 the three switches are booleans or their names", () => {
  for (const key of ["disableCheck", "disableGC", "loadOnlyInlinedPlugins"] as const) {
    for (const on of [true, "true", "TRUE", "True"]) assertEquals(parse({ [key]: on })[key], true);
    for (const off of [false, "false", "FALSE", undefined]) assertEquals(parse({ [key]: off })[key], false);
    assertEquals(listFault({ [key]: "yes" }).msg, `${key} must be true or false, not "yes"`);
    assertEquals(listFault({ [key]: "" }).msg, `${key} must be true or false, not ""`);
    assertEquals(listFault({ [key]: null }).msg, `${key} must be true or false, not null`);
    assertEquals(listFault({ [key]: 1 }).msg, `${key} must be true or false, not a number`);
  }
});

Deno.test("A44 reports name, versions, switches and plugins in this order", () => {
  const wrong: Record<string, Json> = {
    plugins: 1,
    loadOnlyInlinedPlugins: 1,
    disableGC: 1,
    disableCheck: 1,
    cniVersions: 1,
    cniVersion: 1,
    name: 1,
  };
  const order = [];
  while (Object.keys(wrong).length > 0) {
    const key = listFault({ ...wrong, name: wrong["name"] ?? "web" }).msg.split(" ")[0]!;
    order.push(key);
    delete wrong[key];
  }
  assertEquals(order, [
    "name",
    "cniVersion",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "plugins",
  ]);
});

Deno.test("A45 refuses a list that allows only the plugins that it does not have", () => {
  const { code, msg, details } = listFault({ plugins: undefined, loadOnlyInlinedPlugins: true });
  assertEquals({ code, msg, details }, {
    code: 7,
    msg: 'missing "plugins"',
    details: "loadOnlyInlinedPlugins is true",
  });
});

Deno.test("A46 A63 takes a list without plugins, since its folder may hold them", () => {
  assertEquals(parse({ plugins: undefined }).plugins, []);
});

Deno.test("A47 refuses plugins that are not an array, or an empty one", () => {
  const cases: [Json, string][] = [
    [null, "plugins must be an array, not null"],
    [{}, "plugins must be an array, not an object"],
    [[], "plugins must not be empty"],
  ];
  for (const [plugins, msg] of cases) assertEquals(listFault({ plugins }).msg, msg);
});

Deno.test("A48 names the plugin that is wrong", () => {
  const cases: [Json[], string][] = [
    [[{ type: "a" }, null], "plugins[1] must be an object, not null"],
    [[{ type: "a" }, {}], 'missing "type" in plugins[1]'],
    [[{ type: "a", dns: [] }], "plugins[0].dns must be an object, not an array"],
  ];
  for (const [plugins, msg] of cases) assertEquals(listFault({ plugins }).msg, msg);
});

Deno.test("A48 a missing type is reported at the position of its plugin", () => {
  const text = '{"name":"web","plugins":[\n{"type":"a"},\n  {"ipam":{}}]}';
  const fault = faultOf(() => parseConfigList(text));
  assertEquals({ msg: fault.msg, at: fault.at }, { msg: 'missing "type" in plugins[1]', at: "3:3" });
});

Deno.test("A49 A50 keeps the order of the plugins, the text and unknown keys", () => {
  const text = '{"plugins":[{"type":"b"},{"type":"a"},{"type":"b"}],"name":"web","disableGC":true,"x":1.0}';
  const list = parseConfigList(text);
  assertEquals(list.plugins.map(({ type }) => type), ["b", "a", "b"]);
  assertEquals(list.text, text);
  assertEquals(printJson(list.json), text);
  assertEquals({
    disableCheck: list.disableCheck,
    disableGC: list.disableGC,
    loadOnlyInlinedPlugins: list.loadOnlyInlinedPlugins,
  }, { disableCheck: false, disableGC: true, loadOnlyInlinedPlugins: false });
});

Deno.test("A51 refuses an object that has a key twice, with the position of the second one", () => {
  const cases: [text: string, at: string, path: string][] = [
    ['{"name":"a","plugins":[{"type":"x"}],"name":"b"}', "1:38", "name"],
    ['{"name":"a","plugins":[{"type":"x"},\n {"type":"y", "type":"y"}]}', "2:15", "plugins[1].type"],
    ['{"name":"a","plugins":[{"type":"x","ipam":{"\\u0061":1,"a":2}}]}', "1:55", "plugins[0].ipam.a"],
    ['{"__proto__":1,"__proto__":2}', "1:16", "__proto__"],
    ['{"constructor":1,"constructor":2}', "1:18", "constructor"],
  ];
  for (const [text, at, path] of cases) {
    const expected = {
      kind: "config",
      code: 7,
      msg: `${path}: the object has this key twice`,
      at,
      file: FILE,
    };
    assertEquals(faultOf(() => parseConfigList(text, { file: FILE })), expected);
  }
  const plugin = '{"name":"a","type":"x","type":"x"}';
  assertEquals(faultOf(() => parsePluginConfig(plugin)).at, "1:24");
  assertEquals(faultOf(() => listFromPluginConfig(plugin)).at, "1:24");
  // The same key in another object, or in another case, is another key.
  parseConfigList('{"name":"a","plugins":[{"type":"x","Type":"y","ipam":{"type":"z"}},{"type":"x"}]}');
});

Deno.test("A51 takes the last of equal keys where another runtime has stored the text", () => {
  const stored = { duplicateKeys: "last wins" } as const;
  assertEquals(parseConfigList('{"name":"a","plugins":[{"type":"x"}],"name":"b"}', stored).name, "b");
  assertEquals(listFromPluginConfig('{"name":"a","type":"x","type":"y"}', stored).plugins[0]?.type, "y");
  const fault = faultOf(() => parseConfigList('{"name":"a","plugins":[{"type":"x"}],"name":1}', stored));
  assertEquals({ msg: fault.msg, at: fault.at }, { msg: "name must be a string, not a number", at: "1:45" });
});

Deno.test("A20 every error about a configuration has line, column and path", () => {
  const parsers = { list: parseConfigList, plugin: parsePluginConfig, single: listFromPluginConfig };
  const cases: [parser: keyof typeof parsers, text: string, path: string][] = [
    ["list", "", ""],
    ["list", "[]", ""],
    ["list", "{", ""],
    ["list", '{"plugins":[{"type":}]}', "plugins[0].type"],
    ["list", '{"name":"a","name":"b"}', "name"],
    ["list", '{"plugins":[{"type":"a"}]}', "name"],
    ["list", '{"name":"../x"}', "name"],
    ["list", '{"name":"web","cniVersion":"bad"}', "cniVersion"],
    ["list", '{"name":"web","cniVersion":"9.0.0"}', "cniVersion"],
    ["list", '{"name":"web","cniVersions":["9.0.0"]}', "cniVersions"],
    ["list", '{"name":"web","cniVersions":["1.0.0","1.1"]}', "cniVersions[1]"],
    ["list", '{"name":"web","disableGC":"x"}', "disableGC"],
    ["list", '{"name":"web","loadOnlyInlinedPlugins":true}', "plugins"],
    ["list", '{"name":"web","plugins":[]}', "plugins"],
    ["list", '{"name":"web","plugins":[{}]}', "plugins[0].type"],
    ["list", '{"name":"web","plugins":[{"type":"a","ipam":{"type":1}}]}', "plugins[0].ipam.type"],
    ["plugin", '{"type":"a","capabilities":{"a b":1}}', 'capabilities["a b"]'],
    ["single", '{"type":"a"}', "name"],
    ["single", '{"type":"a","name":"web","cniVersion":"1.1"}', "cniVersion"],
  ];
  for (const [parser, text, path] of cases) {
    const error = assertThrows(() => parsers[parser](text, { file: FILE }), CniError);
    const { line, column, file } = error.context;
    assertEquals({ path: error.context.path, file }, { path, file: FILE }, text);
    assertEquals(error.message, `${FILE}:${line}:${column}: ${error.msg}${withDetails(error)}`);
    assertEquals(error.toJSON()["path"], path);
  }
});

function withDetails({ context: { details } }: CniError): string {
  return details === undefined ? "" : `; ${details}`;
}

Deno.test("the text of a list that is made of a list of the greatest depth can still be read", () => {
  const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
  const plugin = (depth: number) => `{"name":"web","type":"a","x":${nested(depth)}}`;
  parseConfigList(listFromPluginConfig(plugin(MAX_DEPTH - 3)).text);
  assertEquals(
    faultOf(() => listFromPluginConfig(plugin(MAX_DEPTH - 2))).msg.endsWith(
      ": nested deeper than 510 levels",
    ),
    true,
  );
  parseConfigList(`{"name":"web","plugins":[${plugin(MAX_DEPTH - 3)}]}`);
  faultOf(() => parseConfigList(`{"name":"web","plugins":[${plugin(MAX_DEPTH - 2)}]}`));
});
