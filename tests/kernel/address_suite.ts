import { assertEquals } from "@std/assert";
import { findLink } from "../../lib/kernel/links.ts";
import type { AddRoute, Operation } from "../../lib/kernel/operation.ts";
import { until } from "../until.ts";
import type { TestedKernel } from "./kernels.ts";
import { cidr, inside, ip, ipJson, MAC, OTHER_MAC, type World, worldTest } from "./world.ts";

const DEVICE = [
  { kind: "create-bridge", name: "br0", mac: MAC },
  { kind: "set-link", name: "br0", up: true },
] as const;

const address = (text: string, replace?: boolean) =>
  ({ kind: "add-address", device: "br0", address: cidr(text), replace }) as const;

/** The addresses of the device in a form that can be compared. */
async function addresses(netns: string): Promise<unknown[]> {
  const [link] = await ipJson(netns, "address", "show", "dev", "br0");
  const info = link?.addr_info as Record<string, unknown>[];
  return info.filter(({ local }) => !String(local).startsWith("fe80")).map((
    { local, prefixlen, broadcast, scope, nodad },
  ) => ({ address: `${local}/${prefixlen}`, broadcast, scope, nodad }));
}

/** Each route, and the words by which `ip route prepend` makes the same. */
const ROUTES: readonly (readonly [words: string, route: Omit<AddRoute, "kind" | "device">])[] = [
  ["default via 10.1.0.1", { dst: cidr("0.0.0.0/0"), gateway: ip("10.1.0.1") }],
  ["10.2.0.0/16 dev br0", { dst: cidr("10.2.3.4/16") }],
  ["10.3.0.0/16 via 10.1.0.2", { dst: cidr("10.3.0.0/16"), gateway: ip("10.1.0.2") }],
  ["10.3.0.0/16 via 10.1.0.3", { dst: cidr("10.3.0.0/16"), gateway: ip("10.1.0.3") }],
  ["10.4.5.6/32 dev br0 metric 7", { dst: cidr("10.4.5.6/32"), metric: 7 }],
  ["10.5.0.0/16 dev br0 metric 4294967295", { dst: cidr("10.5.0.0/16"), metric: 4294967295 }],
  ["10.6.0.0/16 dev br0 table 100", { dst: cidr("10.6.0.0/16"), table: 100 }],
  ["10.6.0.0/16 dev br0 table 255", { dst: cidr("10.6.0.0/16"), table: 255 }],
  ["10.6.0.0/16 dev br0 table 4000000000", { dst: cidr("10.6.0.0/16"), table: 4_000_000_000 }],
  ["10.7.0.0/16 dev br0 scope 0", { dst: cidr("10.7.0.0/16"), scope: 0 }],
  ["10.8.0.0/16 dev br0 scope 254", { dst: cidr("10.8.0.0/16"), scope: 254 }],
  ["10.9.0.0/16 via 10.1.0.1 mtu 1300", { dst: cidr("10.9.0.0/16"), gateway: ip("10.1.0.1"), mtu: 1300 }],
  ["10.10.0.0/16 dev br0 mtu 1300 advmss 1200", { dst: cidr("10.10.0.0/16"), mtu: 1300, advmss: 1200 }],
  ["10.11.0.0/16 dev br0 src 10.1.0.9", { dst: cidr("10.11.0.0/16"), source: ip("10.1.0.9") }],
  ["10.12.0.0/16 via 10.1.0.1 src 10.1.0.9", {
    dst: cidr("10.12.0.0/16"),
    gateway: ip("10.1.0.1"),
    source: ip("10.1.0.9"),
  }],
  ["fd00:5::/64 dev br0 src fd00:1::9", { dst: cidr("fd00:5::/64"), source: ip("fd00:1::9") }],
  ["default via fd00:1::1", { dst: cidr("::/0"), gateway: ip("fd00:1::1") }],
  ["fd00:2::/64 dev br0", { dst: cidr("fd00:2::5/64") }],
  ["fd00:2::/64 dev br0 metric 1", { dst: cidr("fd00:2::/64"), metric: 1 }],
  ["fd00:3::/64 via fd00:1::2 advmss 1200", {
    dst: cidr("fd00:3::/64"),
    gateway: ip("fd00:1::2"),
    advmss: 1200,
  }],
  ["fd00:3::/64 via fd00:1::3 table 300", { dst: cidr("fd00:3::/64"), gateway: ip("fd00:1::3"), table: 300 }],
  ["fd00:4::/64 via fe80::7 dev br0", { dst: cidr("fd00:4::/64"), gateway: ip("fe80::7") }],
];

async function routes(netns: string): Promise<unknown[]> {
  return [
    ...await ipJson(netns, "route", "show", "table", "all"),
    ...await ipJson(netns, "-6", "route", "show", "table", "all"),
  ];
}

/** The tests of operations on addresses and routes. */
export function addressSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("an address has the broadcast address and the scope that belong to it", async (world) => {
    const { host } = world;
    const all = ["10.1.2.3/24", "10.2.0.1/30", "10.3.0.0/31", "10.4.0.1/32", "127.5.0.1/16", "fd00::5/64"];
    await world.apply(host, ...DEVICE, ...all.map((text) => address(text)));
    const global = { scope: "global", broadcast: undefined, nodad: undefined };
    assertEquals(await addresses(host), [
      // The kernel puts narrower scopes first.
      { ...global, address: "127.5.0.1/16", broadcast: "127.5.255.255", scope: "host" },
      { ...global, address: "10.1.2.3/24", broadcast: "10.1.2.255" },
      { ...global, address: "10.2.0.1/30", broadcast: "10.2.0.3" },
      { ...global, address: "10.3.0.0/31" },
      { ...global, address: "10.4.0.1/32" },
      { ...global, address: "fd00::5/64", nodad: true },
    ]);
  });

  test("an address that is there is added only with `replace`", async (world) => {
    const { host } = world;
    await world.apply(host, ...DEVICE);
    for (const text of ["10.1.2.3/24", "fd00::5/64"]) {
      await world.apply(host, address(text));
      const before = await addresses(host);
      await world.fails(host, [address(text)], { index: 0, problem: "exists" });
      await world.apply(host, address(text, true));
      assertEquals(await addresses(host), before);
    }
    await world.apply(host, address("10.1.2.4/24", true));
    assertEquals((await addresses(host)).length, 3);
  });

  test("duplicates of an address are searched for only if that is asked for, and are seen", async (world) => {
    const { host, pod, kernel } = world;
    const peer = { name: "v1", mac: OTHER_MAC, netns: pod };
    const accept = (device: string) => [{ name: `net/ipv6/conf/${device}/accept_dad`, value: "1" as const }];
    await world.apply(host, { kind: "create-veth", name: "v0", mac: MAC, peer });
    await kernel.apply([{ kind: "set-link", name: "v1", up: true }], { netns: pod, sysctls: accept("v1") });
    const own = (device: string, text: string, detectsDuplicates: boolean) =>
      ({ kind: "add-address", device, address: cidr(text), detectsDuplicates }) as const;
    await kernel.apply([own("v0", "fd00::5/64", false)], { netns: host, sysctls: accept("v0") });
    await world.apply(pod, own("v1", "fd00::5/64", true), own("v1", "fd00::6/64", true));
    const states = async () => {
      const link = await findLink(kernel, "v1", { netns: pod });
      const shown = (link?.addresses ?? []).filter(({ address }) => address.startsWith("fd00"));
      return Object.fromEntries(shown.map(({ address, state = "usable" }) => [address, state]));
    };
    assertEquals(Object.values(await states()).includes("usable"), false);
    await until(async () => !Object.values(await states()).includes("tentative"));
    assertEquals(await states(), { "fd00::5/64": "duplicate", "fd00::6/64": "usable" });
  });

  test("an address is removed, and one that is missing, or its device, is reported", async (world) => {
    const { host } = world;
    await world.apply(host, ...DEVICE, address("10.1.2.3/24"), address("fd00::5/64"));
    const remove = (text: string, device = "br0"): Operation => ({
      kind: "remove-address",
      device,
      address: cidr(text),
    });
    await world.apply(host, remove("10.1.2.3/24"), remove("fd00::5/64"));
    assertEquals(await addresses(host), []);
    await world.fails(host, [remove("10.1.2.3/24")], { index: 0, problem: "missing" });
    await world.fails(host, [remove("fd00::5/64")], { index: 0, problem: "missing" });
    await world.fails(host, [remove("10.1.2.3/24", "absent")], { index: 0, problem: "missing" });
    await world.fails(host, [{ ...address("10.1.2.3/24"), device: "absent" }], {
      index: 0,
      problem: "missing",
    });
  });

  test("a neighbor is set, in place of what was known of it, and a missing device is reported", async (world) => {
    const { host } = world;
    await world.apply(host, ...DEVICE, address("10.1.2.3/24"), address("fd00::5/64"));
    const set = (text: string, mac: string, device = "br0"): Operation => ({
      ...{ kind: "set-neighbor", device, ip: ip(text), mac },
    });
    const known = async () => {
      const shown = await ipJson(host, "neighbour", "show", "dev", "br0");
      return shown.map(({ dst, lladdr, state }) => [dst, lladdr, state]).sort();
    };
    await world.apply(host, set("10.1.2.9", MAC), set("fd00::9", MAC));
    await world.apply(host, set("10.1.2.9", OTHER_MAC), set("fd00::9", OTHER_MAC), set("10.1.2.8", MAC));
    assertEquals(await known(), [
      ["10.1.2.8", MAC, ["STALE"]],
      ["10.1.2.9", OTHER_MAC, ["STALE"]],
      ["fd00::9", OTHER_MAC, ["STALE"]],
    ]);
    await world.fails(host, [set("10.1.2.9", MAC, "absent")], { index: 0, problem: "missing" });
  });

  test("a route is the one that `ip route prepend` makes", async (world) => {
    const { host, pod } = world;
    for (const netns of [host, pod]) {
      await world.apply(netns, ...DEVICE, address("10.1.0.9/16"), address("fd00:1::9/64"));
    }
    for (const [words, route] of ROUTES) {
      await world.apply(host, { kind: "add-route", device: "br0", ...route });
      const device = words.includes(" dev ") ? [] : ["dev", "br0"];
      const family = words.includes("::") ? ["-6"] : [];
      await inside(pod, "ip", ...family, "route", "prepend", ...words.split(" "), ...device);
      assertEquals(await routes(host), await routes(pod), words);
    }
  });

  test("a route is added before others to the same network", async (world) => {
    const { host } = world;
    await world.apply(host, ...DEVICE, address("10.1.0.9/16"));
    const route = (gateway: string): Operation => ({
      kind: "add-route",
      device: "br0",
      dst: cidr("10.3.0.0/16"),
      gateway: ip(gateway),
    });
    await world.apply(host, route("10.1.0.1"), route("10.1.0.2"));
    const found = await ipJson(host, "route", "show", "10.3.0.0/16");
    assertEquals(found.map(({ gateway }) => gateway), ["10.1.0.2", "10.1.0.1"]);
  });

  test("a route that cannot be is refused", async (world) => {
    const { host } = world;
    await world.apply(host, ...DEVICE, address("10.1.0.9/16"));
    const route = (more: Partial<AddRoute>): Operation => ({
      kind: "add-route",
      device: "br0",
      dst: cidr("10.3.0.0/16"),
      ...more,
    });
    await world.fails(host, [route({ gateway: ip("fe80::1") })], { index: 0, problem: "other" });
    await world.fails(host, [route({ gateway: ip("10.9.0.1") })], { index: 0, problem: "other" });
    await world.fails(host, [route({ device: "absent" })], { index: 0, problem: "missing" });
    await world.apply(host, route({}));
    await world.fails(host, [route({})], { index: 0, problem: "exists" });
  });
}
