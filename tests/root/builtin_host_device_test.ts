// The built-in host-device against the originals: each moves a device in, checks and gives back what the other has moved.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type AbandonedAttachment, freeLeftovers } from "../../lib/builtin/leftovers.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type CommandRequest, runCommand } from "../../lib/host/command.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin, resultOf } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

type Caller = (call: Call) => Promise<Answer>;

const OURS: Caller = (call) => callBuiltin("host-device", call);
const BY_IP: Caller = (call) =>
  callBuiltin("host-device", call, (request: CommandRequest) => runCommand(request));
const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call) => callBinary(CNI_1_1_1, "host-device", call)],
  ["cni-1.9.1", (call) => callBinary(CNI_1_9_1, "host-device", call)],
];

interface Case {
  /** How the configuration names the device. @default {by its name} */
  readonly named?: (device: Device) => JsonObject;
  readonly ipam?: JsonObject;
  readonly more?: JsonObject;
  /** Whether the device is up on the host. */
  readonly isUp?: boolean;
  readonly ifName?: string;
}

interface Device {
  readonly name: string;
  readonly mac: string;
}

const V4 = { address: "10.20.1.7/24", gateway: "10.20.1.1" };
const V6 = { address: "fd20:1::7/64", gateway: "fd20:1::1" };
const fixed = (addresses: readonly JsonObject[], more: JsonObject = {}) => ({
  type: "static",
  addresses,
  ...more,
});

const CASES: Readonly<Record<string, Case>> = {
  "without addresses": {},
  "without addresses, up on the host": { isUp: true },
  "by its MAC address": { named: ({ mac }) => ({ hwaddr: mac }) },
  "by its MAC address in capitals": { named: ({ mac }) => ({ hwaddr: mac.toUpperCase() }) },
  "by its name before its MAC address": {
    named: ({ name }) => ({ device: name, hwaddr: "02:00:00:00:00:01", kernelpath: "/sys/devices/none" }),
  },
  "IPv4 with a default route": { ipam: fixed([V4], { routes: [{ dst: "0.0.0.0/0" }] }), isUp: true },
  "IPv6 with a default route": { ipam: fixed([V6], { routes: [{ dst: "::/0" }] }) },
  "both families, routes and DNS": {
    ipam: fixed([V4, V6], {
      routes: [{ dst: "10.90.0.0/16", gw: "10.20.1.9" }],
      dns: { search: ["ipam.example"] },
    }),
    more: { dns: { nameservers: ["10.0.0.10"], domain: "example.net" } },
  },
  "DNS of the IPAM plugin": { ipam: fixed([V4], { dns: { nameservers: ["10.0.0.11"] } }) },
  "under its own name": { ifName: "DEVICE" },
};

/** Makes a device of the host: the end of a pair whose other end is in a namespace of its own. */
async function deviceOf(world: World, at: string, { isUp = false }: Case = {}): Promise<Device> {
  const far = await world.netns(`${at}far`);
  const [name, mac] = [`pd${at}${world.tag}`, `02:${world.tag.match(/../g)?.join(":")}:0${at}`];
  const peer = `far0 netns ${far.slice("/run/netns/".length)}`;
  await sh(
    `ip link add ${name} address ${mac} type veth peer name ${peer}; ip link set ${name} ${
      isUp ? "up" : "down"
    }`,
  );
  await sh("ip link set far0 up", far);
  return { name, mac };
}

function callOf(world: World, { named, ipam, more, ifName = "net1" }: Case, device: Device, netns: string) {
  const naming = named?.(device) ?? { device: device.name };
  const config = {
    cniVersion: "1.0.0",
    name: "net",
    type: "host-device",
    ...naming,
    ...(ipam ? { ipam } : {}),
    ...more,
  };
  return { containerId: `c-${world.tag}`, netns, ifName: ifName.replace("DEVICE", device.name), config };
}

async function linkState(name: string, netns?: string): Promise<unknown> {
  const [link] = JSON.parse(await sh(`ip -d -j addr show dev ${name}`, netns));
  const info: JsonObject[] = link.addr_info;
  return {
    // The carrier and the state come a moment later.
    flags: link.flags.filter((flag: string) => !/CARRIER|LOWER_UP/.test(flag)).sort(),
    ...{ mtu: link.mtu, mac: link.address, alias: link.ifalias },
    addresses: info.filter(({ local }) => !String(local).startsWith("fe80"))
      .map(({ local, prefixlen, scope, broadcast }) => `${local}/${prefixlen} ${scope} ${broadcast}`).sort(),
  };
}

async function routesOf(name: string, netns?: string): Promise<string[]> {
  const text = await sh(`ip -4 route show dev ${name}; ip -6 route show dev ${name}`, netns);
  return text.split("\n").map((line) => line.replace(/linkdown|\s+$/g, "").trim())
    .filter((line) => line !== "" && !line.startsWith("fe80")).sort();
}

function withoutNames({ document }: Answer, { name, mac }: Device): unknown {
  const { dns = {}, ...result } = document;
  const text = JSON.stringify({ ...result, dns }).replaceAll(/pwt-[0-9a-f]+-[a-z]+/g, "NETNS");
  return JSON.parse(text.replaceAll(mac, "MAC").replaceAll(name, "DEVICE"));
}

for (const [needs, original] of ORIGINALS) {
  for (const [name, each] of Object.entries(CASES)) {
    Deno.test({
      name:
        `U71 host-device: ${name}: what the built-in one and that of ${needs} do is the same, and each undoes it`,
      ...need("root", "ip", needs),
      fn: inWorld(async (world) => {
        const seen: unknown[] = [];
        for (
          const [at, add, other] of [["1", OURS, original], ["2", original, OURS], [
            "3",
            BY_IP,
            BY_IP,
          ]] as const
        ) {
          const device = await deviceOf(world, at, each);
          const netns = await world.netns(`p${at}`.replace(/\d/, (digit) => "xabc"[Number(digit)] ?? ""));
          const call = callOf(world, each, device, netns);
          const answer = await add({ ...call, verb: "ADD" });
          assertDone(answer);
          assertEquals(await sh(`ip link show dev ${device.name} 2>/dev/null || :`), "");
          const state = [await linkState(call.ifName, netns), await routesOf(call.ifName, netns)];
          const config = { ...call.config, prevResult: answer.document };
          for (const caller of [add, other]) assertDone(await caller({ ...call, config, verb: "CHECK" }));
          assertDone(await other({ ...call, config, verb: "DEL" }));
          const { alias, ...given } = await linkState(device.name) as Record<string, unknown>;
          // 1.1.1 leaves it.
          const after = [given, needs === "cni-1.1.1" ? "" : alias, await sh("ip -o link | wc -l", netns)];
          assertDone(await OURS({ ...call, config, verb: "DEL" }));
          const text = JSON.stringify([state, after]).replaceAll(device.mac, "MAC").replaceAll(
            device.name,
            "DEVICE",
          );
          seen.push([withoutNames(answer, device), JSON.parse(text)]);
          await sh(`ip link del ${device.name}`);
        }
        assertEquals(seen[0], seen[1]);
        assertEquals(seen[2], seen[1]);
      }),
    });
  }
}

/** Attaches with our plugin. */
async function attach(world: World, each: Case = {}, at = "1") {
  const device = await deviceOf(world, at, each);
  const netns = await world.netns(`p${"xabc"[Number(at)]}`);
  const call = callOf(world, each, device, netns);
  const answer = await OURS({ ...call, verb: "ADD" });
  const result = resultOf(answer);
  return {
    call: { ...call, config: { ...call.config, prevResult: answer.document } },
    device,
    netns,
    result,
  };
}

async function assertGivenBack({ name, mac }: Device): Promise<void> {
  const [link] = JSON.parse(await sh(`ip -j link show dev ${name}`));
  assertEquals([link.address, link.ifalias], [mac, undefined]);
  await sh(`ip link del ${name}`);
}

/** What a pod or an administrator may do to the device. */
const CHANGES: Readonly<Record<string, string>> = {
  "renamed it": "ip link set net1 down; ip link set net1 name other0",
  "renamed it, and given its name to another":
    "ip link set net1 down; ip link set net1 name other0; ip link add net1 type bridge",
  "removed its alias": "ip link set net1 alias ''",
  "changed its MAC address and its name":
    "ip link set net1 down; ip link set net1 address 02:00:00:00:00:99 name other0",
};

for (const [what, script] of Object.entries(CHANGES)) {
  Deno.test({
    name:
      `U68 the DEL of host-device gives a device its old name back after the pod has ${what} (plugins#773)`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      const { call, device, netns } = await attach(world);
      await sh(script, netns);
      const { prevResult: _, ...config } = call.config;
      assertDone(await OURS({ ...call, config, verb: "DEL" }));
      const [link] = JSON.parse(await sh(`ip -j link show dev ${device.name}`));
      assertEquals(link.ifalias, undefined);
      assertEquals((await sh("ip -o link show type veth", netns)).trim(), "");
      for (const gone of [netns, "", "/run/netns/pwt-none"]) {
        assertDone(await OURS({ ...call, netns: gone, verb: "DEL" }));
      }
      await sh(`ip link del ${device.name}`);
    }),
  });
}

Deno.test({
  name: "a device that the original has moved is given back after the pod has renamed it",
  ...need("root", "ip", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const device = await deviceOf(world, "1");
    const netns = await world.netns("pa");
    const call = callOf(world, { named: ({ mac }) => ({ hwaddr: mac }) }, device, netns);
    const answer = await callBinary(CNI_1_9_1, "host-device", { ...call, verb: "ADD" });
    assertDone(answer);
    await sh("ip link set net1 down; ip link set net1 name other0", netns);
    const config = { ...call.config, prevResult: answer.document };
    assertDone(await OURS({ ...call, config, verb: "DEL" }));
    await assertGivenBack(device);
  }),
});

Deno.test({
  name:
    "U69 the host sees no rename while a device leaves and comes back, and names may clash inside (plugins#1073)",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const device = await deviceOf(world, "1");
    const netns = await world.netns("pa");
    await sh(`ip link add ${device.name} type bridge`, netns);
    const monitor = new Deno.Command("ip", {
      args: ["-o", "monitor", "link"],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const call = callOf(world, {}, device, netns);
    // The monitor listens as soon as it shows this.
    const reader = monitor.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const until = async (word: RegExp, act?: () => Promise<unknown>) => {
      while (!word.test(text)) {
        await act?.();
        text += (await reader.read()).value ?? "";
      }
    };
    await until(/pwseen/, () => sh("ip link add pwseen type bridge 2>/dev/null; ip link del pwseen"));
    assertDone(await OURS({ ...call, verb: "ADD" }));
    assertDone(await OURS({ ...call, verb: "DEL" }));
    await sh("ip link add pwlast type bridge; ip link del pwlast");
    await until(/pwlast/);
    monitor.kill();
    await monitor.status;
    await reader.cancel();
    const lines = text.split("\n").filter((line) => line.includes(device.mac));
    assertEquals(lines.length >= 2, true, text);
    assertEquals(
      lines.filter((line) => !line.includes(`${device.name}@`) && !line.includes(`${device.name}:`)),
      [],
    );
    await assertGivenBack(device);
  }),
});

Deno.test({
  name:
    "U70 with useInterfaceNetwork a device keeps its addresses and routes, and the log says who has to restore them (plugins#1257)",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const device = await deviceOf(world, "1", { isUp: true });
    const { name } = device;
    await sh(`ip addr add ${V4.address} broadcast + dev ${name}; ip addr add ${V6.address} dev ${name} nodad
      ip route add 10.91.0.0/16 dev ${name}; ip route add default via 10.20.1.1 dev ${name} metric 5000
      ip route add 10.90.0.0/16 via 10.20.1.9 mtu 1400; ip -6 route add fd90::/32 via fd20:1::9 dev ${name}`);
    const before = [await linkState(name), await routesOf(name)];
    const netns = await world.netns("pa");
    const call = callOf(world, { more: { useInterfaceNetwork: true } }, device, netns);
    const answer = await OURS({ ...call, verb: "ADD" });
    const { ips, routes } = resultOf(answer);
    assertEquals(ips, [
      { address: V4.address, interface: 0, gateway: V4.gateway },
      { address: V6.address, interface: 0 },
    ]);
    assertEquals(routes?.map(({ dst, gw }) => [dst, gw]), [
      ["10.91.0.0/16", undefined],
      ["0.0.0.0/0", "10.20.1.1"],
      ["10.90.0.0/16", "10.20.1.9"],
      ["fd90::/32", "fd20:1::9"],
    ]);
    const inside = JSON.stringify([await linkState("net1", netns), await routesOf("net1", netns)]);
    const { alias: _, ...link } = before[0] as Record<string, unknown>;
    assertEquals(JSON.parse(inside.replace(`"alias":"${name}",`, "")), [link, before[1]]);
    const config = { ...call.config, prevResult: answer.document };
    assertDone(await OURS({ ...call, config, verb: "CHECK" }));
    const ended = await OURS({ ...call, config, verb: "DEL" });
    assertDone(ended);
    assertStringIncludes(
      ended.stderr,
      "the network manager of the host has to give the device its addresses again",
    );
    await assertGivenBack(device);
  }),
});

Deno.test({
  name: "an ADD of host-device that fails gives the device back as it was: up, with its addresses and routes",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const device = await deviceOf(world, "1", { isUp: true });
    const { name } = device;
    await sh(`ip addr add 10.30.1.7/24 broadcast + dev ${name}; ip addr add fd30::7/64 dev ${name} nodad
      ip route add 10.92.0.0/16 via 10.30.1.9; ip -6 route add fd92::/32 via fd30::9 dev ${name}
      ip link set ${name} alias 'uplink of the rack'`);
    const before = [await linkState(name), await routesOf(name)];
    const netns = await world.netns("pa");
    const bad: readonly (readonly [Case, RegExp])[] = [
      [{ ipam: fixed([V4], { routes: [{ dst: "10.93.0.0/16", gw: "10.99.0.1" }] }) }, /Cannot add the route/],
      [{ ipam: { type: "host-local", ranges: [] } }, /./],
      [{ ifName: "lo" }, /Cannot create interface "lo" in ".*": it already exists/],
    ];
    for (const [each, says] of bad) {
      const { code, document } = await OURS({ ...callOf(world, each, device, netns), verb: "ADD" });
      assertEquals(code, 1);
      assertMatch(document.msg, says);
      assertEquals([await linkState(name), await routesOf(name)], before);
      assertEquals((await sh("ip -o link", netns)).trim().split("\n").length, 1);
    }
    await sh(`ip link del ${name}`);
  }),
});

/** What may happen to an attachment, and what its CHECK says of it. */
const LOST: readonly (readonly [what: string, script: string, says: RegExp])[] = [
  ["its address", "ip addr del 10.20.1.7/24 dev net1", /does not have the address 10\.20\.1\.7\/24/],
  ["its route", "ip route del default", /the route to 0\.0\.0\.0\/0 .*is not there/],
  ["its alias", "ip link set net1 alias other", /the alias of interface "net1" is not its name on the host/],
  ["its name", "ip link set net1 down; ip link set net1 name other0", /"net1" is not in/],
  ["its carrier", "ip link set net1 down", /"net1" is down/],
];

for (const [what, script, says] of LOST) {
  Deno.test({
    name: `the CHECK of host-device sees that a device has lost ${what}, and its DEL gives it back`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      const { call, device, netns } = await attach(world, {
        ipam: fixed([V4], { routes: [{ dst: "0.0.0.0/0" }] }),
      });
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await sh(script, netns);
      const { code, document } = await OURS({ ...call, verb: "CHECK" });
      assertEquals(code, 1);
      assertMatch(document.msg, says);
      assertDone(await OURS({ ...call, verb: "DEL" }));
      await assertGivenBack(device);
    }),
  });
}

Deno.test({
  name:
    "host-device leaves an interface that it did not move, and names one of the host that has taken the old name",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const { call, device, netns } = await attach(world);
    await sh(`ip link add ${device.name} type bridge`);
    const { code, document } = await OURS({ ...call, verb: "DEL" });
    assertEquals(
      [code, document.msg.includes(`it has another interface "${device.name}"`)],
      [1, true],
      document.msg,
    );
    await sh(`ip link del ${device.name}`);
    assertDone(await OURS({ ...call, verb: "DEL" }));
    await sh("ip link add net1 type bridge; ip link set net1 alias 'of the pod'", netns);
    assertDone(await OURS({ ...call, verb: "DEL" }));
    assertStringIncludes(await sh("ip -o link", netns), "net1");
    await assertGivenBack(device);
  }),
});

Deno.test({
  name: "the GC of host-device gives back the devices of a network that no attachment holds, and no others",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const [kept, lost] = [await attach(world, {}, "1"), await attach(world, { ifName: "net2" }, "2")];
    const { prevResult: _, ...config } = kept.call.config;
    const attachments = [{ containerID: kept.call.containerId, ifname: "net1" }];
    const gc = { ...config, cniVersion: "1.1.0", "cni.dev/valid-attachments": attachments };
    assertDone(await OURS({ config: { ...gc, name: "other" }, verb: "GC" }));
    assertDone(await OURS({ ...lost.call, verb: "CHECK" }));
    assertDone(await OURS({ config: gc, verb: "GC" }));
    assertDone(await OURS({ ...kept.call, verb: "CHECK" }));
    await assertGivenBack(lost.device);
    assertDone(await OURS({ ...kept.call, verb: "DEL" }));
    await assertGivenBack(kept.device);
  }),
});

Deno.test({
  name:
    "an attachment of host-device that is forgotten gives its device back, and none without its namespace",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const { call, device, netns } = await attach(world);
    const { containerId = "", ifName = "", config } = call;
    const network = String(config.name);
    const free = (more: Partial<AbandonedAttachment>, dryRun: boolean) => {
      const abandoned = {
        network,
        containerId,
        ifName,
        netns,
        config: JSON.stringify(config),
        addresses: [],
      };
      const host = { run: runCommand, signal: new AbortController().signal };
      return freeLeftovers({ ...abandoned, ...more }, host, { dryRun });
    };
    const freed = [`the device ${device.name} of the host in ${netns}`];
    assertEquals((await free({ network: "other" }, false)).freed, []);
    assertEquals((await free({ netns: "" }, false)).freed, []);
    assertEquals((await free({}, true)).freed, freed);
    assertDone(await OURS({ ...call, verb: "CHECK" }));
    assertEquals(await free({}, false), { freed, remaining: [] });
    await assertGivenBack(device);
    assertEquals((await free({}, false)).freed, []);
  }),
});
