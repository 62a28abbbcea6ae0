import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import {
  listFromPluginConfig,
  type NetworkConfigList,
  parseConfigList,
  parsePluginConfig,
  requestConfig,
  withFolderPlugins,
} from "../../lib/spec/config.ts";
import { type Json, parseJson, printJson } from "../../lib/spec/json.ts";
import { faultOf } from "./fault.ts";

const FILE = "/etc/cni/net.d/10-web.conflist";

/** A list with these members beside a name and one plugin; `undefined` takes a member away. */
function listText(members: Record<string, Json | undefined>): string {
  return JSON.stringify({ name: "web", plugins: [{ type: "bridge" }], ...members });
}

const parse = (members: Record<string, Json | undefined>) => parseConfigList(listText(members));
const listFault = (members: Record<string, Json | undefined>) => faultOf(() => parse(members));
const pluginFault = (text: string) => faultOf(() => parsePluginConfig(text));

// One plugin

Deno.test("A11 A18 keeps the whole object, unknown keys and number texts included", () => {
  const text = '{"type":"bridge","mtu":1.0,"x":{"id":9007199254740993},"__proto__":{"y":1}}';
  assertEquals(printJson(parsePluginConfig(text).json), text);
});

Deno.test("A12 refuses text that is not one JSON object", () => {
  for (const text of ["", "{", "{} x", "\ufeff{}"]) assertEquals(pluginFault(text).code, 6, text);
  const cases = { "[]": "an array", "1": "a number", '"x"': "a string", "true": "a boolean", "null": "null" };
  for (const [text, found] of Object.entries(cases)) {
    const msg = `the configuration must be an object, not ${found}`;
    assertEquals(pluginFault(text), { kind: "config", code: 7, at: "1:1", msg });
  }
});

Deno.test("A13 refuses a plugin without a type", () => {
  for (const text of ["{}", '{"type":null}', '{"type":""}', '{"TYPE":"bridge"}']) {
    const { code, msg } = pluginFault(text);
    assertEquals([code, msg], [7, 'missing "type"'], text);
  }
});

Deno.test("A14 refuses well-known keys of the wrong type and names their place", () => {
  const cases: [text: string, msg: string, at: string][] = [
    ['{"type":1}', "type must be a string, not a number", "1:9"],
    ['{"cniVersion":1.0,"type":"a"}', "cniVersion must be a string, not a number", "1:15"],
    ['{"type":"a","name":[]}', "name must be a string, not an array", "1:20"],
    ['{"type":"a","capabilities":[]}', "capabilities must be an object, not an array", "1:28"],
    ['{"type":"a","capabilities":{"x":"yes"}}', "capabilities.x must be true or false, not a string", "1:33"],
    ['{"type":"a","ipam":"x"}', "ipam must be an object, not a string", "1:20"],
    ['{"type":"a","ipam":{"type":{}}}', "ipam.type must be a string, not an object", "1:28"],
    ['{"type":"a","dns":[]}', "dns must be an object, not an array", "1:19"],
    ['{"type":"a","dns":{"domain":1}}', "dns.domain must be a string, not a number", "1:29"],
    ['{"type":"a","dns":{"search":"x"}}', "dns.search must be an array, not a string", "1:29"],
    ['{"type":"a","dns":{"nameservers":[1]}}', "dns.nameservers[0] must be a string, not a number", "1:35"],
    ['{"type":"a","dns":{"options":["x",{}]}}', "dns.options[1] must be a string, not an object", "1:35"],
    ['{"type":"a","prevResult":[]}', "prevResult must be an object, not an array", "1:26"],
    [
      '{"type":"a","cni.dev/valid-attachments":{}}',
      '["cni.dev/valid-attachments"] must be an array, not an object',
      "1:41",
    ],
    [
      '{"type":"a","cni.dev/valid-attachments":[{"ifname":1}]}',
      '["cni.dev/valid-attachments"][0].ifname must be a string, not a number',
      "1:52",
    ],
  ];
  for (const [text, msg, at] of cases) {
    assertEquals(pluginFault(text), { kind: "config", code: 7, msg, at });
  }
});

Deno.test("A14 takes null for nothing in well-known keys", () => {
  const text =
    '{"type":"a","name":null,"cniVersion":null,"capabilities":{"x":null},"ipam":{"type":null},"dns":null,' +
    '"prevResult":null,"cni.dev/valid-attachments":[null]}';
  assertEquals(parsePluginConfig(text).capabilities, []);
  assertEquals(parsePluginConfig('{"type":"a","capabilities":null,"ipam":null}').capabilities, []);
});

Deno.test("A16 A17 leaves path separators in the type and odd names for later", () => {
  assertEquals(parsePluginConfig('{"type":"../x","name":"../y"}').type, "../x");
});

Deno.test("capabilities are those set to true", () => {
  const plugin = parsePluginConfig(
    '{"type":"a","capabilities":{"b":true,"a":true,"c":false,"constructor":true}}',
  );
  assertEquals(plugin.capabilities, ["b", "a", "constructor"]);
});

// A list

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

Deno.test("A25 refuses a name that is no string", () => {
  const cases: [Json, string][] = [[null, "null"], [1, "a number"], [true, "a boolean"], [[], "an array"], [
    {},
    "an object",
  ]];
  for (const [name, found] of cases) {
    assertEquals(listFault({ name }).msg, `name must be a string, not ${found}`);
  }
});

Deno.test("A27 A53 refuses names that the specification does not allow", () => {
  assertEquals(listFault({ name: "" }), { kind: "config", code: 7, msg: "missing network name:", at: "1:9" });
  for (const name of ["../other", "a/b", ".", "..", "-a", "a b", "a\n", "ä"]) {
    assertEquals(listFault({ name }), {
      kind: "config",
      code: 7,
      msg: "invalid characters found in network name",
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

const SUPPORTED = "supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0";

Deno.test("A29 refuses versions that podwire does not know, and tells which it knows", () => {
  for (const cniVersion of ["1.2.3", "1.2.0", "0.5.0", "2", "9.0.0"]) {
    const { code, msg, details, at } = listFault({ cniVersion });
    assertEquals([code, msg, details], [
      7,
      `cniVersion names no version that is supported: "${cniVersion}"`,
      SUPPORTED,
    ]);
    assertEquals(at, "1:58");
  }
  assertEquals(
    listFault({ cniVersion: "bad" }).msg,
    'cniVersion: invalid version "bad": the major part "bad" is no number',
  );
});

Deno.test("A30 A31 refuses cniVersions that is no array and tells what it is", () => {
  const cases: [Json, string][] = [[null, "null"], ["1.0.0", "a string"], [{}, "an object"]];
  for (const [cniVersions, found] of cases) {
    assertEquals(listFault({ cniVersions }).msg, `cniVersions must be an array, not ${found}`);
  }
});

Deno.test("A32 A33 refuses entries of cniVersions that are no versions", () => {
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

Deno.test("A35 refuses a cniVersion that is no version beside cniVersions", () => {
  assertEquals(
    listFault({ cniVersion: "x", cniVersions: ["1.0.0"] }).msg,
    'cniVersion: invalid version "x": the major part "x" is no number',
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
      [7, `cniVersions names no version that is supported: ${given}`, SUPPORTED],
    );
  }
});

Deno.test("A39 refuses another spelling of a known version and tells the right one", () => {
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
  assertEquals([code, msg, details], [7, 'missing "plugins"', "loadOnlyInlinedPlugins is true"]);
});

Deno.test("A46 takes a list without plugins, since its folder may hold them", () => {
  assertEquals(parse({ plugins: undefined }).plugins, []);
});

Deno.test("A47 refuses plugins that are no array or an empty one", () => {
  const cases: [Json, string][] = [
    [null, "plugins must be an array, not null"],
    [{}, "plugins must be an array, not an object"],
    [[], "plugins must not be empty"],
  ];
  for (const [plugins, msg] of cases) assertEquals(listFault({ plugins }).msg, msg);
});

Deno.test("A48 tells which plugin is wrong", () => {
  const cases: [Json[], string][] = [
    [[{ type: "a" }, null], "plugins[1] must be an object, not null"],
    [[{ type: "a" }, {}], 'missing "type" in plugins[1]'],
    [[{ type: "a", dns: [] }], "plugins[0].dns must be an object, not an array"],
  ];
  for (const [plugins, msg] of cases) assertEquals(listFault({ plugins }).msg, msg);
});

Deno.test("A48 a missing type is reported where its plugin stands", () => {
  const text = '{"name":"web","plugins":[\n{"type":"a"},\n  {"ipam":{}}]}';
  const fault = faultOf(() => parseConfigList(text));
  assertEquals([fault.msg, fault.at], ['missing "type" in plugins[1]', "3:3"]);
});

Deno.test("A49 A50 carries the plugins in their order, the text and unknown keys", () => {
  const text = '{"plugins":[{"type":"b"},{"type":"a"},{"type":"b"}],"name":"web","disableGC":true,"x":1.0}';
  const list = parseConfigList(text);
  assertEquals(list.plugins.map(({ type }) => type), ["b", "a", "b"]);
  assertEquals(list.text, text);
  assertEquals(printJson(list.json), text);
  assertEquals([list.disableCheck, list.disableGC, list.loadOnlyInlinedPlugins], [false, true, false]);
});

Deno.test("A51 takes the last of equal keys, also for the place in errors", () => {
  assertEquals(parseConfigList('{"name":"a","plugins":[{"type":"x"}],"name":"b"}').name, "b");
  const fault = faultOf(() => parseConfigList('{"name":"a","plugins":[{"type":"x"}],"name":1}'));
  assertEquals([fault.msg, fault.at], ["name must be a string, not a number", "1:45"]);
});

// Plugins of the folder

const folder = [parsePluginConfig('{"type":"tuning","id":1.0}'), parsePluginConfig('{"type":"portmap"}')];

Deno.test("A55 A64 folder plugins come last and are in the text of the list", () => {
  const list = withFolderPlugins(parse({ x: 1 }), folder);
  assertEquals(list.plugins.map(({ type }) => type), ["bridge", "tuning", "portmap"]);
  assertEquals(
    list.text,
    '{"name":"web","plugins":[{"type":"bridge"},{"type":"tuning","id":1.0},{"type":"portmap"}],"x":1}',
  );
  assertSameWhenReadAgain(list);
});

Deno.test("A64 a list whose plugins all come from the folder can be read from its text", () => {
  const list = withFolderPlugins(parse({ plugins: undefined, cniVersion: "1.1.0" }), folder);
  assertEquals(list.plugins.length, 2);
  assertSameWhenReadAgain(list);
});

Deno.test("A56 A57 an empty folder is fine as long as there is a plugin", () => {
  const list = parse({});
  assertStrictEquals(withFolderPlugins(list, []), list);
  const empty = parse({ plugins: undefined });
  const expected = { kind: "config", code: 7, msg: "no plugin configs found", file: FILE };
  assertEquals(faultOf(() => withFolderPlugins(empty, [], { file: FILE })), expected);
});

Deno.test("A58 A62 loadOnlyInlinedPlugins keeps the folder out", () => {
  const list = parse({ loadOnlyInlinedPlugins: true });
  assertStrictEquals(withFolderPlugins(list, folder), list);
});

// A single plugin as a list

Deno.test("A75 A76 a plugin's configuration becomes a list of one, consistent with its text", () => {
  const text = '{"cniVersion":"1.0.0","name":"web","type":"bridge","mtu":1.0,"capabilities":{"mac":true}}';
  const list = listFromPluginConfig(text);
  assertEquals(list.text, `{"name":"web","cniVersion":"1.0.0","plugins":[${text}]}`);
  assertEquals(list.plugins, [parsePluginConfig(text)]);
  assertSameWhenReadAgain(list);
  assertEquals(listFromPluginConfig('{"name":"web","type":"bridge"}').cniVersion, "0.1.0");
  assertEquals(listFromPluginConfig('{"name":"web","type":"bridge","cniVersion":null}').cniVersion, "0.1.0");
});

Deno.test("A77 switches and versions of a single plugin stay inert", () => {
  const list = listFromPluginConfig(
    '{"name":"web","type":"bridge","disableCheck":true,"disableGC":3,"loadOnlyInlinedPlugins":true,"cniVersions":["1.1.0"]}',
  );
  assertEquals([list.disableCheck, list.disableGC, list.loadOnlyInlinedPlugins], [false, false, false]);
  assertEquals(list.cniVersion, "0.1.0");
  assertSameWhenReadAgain(list);
});

Deno.test("A78 a single plugin without a good name is refused with its file", () => {
  const cases: Record<string, string> = {
    '{"type":"bridge"}': 'missing "name"',
    '{"type":"bridge","name":null}': 'missing "name"',
    '{"type":"bridge","name":""}': "missing network name:",
    '{"type":"bridge","name":"../x"}': "invalid characters found in network name",
  };
  for (const [text, msg] of Object.entries(cases)) {
    const fault = faultOf(() => listFromPluginConfig(text, { file: "/x/10-a.conf" }));
    assertEquals([fault.code, fault.msg, fault.file], [7, msg, "/x/10-a.conf"]);
  }
});

Deno.test("A38 a single plugin of an unknown version is refused, too", () => {
  const fault = faultOf(() => listFromPluginConfig('{"type":"a","name":"web","cniVersion":"1.2.0"}'));
  assertEquals([fault.msg, fault.at], ['cniVersion names no version that is supported: "1.2.0"', "1:39"]);
});

Deno.test("A71 a list under the name of a single plugin is told to move", () => {
  const fault = faultOf(() => listFromPluginConfig('{"name":"web","plugins":[{"type":"bridge"}]}'));
  assertEquals([fault.msg, fault.hint], [
    'missing "type"',
    "a list of plugins belongs into a .conflist file",
  ]);
});

// What a plugin reads

function request(plugin: string, options: Parameters<typeof requestConfig>[2] = {}): string {
  const list = parseConfigList(`{"name":"web","cniVersion":"1.1.0","plugins":[${plugin}]}`);
  return printJson(requestConfig(list, list.plugins[0]!, options));
}

Deno.test("A79 A81 A85 name and version of the list replace the plugin's, nothing else changes", () => {
  const plugin =
    '{"type":"a","name":"own","cniVersion":"0.3.0","z":[1.0,{"b":9007199254740993}],"args":{"cni":{}}}';
  assertEquals(
    request(plugin),
    '{"type":"a","name":"web","cniVersion":"1.1.0","z":[1.0,{"b":9007199254740993}],"args":{"cni":{}}}',
  );
});

Deno.test("A61 folder plugins get name and version of the list", () => {
  const list = withFolderPlugins(parse({ cniVersion: "1.0.0" }), [
    parsePluginConfig('{"type":"a","name":"x","cniVersion":"9"}'),
  ]);
  assertEquals(requestConfig(list, list.plugins[1]!), { type: "a", name: "web", cniVersion: "1.0.0" });
});

Deno.test("A79 the list stays as it was", () => {
  const list = parse({ plugins: [{ type: "a", prevResult: {} }] });
  const before = printJson(list.json);
  const json = requestConfig(list, list.plugins[0]!, { prevResult: { ips: [] } });
  assertNotStrictEquals(json, list.plugins[0]!.json);
  assertEquals(printJson(list.json), before);
});

Deno.test("A82 injected values replace a file's whole", () => {
  const plugin = '{"type":"a","capabilities":{"mac":true},"runtimeConfig":{"old":1},"prevResult":{"old":1}}';
  const options = { runtimeConfig: { mac: "02:00:00:00:00:01" }, prevResult: { cniVersion: "1.1.0" } };
  assertEquals(
    request(plugin, options),
    '{"type":"a","name":"web","cniVersion":"1.1.0","runtimeConfig":{"mac":"02:00:00:00:00:01"},' +
      '"prevResult":{"cniVersion":"1.1.0"}}',
  );
});

Deno.test("A84 keys that differ in case are different keys", () => {
  assertEquals(
    request('{"type":"a","Name":"X"}'),
    '{"type":"a","Name":"X","name":"web","cniVersion":"1.1.0"}',
  );
});

Deno.test("A86 A87 numbers and text reach the plugin as they were", () => {
  const list = parseConfigList(
    '{"name":"web","plugins":[{"type":"a","n":[12345678901234567890,1e400,-0],"t":"<&>\u2028"}]}',
  );
  const text = printJson(requestConfig(list, list.plugins[0]!));
  assertEquals(text.includes('"n":[12345678901234567890,1e400,-0]'), true);
  assertEquals((parseJson(text) as Record<string, Json>)["t"], "<&>\u2028");
});

Deno.test("A18 keys that JavaScript treats as special reach the plugin", () => {
  assertEquals(
    request('{"type":"a","__proto__":{"type":"evil"},"constructor":1}'),
    '{"type":"a","__proto__":{"type":"evil"},"constructor":1,"name":"web","cniVersion":"1.1.0"}',
  );
});

Deno.test("B24 B26 a plugin gets the capabilities that it declares and the runtime has", () => {
  const plugin = '{"type":"a","capabilities":{"a":true,"b":true,"c":false,"none":true,"__proto__":true}}';
  const runtimeConfig = parseJson('{"a":0,"b":[],"c":1,"d":2}') as Record<string, Json>;
  assertEquals(
    request(plugin, { runtimeConfig }),
    '{"type":"a","name":"web","cniVersion":"1.1.0","runtimeConfig":{"a":0,"b":[]}}',
  );
});

Deno.test("B25 B29 B30 keys of the runtime in a file never reach the plugin", () => {
  const plugin = '{"type":"a","prevResult":{},"runtimeConfig":{"x":1},"capabilities":{"x":true},' +
    '"cni.dev/valid-attachments":[],"cni.dev/attachments":[],"cni.dev/other":1,"cni.devil":2}';
  assertEquals(request(plugin), '{"type":"a","cni.devil":2,"name":"web","cniVersion":"1.1.0"}');
});

Deno.test("B32 B33 B34 the valid attachments go under both keys, as an array even when there are none", () => {
  const attachment = { containerID: "c1", ifname: "eth0" };
  for (const validAttachments of [[attachment], []]) {
    const text = JSON.stringify(validAttachments);
    assertEquals(
      request('{"type":"a"}', { validAttachments }),
      `{"type":"a","name":"web","cniVersion":"1.1.0","cni.dev/valid-attachments":${text},"cni.dev/attachments":${text}}`,
    );
  }
});

function assertSameWhenReadAgain(list: NetworkConfigList): void {
  const again = parseConfigList(list.text);
  assertEquals(printJson(again.json), printJson(list.json));
  assertEquals({ ...again, json: null, plugins: null }, { ...list, json: null, plugins: null });
  assertEquals(again.plugins.map(({ type }) => type), list.plugins.map(({ type }) => type));
}
