import { assertEquals, assertMatch } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { freeTable } from "../../lib/builtin/vrf_plan.ts";
import { assertDone, type Call, callBuiltin } from "../root/builtin_call.ts";

Deno.test("vrf refuses what cannot work before anything is made, and names the member", async () => {
  const prevResult = { cniVersion: "1.1.0", interfaces: [{ name: "net1" }], ips: [] };
  const call = (config: JsonObject, verb: Call["verb"] = "ADD"): Call => ({
    ...{ containerId: "c1", netns: "/run/netns/pwt-none", ifName: "net1", verb },
    config: { cniVersion: "1.1.0", name: "net", type: "vrf", ...config },
  });
  const refused: readonly (readonly [JsonObject, RegExp])[] = [
    [{ prevResult }, /vrfname/],
    [{ vrfname: "", prevResult }, /vrfname/],
    [{ vrfname: "blue", table: -1, prevResult }, /table/],
    [{ vrfname: "blue", table: "main", prevResult }, /table/],
    [{ vrfname: "blue" }, /prevResult/],
  ];
  for (const [config, says] of refused) {
    const { code, document } = await callBuiltin("vrf", call(config));
    assertEquals([code, document.code], [1, 7], JSON.stringify(document));
    assertMatch(document.msg, says);
  }
  assertEquals((await callBuiltin("vrf", call({}, "STATUS"))).document.code, 7);
  assertDone(await callBuiltin("vrf", call({ vrfname: "blue", table: -1 }, "DEL")));
});

Deno.test("a free table is one that no VRF has, to which no rule leads, without routes, and not the kernel's", () => {
  const rules = Array.from(
    { length: 252 },
    (_, at) => ({ priority: at, source: undefined, table: at + 1, isBySource: true }),
  );
  assertEquals(freeTable([], { routes: [], rules: [] }), 1);
  assertEquals(freeTable([], { routes: [], rules }), 256);
});
