import { assertEquals, assertMatch } from "@std/assert";
import { planSbr } from "../../lib/builtin/sbr_plan.ts";
import { parseCidr } from "../../lib/cni/address.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone, type Call, callBuiltin } from "../root/builtin_call.ts";

Deno.test("sbr refuses what cannot work before anything is made, and names the member", async () => {
  const prevResult = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0" }],
    ips: [{ address: "10.1.2.3/24", interface: 0 }],
  };
  const call = (config: JsonObject, verb: Call["verb"] = "ADD"): Call => ({
    ...{ containerId: "c1", netns: "/run/netns/pwt-none", ifName: "net1", verb },
    config: { cniVersion: "1.1.0", name: "net", type: "sbr", ...config },
  });
  const refused: readonly (readonly [JsonObject, RegExp])[] = [
    [{ table: 0, prevResult }, /table/],
    [{ table: "main", prevResult }, /table/],
    [{ gateways: ["10.1.2.1", "x"], prevResult }, /gateways\[1\]/],
    [{ gateways: ["10.1.2.1", "10.1.2.2"], prevResult }, /gateways\[1\].*second IPv4/],
    [{ gateways: [""], prevResult }, /gateways\[0\]/],
    [{ addSourceHints: 1, prevResult }, /addSourceHints/],
    [{}, /prevResult/],
  ];
  for (const [config, says] of refused) {
    const { code, document } = await callBuiltin("sbr", call(config));
    assertEquals([code, document.code], [1, 7], JSON.stringify(document));
    assertMatch(document.msg, says);
  }
  assertEquals((await callBuiltin("sbr", call({ table: 0 }, "STATUS"))).document.code, 7);
  assertDone(await callBuiltin("sbr", call({ table: 0 }, "DEL")));
});

Deno.test("sbr takes no table that has routes or to which a rule leads, and takes no own address for a router", () => {
  const route = {
    ...{ isUnicast: true, isAdvertised: false, isMain: false, metric: undefined, protocol: 3, scope: 0 },
    ...{ source: undefined, mtu: undefined, advmss: undefined, hops: [], dst: parseCidr("10.9.0.0/16") },
  };
  const present = {
    routes: [{ ...route, table: 101 }],
    rules: [{ priority: 5, source: undefined, table: 100, isBySource: false }],
  };
  const config = { table: undefined, gateways: [], addSourceHints: false };
  const ips = ["10.1.0.1/24", "10.2.0.7/31", "10.3.0.7/24"].map((address) => ({ address }));
  const { rules, routes } = planSbr({ cniVersion: "1.1.0", ips }, "net1", config, present);
  assertEquals(rules.map(({ table }) => table), [102, 103, 104]);
  assertEquals(routes.map(({ table, gateway }) => [table, gateway]), [[104, parseCidr("10.3.0.1/24")?.ip]]);
});
