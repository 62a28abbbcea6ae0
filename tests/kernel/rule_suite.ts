import { assertEquals, assertStringIncludes } from "@std/assert";
import { formatCidr, formatIp } from "../../lib/cni/address.ts";
import type { RouteInfo, RuleInfo } from "../../lib/kernel/operation.ts";
import type { TestedKernel } from "./kernels.ts";
import { cidr, inside, ip, ipLines, MAC, type World, worldTest } from "./world.ts";

/** A rule in one line. */
function text({ priority, source, table, isBySource }: RuleInfo): string {
  return `${priority}: ${source ? formatCidr(source) : "all"} ${table}${isBySource ? "" : " and more"}`;
}

async function rules({ kernel, host }: World, family: 4 | 6): Promise<readonly string[]> {
  const [found] = await kernel.apply([{ kind: "show-rules", family }], { netns: host });
  return found.map(text);
}

/** A route of a table in one line. */
function routeText({ dst, metric, protocol, scope, source, mtu, advmss, hops }: RouteInfo): string {
  const ways = hops.map(({ device, gateway }) => `${gateway ? `${formatIp(gateway)} ` : ""}${device}`);
  const given = { metric, protocol, scope, source: source && formatIp(source), mtu, advmss };
  const words = Object.entries(given).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key} ${value}`]
  );
  return [dst && formatCidr(dst), ...words, ...ways].join(", ");
}

async function routesOf({ kernel, host }: World, family: 4 | 6, table: number): Promise<string[]> {
  // Together with rules `ip` shows the numbers of all tables.
  const [found] = await kernel.apply(
    [{ kind: "show-routes", family }, { kind: "show-rules", family }],
    { netns: host },
  );
  return found.filter((route) => route.table === table && route.isUnicast).map(routeText);
}

async function bridgeWithAddresses({ kernel, host }: World): Promise<void> {
  await kernel.apply([
    { kind: "create-bridge", name: "br0", mac: MAC },
    { kind: "add-address", device: "br0", address: cidr("10.1.0.1/24") },
    { kind: "add-address", device: "br0", address: cidr("fd00::1/64") },
    { kind: "set-link", name: "br0", up: true },
  ], { netns: host });
}

const USUAL = {
  4: ["0: all 255", "32766: all 254", "32767: all 253"],
  6: ["0: all 255", "32766: all 254"],
} as const;

/** The tests of operations on rules, and on routes of the tables to which they lead. */
export function ruleSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("rules by the source are added before the others, in both families, and removed", async (world) => {
    const { host } = world;
    assertEquals([await rules(world, 4), await rules(world, 6)], [USUAL[4], USUAL[6]]);
    await world.apply(
      host,
      { kind: "add-rule", source: cidr("10.1.0.7/32"), table: 100 },
      { kind: "add-rule", source: cidr("fd00::7/128"), table: 100 },
      { kind: "add-rule", source: cidr("10.1.0.8/24"), table: 100_000 },
      { kind: "add-rule", source: cidr("10.1.0.9/32"), table: 254, priority: 77 },
    );
    assertEquals(await rules(world, 4), [
      USUAL[4][0],
      "77: 10.1.0.9/32 254",
      "32764: 10.1.0.0/24 100000",
      "32765: 10.1.0.7/32 100",
      ...USUAL[4].slice(1),
    ]);
    assertEquals(await rules(world, 6), [USUAL[6][0], "32765: fd00::7/128 100", USUAL[6][1]]);
    await world.apply(
      host,
      { kind: "remove-rule", source: cidr("fd00::7/128"), table: 100 },
      { kind: "remove-rule", source: cidr("10.1.0.7/32"), table: 100, priority: 32765 },
      { kind: "remove-rule", source: cidr("10.1.0.0/24"), table: 100_000 },
      { kind: "remove-rule", source: cidr("10.1.0.9/32"), table: 254 },
    );
    assertEquals([await rules(world, 4), await rules(world, 6)], [USUAL[4], USUAL[6]]);
  });

  test("a rule that looks at more than the source is shown as such", async (world) => {
    await ipLines(world.host, [
      "rule add from 10.2.0.0/16 fwmark 3 table 200 priority 1",
      "rule add not from 10.3.0.0/16 table 201 priority 2",
      "rule add from 10.4.0.0/16 to 10.5.0.0/16 table 202 priority 3",
      "rule add from 10.6.0.0/16 iif lo table 203 priority 4",
      "rule add from 10.7.0.0/16 tos 4 table 204 priority 5",
      "rule add from 10.8.0.0/16 table 205 suppress_prefixlength 0 priority 6",
      "rule add from 10.9.0.0/16 blackhole priority 7",
      "rule add l3mdev priority 8",
      "rule add from 10.10.0.0/16 table 206 priority 9",
    ]);
    assertEquals(await rules(world, 4), [
      USUAL[4][0],
      "1: 10.2.0.0/16 200 and more",
      "2: 10.3.0.0/16 201 and more",
      "3: 10.4.0.0/16 202 and more",
      "4: 10.6.0.0/16 203 and more",
      "5: 10.7.0.0/16 204 and more",
      "6: 10.8.0.0/16 205 and more",
      "7: 10.9.0.0/16 undefined and more",
      "8: all undefined and more",
      "9: 10.10.0.0/16 206",
      ...USUAL[4].slice(1),
    ]);
  });

  test("a rule is there once for a priority, and a missing one is missing, which names the operation", async (world) => {
    const { host } = world;
    for (const address of ["10.1.0.7/32", "fd00::7/128"]) {
      // Without a priority the kernel adds an equal one.
      const rule = { source: cidr(address), table: 100, priority: 50 } as const;
      const lo = { kind: "set-link", name: "lo", up: true } as const;
      const add = { kind: "add-rule", ...rule } as const;
      const exists = await world.fails(host, [add, lo, add], { index: 2, problem: "exists" });
      assertStringIncludes(exists.message, `Cannot add the rule for packets from ${address}: `);
      const remove = { kind: "remove-rule", ...rule } as const;
      const missing = await world.fails(host, [remove, lo, remove], { index: 2, problem: "missing" });
      assertStringIncludes(missing.message, `Cannot remove the rule for packets from ${address}: `);
    }
  });

  test("answers of both families come in the order of the questions", async (world) => {
    const { kernel, host } = world;
    const [v6, lo, v4, again] = await kernel.apply([
      { kind: "show-rules", family: 6 },
      { kind: "show-link", name: "lo" },
      { kind: "show-rules", family: 4 },
      { kind: "show-rules", family: 6 },
    ], { netns: host });
    assertEquals({ v6: v6.map(text), lo: lo.name, v4: v4.map(text), again: again.map(text) }, {
      v6: USUAL[6],
      lo: "lo",
      v4: USUAL[4],
      again: USUAL[6],
    });
  });

  test("the routes of a table have all that a copy needs, and are replaced and removed there", async (world) => {
    const { host } = world;
    await bridgeWithAddresses(world);
    const way = { kind: "add-route", device: "br0", table: 100 } as const;
    const all = { ...way, dst: cidr("0.0.0.0/0"), gateway: ip("10.1.0.9") };
    await world.apply(
      host,
      { ...way, dst: cidr("10.1.0.0/24"), source: ip("10.1.0.1"), protocol: 2, scope: 253 },
      { ...all, mtu: 1400, advmss: 1300 },
      { ...all, gateway: ip("10.1.0.8"), replace: true },
      { ...way, dst: cidr("fd00::/64"), metric: 256 },
      { ...way, dst: cidr("::/0"), gateway: ip("fd00::9"), metric: 7, mtu: 1400 },
      { ...way, dst: cidr("::/0"), gateway: ip("fd00::8"), metric: 7, replace: true, table: 100 },
    );
    assertEquals((await routesOf(world, 4, 100)).sort(), [
      "0.0.0.0/0, protocol 3, scope 0, 10.1.0.8 br0",
      "10.1.0.0/24, protocol 2, scope 253, source 10.1.0.1, br0",
    ]);
    assertEquals((await routesOf(world, 6, 100)).sort(), [
      "::/0, metric 7, protocol 3, scope 0, fd00::8 br0",
      "fd00::/64, metric 256, protocol 3, scope 0, br0",
    ]);
    await world.apply(host, { ...all, dst: cidr("10.9.0.0/16"), mtu: 1400, advmss: 1300, table: 1000 });
    assertEquals(await routesOf(world, 4, 1000), [
      "10.9.0.0/16, protocol 3, scope 0, mtu 1400, advmss 1300, 10.1.0.9 br0",
    ]);
    const remove = { kind: "remove-route", hops: [{ device: "br0" }] } as const;
    await world.apply(
      host,
      { ...remove, dst: cidr("10.9.0.0/16"), table: 1000 },
      { ...remove, dst: cidr("0.0.0.0/0"), table: 100 },
      { ...remove, dst: cidr("10.1.0.0/24"), table: 100 },
      { ...remove, dst: cidr("fd00::/64"), table: 100 },
    );
    assertEquals([await routesOf(world, 4, 100), await routesOf(world, 4, 1000)], [[], []]);
    assertEquals(await routesOf(world, 6, 100), ["::/0, metric 7, protocol 3, scope 0, fd00::8 br0"]);
    assertStringIncludes(await inside(host, "ip", "route", "show", "table", "main"), "10.1.0.0/24 dev br0");
  });
}
