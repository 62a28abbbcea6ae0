import { assertEquals } from "@std/assert";
import { parseConfigList, requestConfig } from "../../lib/cni/config.ts";
import { withCniArgs } from "../../lib/pod/with_cni_args.ts";

const LIST = parseConfigList(`{
  "cniVersion": "1.1.0",
  "name": "a",
  "plugins": [
    {"type": "bridge", "id": 9007199254740993, "args": {"other": 1, "cni": {"vlan": 5, "mode": "x"}}},
    {"type": "tuning", "args": "none"}
  ]
}`);

Deno.test("every plugin gets the arguments in args.cni, where they win over its own", () => {
  const list = withCniArgs(LIST, { vlan: 7, deep: { a: [1] } });
  assertEquals(list.plugins.map((plugin) => requestConfig(list, plugin).args), [
    { other: 1, cni: { vlan: 7, mode: "x", deep: { a: [1] } } },
    { cni: { vlan: 7, deep: { a: [1] } } },
  ]);
});

Deno.test("the text of the list, which goes on record, has the arguments too, and nothing else changes", () => {
  const list = withCniArgs(LIST, { vlan: 7 });
  const again = parseConfigList(list.text);
  assertEquals(again.plugins.map(({ json }) => json), list.plugins.map(({ json }) => json));
  assertEquals(list.text.includes("9007199254740993"), true);
  assertEquals({ name: list.name, version: list.cniVersion }, { name: "a", version: "1.1.0" });
});

Deno.test("without arguments the list stays as it is", () => {
  assertEquals(withCniArgs(LIST), LIST);
  assertEquals(withCniArgs(LIST, {}), LIST);
});
