import { assertEquals } from "@std/assert";
import { printJson } from "../../lib/cni/json.ts";
import { parsePluginConfig } from "../../lib/cni/plugin_config.ts";
import { faultOf } from "./fault.ts";

const pluginFault = (text: string) => faultOf(() => parsePluginConfig(text));

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
    assertEquals({ code, msg }, { code: 7, msg: 'missing "type"' }, text);
  }
});

Deno.test("A15 a key counts in its exact spelling only", () => {
  assertEquals(pluginFault('{"Type":"bridge"}').msg, 'missing "type"');
  assertEquals(parsePluginConfig('{"type":"a","Capabilities":{"x":"yes"},"DNS":[]}').capabilities, []);
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

Deno.test("A14 treats null in well-known keys as missing", () => {
  const text =
    '{"type":"a","name":null,"cniVersion":null,"capabilities":{"x":null},"ipam":{"type":null},"dns":null,' +
    '"prevResult":null,"cni.dev/valid-attachments":[null]}';
  assertEquals(parsePluginConfig(text).capabilities, []);
  assertEquals(parsePluginConfig('{"type":"a","capabilities":null,"ipam":null}').capabilities, []);
});

Deno.test("A16 A17 refuses a type that is a path, but no unusual network name", () => {
  assertEquals(parsePluginConfig('{"type":"x","name":"../y"}').type, "x");
  const fault = pluginFault('{"type":"../x"}');
  assertEquals({ code: fault.code, at: fault.at, msg: fault.msg }, {
    code: 7,
    at: "1:9",
    msg: 'invalid plugin name: "../x"',
  });
});

Deno.test("the capabilities of a plugin are those that are set to true", () => {
  const plugin = parsePluginConfig(
    '{"type":"a","capabilities":{"b":true,"a":true,"c":false,"constructor":true}}',
  );
  assertEquals(plugin.capabilities, ["b", "a", "constructor"]);
});
