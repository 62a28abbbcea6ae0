import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadNetworkFile, parseNetwork } from "../../lib/catalog/load.ts";
import { listFromPluginConfig, parseConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { printJson } from "../../lib/cni/json.ts";
import { JsonReader } from "../../lib/cni/json_reader.ts";

const LIST = '{"cniVersion": "1.0.0", "name": "web", "plugins": [{"type": "a", "n": 1e400}]}';
const CONF = '{"cniVersion": "0.4.0", "name": "one", "type": "a"}';
const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("A11 G13 G14 a network is read from text and from bytes, a list and a single configuration", () => {
  for (const content of [LIST, bytes(LIST)]) {
    const list = parseNetwork(content);
    assertEquals({ name: list.name, cniVersion: list.cniVersion, text: list.text }, {
      name: "web",
      cniVersion: "1.0.0",
      text: LIST,
    });
  }
  for (const content of [CONF, bytes(CONF)]) {
    const list = parseNetwork(content);
    assertEquals([list.name, list.cniVersion, list.plugins.map(({ type }) => type)], ["one", "0.4.0", ["a"]]);
  }
});

Deno.test("A12 content that is not a network is refused with the file and the place", () => {
  const cases: readonly [string | Uint8Array, number][] = [
    ["", 6],
    ["{", 6],
    [`\ufeff${LIST}`, 6],
    [bytes(`\ufeff${LIST}`), 6],
    [new Uint8Array([0x7b, 0xff, 0x7d]), 6],
    ["[]", 7],
    ["null", 7],
    ['{"name": "web"}', 7],
    ['{"name": "web", "plugins": []}', 7],
    ['{"type": "a"}', 7],
  ];
  for (const [content, code] of cases) {
    const error: CniError = assertThrows(() => parseNetwork(content, { file: "x.conflist" }), CniError);
    assertEquals({ kind: error.kind, code: error.code, file: error.context.file }, {
      kind: "config",
      code,
      file: "x.conflist",
    }, error.message);
  }
});

Deno.test("A19 a network is loaded from one file, a list with the plugins of its folder", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-load-file-" });
  try {
    await Deno.writeTextFile(`${dir}/10-web.conflist`, LIST);
    await Deno.mkdir(`${dir}/web`);
    await Deno.writeTextFile(`${dir}/web/20-b.conf`, '{"type": "b"}');
    await Deno.writeTextFile(`${dir}/one.conf`, CONF);
    await Deno.writeTextFile(`${dir}/bad.conflist`, '{"name": "x"');
    const types = async (name: string) =>
      (await loadNetworkFile(`${dir}/${name}`)).plugins.map(({ type }) => type);
    assertEquals(await types("10-web.conflist"), ["a", "b"]);
    assertEquals(await types("one.conf"), ["a"]);
    const kind = async (path: string) => {
      const error: CniError = await assertRejects(() => loadNetworkFile(path), CniError);
      return [error.kind, error.context.file];
    };
    assertEquals(await kind(`${dir}/absent.conflist`), ["not-found", `${dir}/absent.conflist`]);
    assertEquals(await kind(`${dir}/bad.conflist`), ["config", `${dir}/bad.conflist`]);
    assertEquals(await kind(`absent.conflist`), ["not-found", "absent.conflist"]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("a network is parsed once, a list and a single configuration", () => {
  const { begin } = JsonReader.prototype;
  let parses = 0;
  JsonReader.prototype.begin = function () {
    parses++;
    return begin.call(this);
  };
  try {
    for (const content of [LIST, CONF]) {
      parses = 0;
      parseNetwork(content);
      assertEquals({ content, parses }, { content, parses: 1 });
    }
  } finally {
    JsonReader.prototype.begin = begin;
  }
});

Deno.test("a text that both readings refuse is refused at the place where its own one stops", () => {
  const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
  const deep = `"x": ${nested(600)}`;
  const texts = {
    list: [
      `{"name": "web", "plugins": [{"type": "a"}], ${deep}}`,
      '{"name": "web",\n "name": "web", "plugins": [{"type": "a"}]}',
      `{"name": "web",\n "name": "web", "plugins": [], ${deep}}`,
      '{"name": "web", "plugins": [{"type": "a", "ipam": {"type": 1}}]}',
      '{"name": "web", "cniVersion": "bad"}',
    ],
    single: [
      `{"name": "web", "type": "a", ${deep}}`,
      `{"name": "web", "type": "a", "x": ${nested(510)}}`,
      '{"name": "web",\n "type": "a", "type": "b"}',
      '{"name": "web", "type": "a", "ipam": {"type": 1}}',
      '{"name": "web",\n "type": "a", "cniVersion": "bad"}',
    ],
  };
  const parsers = { list: parseConfigList, single: listFromPluginConfig };
  for (const kind of ["list", "single"] as const) {
    for (const text of texts[kind]) {
      const expected = assertThrows(() => parsers[kind](text, { file: "x" }), CniError);
      const error = assertThrows(() => parseNetwork(text, { file: "x" }), CniError);
      assertEquals(error.toJSON(), expected.toJSON());
    }
  }
  const both = assertThrows(() => parseNetwork('{"name": "web",\n "name": "web",\n "plugins": }'), CniError);
  assertEquals({ code: both.code, line: both.context.line, path: both.context.path }, {
    code: 6,
    line: 3,
    path: "plugins",
  });
});

Deno.test("a single configuration is the list that its new text is read as", () => {
  const network = parseNetwork(
    '{"type": "a", "name": "one", "x": {"z": [1.0, -0], "__proto__": {"b<": "\\u2028", "a": null}, "10": 1, "2": 1e400},' +
      ' "capabilities": {"mac": true, "ips": true, "bandwidth": false}, "disableGC": true}',
  );
  const again = parseConfigList(network.text);
  assertEquals(network, again);
  assertEquals(printJson(network.json), printJson(again.json));
  assertEquals(network.plugins[0]?.capabilities, ["ips", "mac"]);
});
