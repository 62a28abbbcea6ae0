import { assertEquals, assertNotStrictEquals } from "@std/assert";
import {
  listFromPluginConfig,
  parseConfigList,
  parsePluginConfig,
  requestConfig,
  withFolderPlugins,
} from "../../lib/cni/config.ts";
import { type Json, parseJson, printJson } from "../../lib/cni/json.ts";

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
  const list = withFolderPlugins(
    parseConfigList('{"name":"web","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}'),
    [
      parsePluginConfig('{"type":"a","name":"x","cniVersion":"9"}'),
    ],
  );
  assertEquals(requestConfig(list, list.plugins[1]!), { type: "a", name: "web", cniVersion: "1.0.0" });
});

Deno.test("A79 the list stays as it was", () => {
  const list = parseConfigList('{"name":"web","plugins":[{"type":"a","prevResult":{}}]}');
  const before = printJson(list.json);
  const json = requestConfig(list, list.plugins[0]!, { prevResult: { ips: [] } });
  assertNotStrictEquals(json, list.plugins[0]!.json);
  assertEquals(printJson(list.json), before);
});

Deno.test("A82 values of the runtime replace those of a file as a whole", () => {
  const plugin = '{"type":"a","capabilities":{"mac":true},"runtimeConfig":{"old":1},"prevResult":{"old":1}}';
  const options = { runtimeConfig: { mac: "02:00:00:00:00:01" }, prevResult: { cniVersion: "1.1.0" } };
  assertEquals(
    request(plugin, options),
    '{"type":"a","name":"web","cniVersion":"1.1.0","runtimeConfig":{"mac":"02:00:00:00:00:01"},' +
      '"prevResult":{"cniVersion":"1.1.0"}}',
  );
});

Deno.test("A80 A83 a value that the runtime does not have gets no key, and an empty list stays a list", () => {
  assertEquals(
    request('{"type":"a","capabilities":{"mac":true}}', { runtimeConfig: {}, validAttachments: [] }),
    '{"type":"a","name":"web","cniVersion":"1.1.0","cni.dev/valid-attachments":[],"cni.dev/attachments":[]}',
  );
});

Deno.test("A21 a plugin gets its configuration as written, not as it was understood", () => {
  assertEquals(
    request('{"type":"a","dns":{},"ipam":null,"x":[]}'),
    '{"type":"a","dns":{},"ipam":null,"x":[],"name":"web","cniVersion":"1.1.0"}',
  );
});

Deno.test("A84 keys that differ in case are different keys", () => {
  assertEquals(
    request('{"type":"a","Name":"X"}'),
    '{"type":"a","Name":"X","name":"web","cniVersion":"1.1.0"}',
  );
});

Deno.test("A86 numbers of a file, a folder's plugin and a single plugin reach the plugin as written", () => {
  const numbers = "[9007199254740993,1.0,1e400,-0,0.10,1E+2,12345678901234567890.5]";
  const plugin = `{"type":"a","name":"web","cniVersion":"1.1.0","n":${numbers}}`;
  const single = listFromPluginConfig(plugin);
  const merged = withFolderPlugins(parseConfigList('{"name":"web","plugins":[{"type":"b"}]}'), [
    parsePluginConfig(plugin),
  ]);
  for (const list of [single, parseConfigList(single.text), merged, parseConfigList(merged.text)]) {
    const sent = printJson(requestConfig(list, list.plugins.at(-1)!));
    assertEquals(sent.includes(`"n":${numbers}`), true, sent);
  }
});

Deno.test("A86 A87 numbers and text reach the plugin unchanged", () => {
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

Deno.test("B32 B33 B34 the valid attachments have both keys, and are an array even if there are none", () => {
  const attachment = { containerID: "c1", ifname: "eth0" };
  for (const validAttachments of [[attachment], []]) {
    const text = JSON.stringify(validAttachments);
    assertEquals(
      request('{"type":"a"}', { validAttachments }),
      `{"type":"a","name":"web","cniVersion":"1.1.0","cni.dev/valid-attachments":${text},"cni.dev/attachments":${text}}`,
    );
  }
});
