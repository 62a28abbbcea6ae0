import { assertEquals } from "@std/assert";
import { parseConfigList, requestConfig } from "../../lib/cni/config.ts";
import { isReservedKey, reservedKeys } from "../../lib/cni/reserved_keys.ts";
import { faultOf } from "./fault.ts";

const keysOf = (text: string) =>
  reservedKeys(text).map(({ context: { path, line, column } }) => `${path} ${line}:${column}`);

Deno.test("B25 B29 B30 returns every key in a list that belongs to the runtime, with its position", () => {
  const text = '{"name":"web","prevResult":{},"plugins":[{"type":"a","prevResult":{}},\n' +
    ' {"type":"b","runtimeConfig":{},"cni.dev/valid-attachments":[],"cni.dev/x":1,"capabilities":{},"args":{}}]}';
  assertEquals(keysOf(text), [
    "plugins[0].prevResult 1:67",
    "plugins[1].runtimeConfig 2:30",
    'plugins[1]["cni.dev/valid-attachments"] 2:61',
    'plugins[1]["cni.dev/x"] 2:76',
  ]);
  const [fault] = reservedKeys(text, { file: "/etc/cni/net.d/10-web.conflist" });
  assertEquals(
    fault?.message,
    "/etc/cni/net.d/10-web.conflist:1:67: plugins[0].prevResult is reserved for the runtime, " +
      "so plugins never get it from a file",
  );
  assertEquals({ kind: fault?.kind, code: fault?.code }, { kind: "config", code: 7 });
  // The list can be loaded nevertheless.
  const list = parseConfigList(text);
  assertEquals(requestConfig(list, list.plugins[1]!), {
    type: "b",
    args: {},
    name: "web",
    cniVersion: "0.1.0",
  });
});

Deno.test("returns those of a single plugin, also of one that has a member `plugins`", () => {
  assertEquals(keysOf('{"type":"a","name":"web","runtimeConfig":1}'), ["runtimeConfig 1:42"]);
  assertEquals(keysOf('{"type":"multi","prevResult":1,"plugins":[{"prevResult":1}]}'), ["prevResult 1:30"]);
});

Deno.test("returns nothing for a text without such keys, or that is not a configuration", () => {
  for (const text of ['{"name":"web","plugins":[{"type":"a"},null]}', '{"type":"a"}', "[]", "null", "1.0"]) {
    assertEquals(keysOf(text), [], text);
  }
  assertEquals(faultOf(() => reservedKeys("{")).code, 6);
});

Deno.test("returns at most twenty", () => {
  const text = `{"type":"a",${Array.from({ length: 50 }, (_, index) => `"cni.dev/${index}":1`).join(",")}}`;
  assertEquals(reservedKeys(text).length, 20);
});

Deno.test("a key is reserved in its exact spelling only", () => {
  const keys = [
    "prevResult",
    "runtimeConfig",
    "capabilities",
    "cni.dev/",
    "cni.dev/x",
    "cni.devil",
    "args",
    "PrevResult",
  ];
  assertEquals(keys.filter(isReservedKey), keys.slice(0, 5));
});
