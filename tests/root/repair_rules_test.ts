// Rules of attachments that a flush or a reload of the firewall takes away, and how they come back.
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { sh } from "./builtin_world.ts";
import { type Backend, BACKENDS, DriftWorld, networkOf } from "./drift_world.ts";
import { EchoServer, EchoStream } from "./echo_stream.ts";
import { need } from "./need.ts";

const NEEDED = need("root", "ip", "iptables", "nft");
const PORTS = ["8080:80", "8081:81/udp", "9000-9009:9000-9009", "[2001:db8::1]:8443:443"];

/** What takes rules away, by back end. */
const FLUSHES: Readonly<Record<Backend, readonly string[]>> = {
  iptables: [
    "nft flush ruleset",
    "for each in iptables ip6tables; do for table in nat filter; do $each -w -t $table -F; done; done",
    "iptables -w -t nat -F POSTROUTING",
    "iptables -w -t nat -F CNI-HOSTPORT-DNAT",
    "ip6tables -w -t nat -F; ip6tables -w -t nat -X",
    "iptables -w -F CNI-FORWARD",
    "iptables -w -F CNI-ISOLATION-STAGE-1; ip6tables -w -F CNI-ISOLATION-STAGE-2",
    "iptables -w -F; iptables -w -X",
    "nft delete table bridge nat",
  ],
  nftables: [
    "nft flush ruleset",
    "nft delete table inet cni_plugins_masquerade",
    "nft flush chain inet cni_plugins_masquerade postrouting",
    "nft delete table ip cni_hostport",
    "nft flush chain ip6 cni_hostport masquerading",
    "nft flush chain ip cni_hostport prerouting",
    "nft delete table inet podwire_firewall",
    "nft delete table bridge nat",
  ],
};

for (const backend of BACKENDS) {
  Deno.test({
    name: `U94 what was flushed is seen, and is back as it was, once, after a repair: ${backend}`,
    ...NEEDED,
    fn: async () => {
      await using world = await DriftWorld.make(backend);
      const { sandboxes } = world.podwire();
      for (const [index, name] of ["one", "two"].entries()) {
        const publish = index === 0 ? PORTS : [];
        await sandboxes.run({ id: world.own.id(name), name, networks: [{ name: "net", publish }] });
      }
      const rules = await world.rules();
      world.changes.length = 0;
      assertEquals(await sandboxes.repair(), { repaired: [], kept: [] });
      assertEquals(world.changes, [], "nothing is lost");
      for (const flush of FLUSHES[backend]) {
        await world.machine.sh(flush);
        const { ready, reason } = await sandboxes.check("one");
        assertEquals(ready, false, flush);
        assertMatch(reason ?? "", /^Cannot CHECK network "net", plugin "(bridge|portmap|firewall)"/, flush);
        const [{ ready: isReady, warnings = [] } = { ready: false }] = await world.podwire().status("net");
        assertEquals(isReady, true, flush);
        assertMatch(warnings.join("; "), /drifted \(.*podwire repair/, flush);
        const planned = await sandboxes.repair({ dryRun: true });
        assertEquals(world.changes, [], `a dry run changes nothing: ${flush}`);
        const { repaired, kept } = await sandboxes.repair();
        assertEquals(kept, [], flush);
        assert(repaired.length > 0, flush);
        assertEquals(repaired, planned.repaired, flush);
        assertEquals([
          ...new Set(repaired.map(({ kind, network, ifName }) => `${kind} ${network}:${ifName}`)),
        ], [
          "rules net:eth0",
        ]);
        assertEquals(await world.rules(), rules, flush);
        assertEquals((await world.podwire().status("net")).map(({ warnings }) => warnings), [[]], flush);
        for (const name of ["one", "two"]) {
          assertEquals((await sandboxes.check(name)).reason, undefined, flush);
        }
        // One for nftables, and one for each family of iptables.
        const programs = world.changes.map(({ program }) => program);
        assertEquals(programs.length, new Set(programs).size, `${flush}: ${programs}`);
        world.changes.length = 0;
        assertEquals(await sandboxes.repair(), { repaired: [], kept: [] });
        assertEquals(world.changes, [], `a second repair changes nothing: ${flush}`);
      }
    },
  });

  Deno.test({
    name:
      `U95 a TCP connection goes on while the rules are lost and repaired, and a new one is possible: ${backend}`,
    ...NEEDED,
    fn: async () => {
      await using world = await DriftWorld.make(backend);
      const { sandboxes } = world.podwire();
      const id = world.own.id("web");
      const { netns, ips } = await sandboxes.run({
        id,
        name: "web",
        networks: [{ name: "net", publish: ["8080:80"] }],
      });
      const before = await sandboxes.check("web");
      const [address = ""] = ips;
      await using _inside = await EchoServer.start(netns, "0.0.0.0", 80);
      await using _outside = await EchoServer.start(world.outside, "192.0.2.2", 7000);
      await using published = await EchoStream.open(world.outside, "192.0.2.1", 8080);
      await using masqueraded = await EchoStream.open(netns, "192.0.2.2", 7000);
      await world.machine.sh("nft flush ruleset");
      assertEquals((await sandboxes.repair()).repaired.length, 1);
      for (const stream of [published, masqueraded]) await stream.say("after the repair");
      {
        await using again = await EchoStream.open(world.outside, "192.0.2.1", 8080);
        await using out = await EchoStream.open(netns, "192.0.2.2", 7000);
        for (const stream of [again, out]) await stream.say("new");
      }
      const after = await sandboxes.check("web");
      assertEquals(after.networks.map(({ link }) => link), before.networks.map(({ link }) => link));
      assertEquals((await sandboxes.get("web")).ips[0], address);
    },
  });
}

/** So many ports that no two of them are one range. */
function scatteredPorts(first: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${first + 2 * index}:${1_000 + index}`);
}

for (const backend of BACKENDS) {
  Deno.test({
    name: `a flush of the rules of 1,000 ports of four pods is repaired in one transaction: ${backend}`,
    ...NEEDED,
    fn: async () => {
      await using world = await DriftWorld.make(backend);
      const { sandboxes } = world.podwire();
      for (let index = 0; index < 4; index++) {
        const publish = scatteredPorts(10_000 + 500 * index, 250);
        const name = `p${index}`;
        await sandboxes.run({ id: world.own.id(name), name, networks: [{ name: "net", publish }] });
      }
      const rules = await world.rules();
      await world.machine.sh("nft flush ruleset");
      world.changes.length = 0;
      const { repaired } = await sandboxes.repair();
      assertEquals(repaired.length, 4);
      // The rules against forged MAC addresses are in nftables in any case.
      const programs = backend === "nftables" ? ["nft"] : ["ip6tables-restore", "iptables-restore", "nft"];
      assertEquals(world.changes.map(({ program }) => program).sort(), programs);
      const ports = world.changes.flatMap(({ lines }) => lines).filter((line) =>
        /dnat to|DNAT --to/.test(line)
      );
      assertEquals(ports.length, 2_000, "both families");
      assertEquals(await world.rules(), rules);
    },
  });
}

Deno.test({
  name: "a repair makes the host forward again, and names the kernel parameter",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ id: world.own.id("web"), name: "web", networks: [{ name: "net" }] });
    await world.machine.sh("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0");
    const { repaired } = await sandboxes.repair({ sandbox: "web" });
    assertEquals(repaired.map(({ why }) => why), [
      'the kernel parameter "net/ipv4/ip_forward" is 0, not 1: nothing is forwarded',
    ]);
    assertEquals((await sandboxes.check("web")).reason, undefined);
    const values = await world.machine.sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding");
    assertEquals(values, "1\n1\n");
  },
});

Deno.test({
  name:
    "a port of the bridge that has lost its hairpin mode gets it back, the one of another link with its name does not",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ id: world.own.id("web"), name: "web", networks: [{ name: "net" }] });
    const listed = await world.machine.sh("ip -o link show master br-net");
    const port = /^\d+: ([^@]+)@/.exec(listed)?.[1] ?? "";
    const flag = async () => /hairpin (on|off)/.exec(await world.machine.sh(`ip -d link show ${port}`))?.[1];
    assertEquals(await flag(), "on");
    await world.machine.sh(`ip link set ${port} type bridge_slave hairpin off`);
    const { reason } = await sandboxes.check("web");
    assertMatch(reason ?? "", /bridge port "veth[0-9a-f]+" is not in hairpin mode/);
    assertEquals((await sandboxes.repair({ dryRun: true })).repaired.length, 1);
    assertEquals(await flag(), "off");
    const { repaired, kept } = await sandboxes.repair();
    assertEquals(repaired.map(({ why }) => why), [`bridge port "${port}" is not in hairpin mode`]);
    assertEquals([kept, await flag(), (await sandboxes.check("web")).reason], [[], "on", undefined]);
    await world.machine.sh(
      `ip link set ${port} alias other; ip link set ${port} type bridge_slave hairpin off`,
    );
    assertEquals(await sandboxes.repair(), { repaired: [], kept: [] });
    assertEquals(await flag(), "off");
  },
});

Deno.test({
  name: "rules of a sandbox that is stopped, or whose namespace is gone, do not come back",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    const { sandboxes } = world.podwire();
    for (const name of ["stopped", "gone"]) {
      await sandboxes.run({ id: world.own.id(name), name, networks: [{ name: "net" }] });
    }
    await sandboxes.stop("stopped");
    await world.own.sh(`umount ${(await sandboxes.get("gone")).netns}`);
    await world.machine.sh("nft flush ruleset");
    assertEquals(await sandboxes.repair(), { repaired: [], kept: [] });
    assertEquals(await world.machine.sh("nft list ruleset"), "");
  },
});

Deno.test({
  name:
    "with links an attachment that lost its bridge, its interface, an address or a route is made anew with its addresses",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    const { sandboxes } = world.podwire();
    const run = (name: string, publish: readonly string[]) =>
      sandboxes.run({ id: world.own.id(name), name, networks: [{ name: "net", publish: [...publish] }] });
    const { netns, ips } = await run("web", ["8080:80"]);
    await run("other", []);
    await using _server = await EchoServer.start(netns, "0.0.0.0", 80);
    const losses: readonly (readonly [script: string, where: string | undefined])[] = [
      ["ip link del br-net", undefined],
      ["ip link del eth0", netns],
      ["ip addr del 10.33.0.2/24 dev eth0", netns],
      ["ip -6 route del default", netns],
    ];
    for (const [script, where] of losses) {
      await (where === undefined ? world.machine.sh(script) : sh(script, where));
      const rulesOnly = await sandboxes.repair();
      assertEquals(
        [...rulesOnly.repaired, ...rulesOnly.kept].filter(({ kind }) => kind === "links"),
        [],
        script,
      );
      assertEquals((await sandboxes.check("web")).ready, false, script);
      const planned = await sandboxes.repair({ dryRun: true, links: true });
      assertEquals((await sandboxes.check("web")).ready, false, script);
      const { repaired, kept } = await sandboxes.repair({ links: true });
      const idsOf = (items: readonly { readonly containerId: string }[]) =>
        items.map((item) => item.containerId);
      assertEquals([idsOf(repaired), kept], [idsOf(planned.repaired), []], script);
      assert(repaired.length > 0 && repaired.every(({ kind }) => kind === "links"), script);
      for (const name of ["web", "other"]) {
        assertEquals((await sandboxes.check(name)).reason, undefined, script);
      }
      assertEquals((await sandboxes.get("web")).ips, ips, script);
      await using stream = await EchoStream.open(world.outside, "192.0.2.1", 8080);
      await stream.say(script);
      assertEquals(await sandboxes.repair({ links: true }), { repaired: [], kept: [] }, script);
    }
  },
});

Deno.test({
  name: "an attachment that could not get its addresses again is left as it is, and the reason is said",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    const list = networkOf("nftables", "plain");
    const [bridge, ...more] = list.plugins as readonly JsonObject[];
    await world.network({ ...list, plugins: [{ ...bridge, capabilities: {} }, ...more] });
    const { sandboxes } = world.podwire();
    const { netns } = await sandboxes.run({
      id: world.own.id("web"),
      name: "web",
      networks: [{ name: "plain" }],
    });
    await sh("ip addr del 10.33.0.2/24 dev eth0", netns);
    const { repaired, kept } = await sandboxes.repair({ sandbox: "web", links: true });
    assertEquals(repaired, []);
    assertMatch(
      kept[0]?.why ?? "",
      /does not have the address .*Cannot ask the network "plain" for the same addresses/,
    );
    assertEquals((await sandboxes.get("web")).networks.length, 1);
    assertMatch(await sh("ip link show eth0", netns), /eth0/);
  },
});

Deno.test({
  name:
    "U97 U98 a sandbox is removed after a flush as if nothing was lost, and the shared rules go with the last one",
  ...NEEDED,
  fn: async () => {
    for (const backend of BACKENDS) {
      await using world = await DriftWorld.make(backend);
      const { sandboxes } = world.podwire();
      const names = ["one", "two", "three"];
      for (const [index, name] of names.entries()) {
        const publish = [`${8080 + index}:80`];
        await sandboxes.run({ id: world.own.id(name), name, networks: [{ name: "net", publish }] });
      }
      await world.machine.sh("nft flush ruleset");
      assertEquals(await sandboxes.remove("one"), []);
      await sandboxes.repair();
      for (const name of ["two", "three"]) assertEquals((await sandboxes.check(name)).reason, undefined);
      assertEquals(await sandboxes.remove("two"), []);
      assertEquals((await sandboxes.check("three")).reason, undefined, "the shared rules are there");
      await world.machine.sh("nft flush ruleset");
      assertEquals(await sandboxes.remove("three"), []);
    }
  },
});
