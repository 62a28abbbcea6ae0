// What podwire did not make stays: existing interfaces, those of other attachments, and podwire's own network
// namespace, with the real plugins on the real kernel.
import { assertEquals, assertMatch, assertRejects, assertStringIncludes, fail } from "@std/assert";
import type { AttachRequest } from "../../lib/attachment/attachments.ts";
import { CniError } from "../../lib/cni/error.ts";
import { netnsId, pinNetns, removeNetns } from "../../lib/host/netns.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import { until } from "../until.ts";
import { inWorld, masqueradeRules, sh, type World } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, heldAddresses, linksOf, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";
import { storesIn } from "../stores.ts";

function requestOf(world: World, netns: string, more: Partial<AttachRequest> = {}): AttachRequest {
  const target = { containerId: `first-${world.tag}`, netns, ifName: "eth0" };
  return { ...target, args: [], capabilityArgs: {}, owner: "test", ...more };
}

async function refused(
  body: () => Promise<unknown>,
  kind: CniError["kind"] = "conflict",
): Promise<CniError> {
  const error = await assertRejects(body, CniError);
  assertEquals(error.kind, kind, error.message);
  return error;
}

/** Runs a test of each flavour in a world of its own, with the networks `one` and `two`. */
function flavourTest(
  name: string,
  fn: (world: World, podwire: Podwire) => Promise<void>,
): void {
  for (const flavour of FLAVOURS) {
    Deno.test({
      name: `${name}: ${flavour.name}`,
      ...need("root", "ip", ...flavour.needs),
      fn: inWorld(async (world) => {
        await bridgeNetwork(world, "one");
        await bridgeNetwork(world, "two", { number: 1 });
        await fn(world, runtimeOf(world, flavour));
      }),
    });
  }
}

flavourTest("an existing interface is reported with its kind, and stays", async (world, podwire) => {
  const foreign = {
    "a tun": "ip tuntap add eth0 mode tap",
    "a veth": "ip link add eth0 type veth peer name other",
    "a bridge": "ip link add eth0 type bridge",
    "a bridge with another name":
      "ip link add long type bridge && ip link property add dev long altname eth0",
  };
  const process = (netns: string) =>
    new Deno.Command("nsenter", { args: [`--net=${netns}`, "--", "sleep", "600"] }).spawn();
  for (const [number, [kind, script]] of Object.entries(foreign).entries()) {
    const netns = await world.netns(`n${number}`);
    await sh(script, netns);
    const before = await linksOf(netns);
    const error = await refused(() => podwire.add("one", requestOf(world, netns)));
    assertStringIncludes(error.msg, kind.replace(" with another name", ""));
    const networks = [{ name: "one", ifName: "eth0" }];
    await refused(() => podwire.sandboxes.run({ source: { kind: "path", path: netns }, networks }));
    await using child = process(netns);
    await until(
      async () => await netnsId(`/proc/${child.pid}/ns/net`) === await netnsId(netns),
      "it is inside",
    );
    const sysctls = { "net.ipv4.ip_default_ttl": "77" };
    await refused(() =>
      podwire.sandboxes.run({ source: { kind: "pid", pid: child.pid }, networks, sysctls })
    );
    assertEquals(await linksOf(netns), before);
    assertEquals(await sh("cat /proc/sys/net/ipv4/ip_default_ttl", netns), "64\n");
    assertEquals({ attachments: await podwire.attachments(), list: await podwire.sandboxes.list() }, {
      attachments: [],
      list: [],
    });
    assertEquals(await heldAddresses(world, "one"), []);
    child.kill("SIGKILL");
    await child.status;
  }
});

flavourTest(
  "the interface of another attachment is taken, and stays with its owner",
  async (world, podwire) => {
    const netns = await world.netns("pod");
    const second = `second-${world.tag}`;
    const alias = `${world.dir}/alias`;
    await Deno.symlink(netns, alias);
    await podwire.add("one", requestOf(world, netns));
    const before = await linksOf(netns);
    const others = [
      ["one", requestOf(world, netns, { containerId: second })],
      ["one", requestOf(world, alias, { containerId: second })],
      ["two", requestOf(world, netns)],
      ["two", requestOf(world, alias, { containerId: second })],
    ] as const;
    for (const [network, request] of others) {
      const error = await refused(() => podwire.add(network, request));
      assertStringIncludes(error.msg, `that of container "first-${world.tag}" on network "one" (attached)`);
      await podwire.del(network, request);
      if (network === "two" || request.containerId === second) {
        await refused(() => podwire.del(network, request, { forceForeign: true }));
      }
    }
    const networks = [{ name: "two", ifName: "eth0" }];
    await refused(() => podwire.sandboxes.run({ source: { kind: "path", path: netns }, networks }));
    assertEquals(await linksOf(netns), before);
    assertEquals((await podwire.attachments()).map(({ state }) => state), ["attached"]);
    await podwire.check("one", requestOf(world, netns));
    // Another interface name is free, and so is this one once it has been given back.
    await podwire.add("two", requestOf(world, netns, { ifName: "eth1" }));
    await podwire.del("one", requestOf(world, netns));
    await podwire.add("two", requestOf(world, alias, { containerId: second }));
    await podwire.del("two", requestOf(world, alias, { containerId: second }));
    await podwire.del("two", requestOf(world, netns, { ifName: "eth1" }));
    assertEquals((await linksOf(netns)).length, 1);
    assertEquals(await Array.fromAsync(Deno.readDir(`${world.dir}/state/interfaces`), ({ name }) => name), [
      ".complete",
    ]);
  },
);

flavourTest(
  "a claim that is lost, damaged or older than the claims is judged by the records",
  async (world, podwire) => {
    const netns = await world.netns("pod");
    const other = requestOf(world, netns, { containerId: `second-${world.tag}` });
    const dir = `${world.dir}/state/interfaces`;
    const file = `${dir}/${(await netnsId(netns))?.replace(":", "-")}-eth0`;
    await podwire.add("one", requestOf(world, netns));
    const before = await linksOf(netns);
    const fresh = () => runtimeOf(world, FLAVOURS[0] ?? fail("no flavour"));
    for (const damage of [() => Deno.writeTextFile(file, "{"), () => Deno.remove(dir, { recursive: true })]) {
      await damage();
      const error = await refused(() => fresh().add("two", other));
      assertStringIncludes(error.msg, `that of container "first-${world.tag}"`);
      assertEquals(await linksOf(netns), before);
    }
    // An ADD that was killed before it had its interface has made nothing there.
    const store = storesIn(`${world.dir}/state`).store;
    const [record = fail("no record")] = await store.all();
    await store.write({ ...record, containerId: other.containerId, state: "adding", result: undefined });
    const { failed } = await podwire.recover();
    assertEquals(failed, []);
    assertEquals(await linksOf(netns), before);
    assertEquals((await store.all()).map(({ containerId }) => containerId), [`first-${world.tag}`]);
    await podwire.del("one", requestOf(world, netns));
    assertEquals((await linksOf(netns)).length, 1);
  },
);

flavourTest(
  "what is not on record is detached without its interface, unless that is forced",
  async (world, podwire) => {
    const netns = await world.netns("pod");
    // The host end of a port of the bridge, so that no plugin can see that it is not its own.
    await sh(
      `ip link add ${world.bridge} type bridge && ip link add pf${
        world.tag.slice(-8)
      } type veth peer name eth0 netns ${netns} &&
    ip link set pf${world.tag.slice(-8)} master ${world.bridge}`,
    );
    const before = await linksOf(netns);
    await podwire.del("one", requestOf(world, netns));
    assertEquals(await linksOf(netns), before);
    await podwire.del("one", requestOf(world, netns), { forceForeign: true });
    assertEquals((await linksOf(netns)).length, 1);
  },
);

flavourTest(
  "every verb refuses podwire's own network namespace, by any path",
  async (world, podwire) => {
    const ifName = `d${world.tag.slice(-8)}`;
    await sh(`ip link add ${ifName} type bridge`);
    const pinned = `/run/netns/pwt-${world.tag}-own`;
    try {
      await pinNetns("/proc/self/ns/net", pinned);
      await Deno.symlink(pinned, `${world.dir}/link`);
      // Other tests have links there too, which come and go.
      const theirs = async () => (await linksOf()).filter((link) => link.includes(` ${ifName} `));
      const before = await theirs();
      for (const netns of ["/proc/self/ns/net", `/proc/${Deno.pid}/ns/net`, pinned, `${world.dir}/link`]) {
        const request = requestOf(world, netns, { ifName });
        for (const forceForeign of [false, true]) {
          await refused(() => podwire.del("one", request, { forceForeign }), "usage");
        }
        await refused(() => podwire.add("one", request), "usage");
        await refused(() => podwire.check("one", request), "usage");
        const sysctls = { "net.ipv4.ip_default_ttl": "77" };
        const networks = [{ name: "one", ifName }];
        const error = await refused(
          () => podwire.sandboxes.run({ source: { kind: "path", path: netns }, networks, sysctls }),
          "usage",
        );
        assertMatch(error.context.hint ?? "", /--host-network/);
      }
      await refused(() => podwire.sandboxes.run({ source: { kind: "pid", pid: Deno.pid } }), "usage");
      assertEquals(await theirs(), before);
      assertEquals(await sh("cat /proc/sys/net/ipv4/ip_default_ttl"), "64\n");
      // What an older release has attached there is detached without its interface.
      const netns = await world.netns("pod");
      await podwire.add("one", requestOf(world, netns, { ifName }));
      const store = storesIn(`${world.dir}/state`).store;
      const [record = fail("no record")] = await store.all();
      await sh(`ip link delete dev ${ifName}`, netns);
      await store.write({ ...record, netns: pinned, netnsId: await netnsId(pinned), result: undefined });
      await podwire.del("one", requestOf(world, pinned, { ifName }));
      assertEquals(await theirs(), before);
      assertEquals(await heldAddresses(world, "one"), []);
      await podwire.sandboxes.run({ name: "host", source: { kind: "host" }, networks: "none" });
      await podwire.sandboxes.remove("host");
    } finally {
      await removeNetns(pinned);
      await sh(`ip link delete dev ${ifName} 2>/dev/null || :`);
    }
  },
);

flavourTest(
  "a foreign interface that has taken the attachment's name is left, and nothing of the attachment stays",
  async (world, podwire) => {
    await bridgeNetwork(world, "masked", { number: 2, more: { ipMasq: true } });
    const away = "ip link set eth0 down && ip link set eth0 name mine";
    const elsewhere = await world.netns("elsewhere");
    const tricks = [
      `${away} && ip link add eth0 type bridge`,
      `${away} && ip link add eth0 type veth peer name other`,
      `ip link set eth0 netns ${elsewhere} && ip link add eth0 type bridge`,
      "ip link delete eth0 && ip tuntap add eth0 mode tap",
    ];
    for (const [number, trick] of tricks.entries()) {
      const netns = await world.netns(`n${number}`);
      const request = requestOf(world, netns);
      await podwire.add("masked", request);
      await sh(trick, netns);
      const decoy = (await linksOf(netns)).filter((link) => / (?:eth0|other) /.test(link));
      await podwire.del("masked", request);
      assertEquals((await linksOf(netns)).slice(1), decoy, trick);
      assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
      assertEquals(await heldAddresses(world, "masked"), []);
      assertEquals(await masqueradeRules(request.containerId), []);
      assertEquals(await podwire.attachments(), []);
    }
  },
);

flavourTest(
  "undoing an ADD on an existing interface keeps that interface",
  async (world, podwire) => {
    const netns = await world.netns("pod");
    await sh("ip link add eth0 type bridge", netns);
    const bridge = { type: "bridge", bridge: world.bridge };
    const plugins = [{ type: "loopback", ipam: {} }, bridge];
    const list = { cniVersion: "1.0.0", name: "odd", plugins };
    await Deno.writeTextFile(`${world.dir}/conf/odd.conflist`, JSON.stringify(list));
    const before = await linksOf(netns);
    await assertRejects(() => podwire.add("odd", requestOf(world, netns)), CniError);
    assertEquals(await linksOf(netns), before);
    assertEquals(await podwire.attachments(), []);
  },
);
