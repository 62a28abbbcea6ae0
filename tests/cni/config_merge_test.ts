import { assertEquals, assertStrictEquals } from "@std/assert";
import {
  listFromPluginConfig,
  type NetworkConfigList,
  parseConfigList,
  parsePluginConfig,
  withFolderPlugins,
} from "../../lib/cni/config.ts";
import { type Json, printJson } from "../../lib/cni/json.ts";
import { faultOf } from "./fault.ts";

const FILE = "/etc/cni/net.d/10-web.conflist";

const parse = (members: Record<string, Json | undefined>) =>
  parseConfigList(JSON.stringify({ name: "web", plugins: [{ type: "bridge" }], ...members }));

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

Deno.test("A56 A57 an empty folder is accepted if the list has a plugin", () => {
  const list = parse({});
  assertStrictEquals(withFolderPlugins(list, []), list);
  const empty = parse({ plugins: undefined });
  const expected = { kind: "config", code: 7, msg: "no plugin configs found", at: "1:1", file: FILE };
  assertEquals(faultOf(() => withFolderPlugins(empty, [], { file: FILE })), expected);
});

Deno.test("A58 A62 with loadOnlyInlinedPlugins the folder is not used", () => {
  const list = parse({ loadOnlyInlinedPlugins: true });
  assertStrictEquals(withFolderPlugins(list, folder), list);
});

// A single plugin as a list

Deno.test("A75 A76 a plugin's configuration becomes a list of one, consistent with its text", () => {
  const text = '{"cniVersion":"1.0.0","name":"web","type":"bridge","mtu":1.0,"capabilities":{"mac":true}}';
  const list = listFromPluginConfig(text);
  assertEquals(JSON.parse(list.text), { name: "web", cniVersion: "1.0.0", plugins: [JSON.parse(text)] });
  assertEquals(list.plugins, [parsePluginConfig(text)]);
  assertSameWhenReadAgain(list);
  assertEquals(listFromPluginConfig('{"name":"web","type":"bridge"}').cniVersion, "0.1.0");
  assertEquals(listFromPluginConfig('{"name":"web","type":"bridge","cniVersion":null}').cniVersion, "0.1.0");
});

Deno.test("A75 A76 E14 the text of the new list has the bytes that libcni gives it, numbers as written", () => {
  const conf = '{"type": "bridge", "name": "web", "mtu": 1.0, "ipam": {"type": "x", "range": "<>"}}';
  assertEquals(
    listFromPluginConfig(conf).text,
    '{"cniVersion":"","name":"web","plugins":[' +
      '{"ipam":{"range":"\\u003c\\u003e","type":"x"},"mtu":1.0,"name":"web","type":"bridge"}]}',
  );
});

Deno.test("A77 the switches and cniVersions of a single plugin have no effect", () => {
  const list = listFromPluginConfig(
    '{"name":"web","type":"bridge","disableCheck":true,"disableGC":3,"loadOnlyInlinedPlugins":true,"cniVersions":["1.1.0"]}',
  );
  assertEquals({
    disableCheck: list.disableCheck,
    disableGC: list.disableGC,
    loadOnlyInlinedPlugins: list.loadOnlyInlinedPlugins,
  }, { disableCheck: false, disableGC: false, loadOnlyInlinedPlugins: false });
  assertEquals(list.cniVersion, "0.1.0");
  assertSameWhenReadAgain(list);
});

Deno.test("A78 a single plugin without a valid name is refused, with its file", () => {
  const cases: Record<string, string> = {
    '{"type":"bridge"}': 'missing "name"',
    '{"type":"bridge","name":null}': 'missing "name"',
    '{"type":"bridge","name":""}': "name must not be empty",
    '{"type":"bridge","name":"../x"}': "name: invalid characters found in network name",
  };
  for (const [text, msg] of Object.entries(cases)) {
    const fault = faultOf(() => listFromPluginConfig(text, { file: "/x/10-a.conf" }));
    assertEquals({ code: fault.code, msg: fault.msg, file: fault.file }, {
      code: 7,
      msg,
      file: "/x/10-a.conf",
    });
  }
});

Deno.test("A38 a single plugin of an unknown version is refused, too", () => {
  const fault = faultOf(() => listFromPluginConfig('{"type":"a","name":"web","cniVersion":"1.2.0"}'));
  assertEquals({ msg: fault.msg, at: fault.at }, {
    msg: 'cniVersion has no version that is supported: "1.2.0"',
    at: "1:39",
  });
});

Deno.test("A71 the error about a list in a file for a single plugin says where it belongs", () => {
  const fault = faultOf(() => listFromPluginConfig('{"name":"web","plugins":[{"type":"bridge"}]}'));
  assertEquals({ msg: fault.msg, hint: fault.hint }, {
    msg: 'missing "type"',
    hint: "a list of plugins belongs into a .conflist file",
  });
});

function assertSameWhenReadAgain(list: NetworkConfigList): void {
  const again = parseConfigList(list.text);
  assertEquals(printJson(again.json), printJson(list.json));
  assertEquals({ ...again, json: null, plugins: null }, { ...list, json: null, plugins: null });
  assertEquals(again.plugins.map(({ type }) => type), list.plugins.map(({ type }) => type));
}
