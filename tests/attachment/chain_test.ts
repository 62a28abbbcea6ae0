import { assertEquals, assertRejects } from "@std/assert";
import { addChain, checkChain, delChain } from "../../lib/attachment/chain.ts";
import { parseConfigList } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { AttachTarget } from "../../lib/plugin/attach_target.ts";
import { deadlineOnce } from "../until.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";

const TARGET: AttachTarget = {
  containerId: "c1",
  netns: "/run/netns/c1",
  ifName: "eth0",
  args: [["IgnoreUnknown", "1"]],
  capabilityArgs: {},
};
const calm = new AbortController().signal;
const RESULT = JSON.parse(resultWith("10.1.0.2/24"));

Deno.test("D1 D5 D6 ADD runs the plugins in order, each with the result of the one before", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const b = await world.plugins.install("b", { ADD: { stdout: resultWith("10.1.0.3/24") } });
  const c = await world.plugins.install("c", {
    ADD: { stdout: '{"ips": [{"address": "10.1.0.4/24"}], "x": 1}' },
  });
  const result = await addChain(world.runner, listOf(["a", "b", "c"]), TARGET, calm);
  assertEquals(result, { cniVersion: "1.1.0", ips: [{ address: "10.1.0.4/24" }], x: 1 });
  const [first, second, third] = (await Promise.all([a, b, c].map((plugin) => plugin.calls()))).flat();
  assertEquals(first?.config, { type: "a", name: "web", cniVersion: "1.1.0" });
  assertEquals(second?.config.prevResult, JSON.parse(resultWith("10.1.0.2/24")));
  assertEquals(third?.config.prevResult, JSON.parse(resultWith("10.1.0.3/24")));
  for (const call of [first, second, third]) {
    const { CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS } = call?.env ?? {};
    assertEquals({ CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS }, {
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c1",
      CNI_IFNAME: "eth0",
      CNI_ARGS: "IgnoreUnknown=1",
    });
  }
});

Deno.test("B57 C7 a result of another version is converted for the next plugin, and vendors' members are kept", async () => {
  await using world = await NetworkWorld.make();
  const old = '{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.2/24"}], "dns": {}}';
  await world.plugins.install("a", { ADD: { stdout: old } });
  const b = await world.plugins.install("b", {
    ADD: { stdout: '{"cniVersion": "1.1.0", "vendor": {"n": 1.0}}' },
  });
  const c = await world.plugins.install("c");
  await addChain(world.runner, listOf(["a", "b", "c"]), TARGET, calm);
  assertEquals((await b.calls())[0]?.config.prevResult, {
    cniVersion: "1.1.0",
    ips: [{ address: "10.1.0.2/24" }],
  });
  assertEquals((await c.calls())[0]?.stdin.includes('"vendor":{"n":1.0}'), true);
});

Deno.test("D7 D8 a failing plugin ends the chain, and the error names verb, network and place", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  await world.plugins.install("b", { ADD: { stdout: '{"code": 107, "msg": "no room"}', code: 1 } });
  await world.plugins.install("c");
  const error = await assertRejects(
    () => addChain(world.runner, listOf(["a", "b", "c"]), TARGET, calm),
    CniError,
  );
  assertEquals(error.message, 'Cannot ADD network "web", plugin "b" (2 of 3): no room');
  assertEquals({ code: error.code, containerId: error.context.containerId, ifName: error.context.ifName }, {
    code: 107,
    containerId: "c1",
    ifName: "eth0",
  });
  assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD"]);
});

Deno.test("B68 after a timeout in one plugin, the next is not started", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: "", hang: true } });
  await world.plugins.install("b");
  const signal = deadlineOnce(async () => (await world.plugins.verbs()).length > 0, 200);
  const error = await assertRejects(
    () => addChain(world.runner, listOf(["a", "b"]), TARGET, signal),
    CniError,
  );
  assertEquals({ kind: error.kind, type: error.context.plugin?.type }, { kind: "timeout", type: "a" });
  assertEquals(await world.plugins.verbs(), ["a ADD"]);
});

Deno.test("B24 B25 B26 each plugin gets the capabilities that it declares, falsy values too, and no reserved key", async () => {
  await using world = await NetworkWorld.make();
  const list = parseConfigList(JSON.stringify({
    cniVersion: "1.1.0",
    name: "web",
    plugins: [
      {
        type: "a",
        capabilities: { portMappings: true, mac: false },
        runtimeConfig: { x: 1 },
        "cni.dev/x": 1,
      },
      { type: "b", capabilities: { aliases: true, dns: true }, prevResult: {} },
      { type: "c" },
    ],
  }));
  const plugins = await Promise.all(["a", "b", "c"].map((type) => world.plugins.install(type)));
  const capabilityArgs: JsonObject = { portMappings: [], aliases: 0, mac: "02:00:00:00:00:01" };
  await addChain(world.runner, list, { ...TARGET, capabilityArgs }, calm);
  const [a, b, c] = (await Promise.all(plugins.map((plugin) => plugin.calls()))).flat();
  assertEquals(a?.config, {
    type: "a",
    name: "web",
    cniVersion: "1.1.0",
    runtimeConfig: { portMappings: [] },
  });
  assertEquals(b?.config.runtimeConfig, { aliases: 0 });
  assertEquals(b?.config.prevResult, { cniVersion: "1.1.0" });
  assertEquals("runtimeConfig" in c?.config, false);
  await delChain(world.runner, list, { ...TARGET, capabilityArgs }, undefined, calm);
  assertEquals((await plugins[0]!.calls())[1]?.config.runtimeConfig, { portMappings: [] });
});

Deno.test("D24 D25 D26 CHECK passes every plugin the final result, and the error names the one that fails", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  const b = await world.plugins.install("b", { CHECK: { stdout: '{"code": 11, "msg": "banana"}', code: 1 } });
  await b.answer("CHECK", { stdout: '{"code": 102, "msg": "banana"}', code: 1 });
  await world.plugins.install("c");
  const list = listOf(["a", "b", "c"]);
  const error = await assertRejects(() => checkChain(world.runner, list, TARGET, RESULT, calm), CniError);
  assertEquals(error.message, 'Cannot CHECK network "web", plugin "b" (2 of 3): banana');
  assertEquals(await world.plugins.verbs(), ["a CHECK", "b CHECK"]);
  for (const plugin of [a, b]) assertEquals((await plugin.calls())[0]?.config.prevResult, RESULT);
});

Deno.test("D22 a result of ADD that cannot be converted fails CHECK with that reason", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a");
  const broken = { cniVersion: "1.1.0", ips: [{ address: "nonsense" }] };
  const error = await assertRejects(
    () => checkChain(world.runner, listOf(["a"]), TARGET, broken, calm),
    CniError,
  );
  assertEquals({ verb: error.context.verb, network: error.context.network, kind: error.kind }, {
    verb: "CHECK",
    network: "web",
    kind: "io",
  });
  assertEquals(await world.plugins.verbs(), []);
});

Deno.test("D31 D35 U32 DEL runs the plugins in reverse order, from 0.4.0 on each with the final result", async () => {
  await using world = await NetworkWorld.make();
  const plugins = await Promise.all(["a", "b"].map((type) => world.plugins.install(type)));
  await delChain(world.runner, listOf(["a", "b"]), TARGET, RESULT, calm);
  await delChain(world.runner, listOf(["a", "b"], { cniVersion: "0.3.1" }), TARGET, RESULT, calm);
  assertEquals(await world.plugins.verbs(), ["b DEL", "a DEL", "b DEL", "a DEL"]);
  for (const plugin of plugins) {
    const [newer, older] = await plugin.calls();
    assertEquals(newer?.config.prevResult, RESULT);
    assertEquals("prevResult" in older?.config, false);
  }
});

Deno.test("D32 a result that no longer converts does not keep DEL from running", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a");
  await delChain(world.runner, listOf(["a"]), TARGET, { cniVersion: "9.0.0" }, calm);
  assertEquals("prevResult" in (await a.calls())[0]?.config, false);
});

Deno.test("D36 DEL stops at the first error: an address must not become free while its rules exist", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("ipam");
  await world.plugins.install("rules", { DEL: { stdout: '{"code": 5, "msg": "busy"}', code: 1 } });
  const error = await assertRejects(
    () => delChain(world.runner, listOf(["ipam", "rules"]), TARGET, RESULT, calm),
    CniError,
  );
  assertEquals(error.message, 'Cannot DEL network "web", plugin "rules" (2 of 2): busy');
  assertEquals(await world.plugins.verbs(), ["rules DEL"]);
});

Deno.test("code 3 means that DEL has nothing left to do, and only on DEL", async () => {
  await using world = await NetworkWorld.make();
  const gone = { stdout: '{"code": 3, "msg": "no such container"}', code: 1 };
  await world.plugins.install("a");
  await world.plugins.install("b", { DEL: gone, ADD: gone, CHECK: gone });
  await delChain(world.runner, listOf(["a", "b"]), TARGET, RESULT, calm);
  assertEquals(await world.plugins.verbs(), ["b DEL", "a DEL"]);
  const list = listOf(["b"]);
  assertEquals((await assertRejects(() => addChain(world.runner, list, TARGET, calm), CniError)).code, 3);
  const check = () => checkChain(world.runner, list, TARGET, RESULT, calm);
  assertEquals((await assertRejects(check, CniError)).code, 3);
});

Deno.test("B58 the output of a successful DEL or CHECK is ignored", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { DEL: { stdout: "bye" }, CHECK: { stdout: "{" } });
  await delChain(world.runner, listOf(["a"]), TARGET, RESULT, calm);
  await checkChain(world.runner, listOf(["a"]), TARGET, RESULT, calm);
});
