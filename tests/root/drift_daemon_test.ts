// What the daemon does by itself when the machine loses what it does for sandboxes.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { BACKENDS, DriftWorld } from "./drift_world.ts";
import { EchoServer, EchoStream } from "./echo_stream.ts";
import { EventReader } from "./event_reader.ts";
import { until } from "../until.ts";
import { need } from "./need.ts";

const NEEDED = need("root", "binary", "ip", "iptables", "nft");

const metricOf = (text: string, name: string) =>
  Number(text.split("\n").find((line) => line.startsWith(`${name} `))?.split(" ").at(-1) ?? NaN);

for (const backend of BACKENDS) {
  Deno.test({
    name: `U94 the daemon puts flushed rules back by itself, once, and connections go on: ${backend}`,
    ...NEEDED,
    fn: async () => {
      await using world = await DriftWorld.make(backend);
      await using daemon = await world.daemon();
      const made = await daemon.call("POST", "/v1/sandboxes", { name: "web", publish: ["8080:80"] });
      assertEquals(made.status, 201, made.text);
      const { netns, id } = made.json;
      const rules = await world.rules();
      using events = await EventReader.open(daemon);
      await using _server = await EchoServer.start(netns, "0.0.0.0", 80);
      await using stream = await EchoStream.open(world.outside, "192.0.2.1", 8080);
      const flushes = backend === "iptables"
        ? ["nft flush ruleset", "iptables -w -t nat -F", "ip6tables -w -F"]
        : ["nft flush ruleset", "nft delete table ip cni_hostport", "nft delete table inet podwire_firewall"];
      for (const flush of flushes) {
        await world.machine.sh(flush);
        const event = await events.next(
          "repaired",
          ({ type, state }) => type === "drift" && state === "repaired",
        );
        assertEquals([event.containerId, event.network, event.ifName], [id, "net", "eth0"], flush);
        assert(event.why !== "", flush);
        assertEquals(await world.rules(), rules, flush);
        await stream.say(flush);
        assertEquals((await daemon.call("POST", `/v1/sandboxes/${id}/check`)).json.reason, null, flush);
      }
      const metrics = (await daemon.call("GET", "/metrics")).text;
      assertEquals(metricOf(metrics, 'podwire_attachment_drifts_total{state="repaired"}'), flushes.length);
      assertEquals(metricOf(metrics, "podwire_attachments_drifted"), 0);
      // Its own writes woke it, and it found nothing to do.
      const log = await daemon.end();
      assertEquals(log.filter(({ msg }) => msg === "lost rules were put back").length, flushes.length);
    },
  });
}

Deno.test({
  name: "with --no-repair the daemon only reports lost rules, and says so when a repair has put them back",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    await using daemon = await world.daemon("--no-repair");
    const { json: { id } } = await daemon.call("POST", "/v1/sandboxes", { name: "web" });
    using events = await EventReader.open(daemon);
    await world.machine.sh("nft flush ruleset");
    const drifted = await events.next(
      "drifted",
      ({ type, state }) => type === "drift" && state === "drifted",
    );
    assertEquals([drifted.containerId, drifted.network, drifted.ifName], [id, "net", "eth0"]);
    assertMatch(drifted.why, /no rules of nftables masquerade/);
    assertEquals(await world.machine.sh("nft list ruleset"), "");
    const [status] = (await daemon.call("GET", "/v1/status")).json;
    assertMatch(status.warnings.join(), /an attachment has drifted \(/);
    assertEquals(metricOf((await daemon.call("GET", "/metrics")).text, "podwire_attachments_drifted"), 1);
    const repaired = await daemon.call("POST", `/v1/sandboxes/${id}/repair`, {});
    assertEquals(repaired.status, 200, repaired.text);
    assertEquals(
      repaired.json.repaired.map((
        { kind, network, ifName }: Record<string, string>,
      ) => [kind, network, ifName]),
      [["rules", "net", "eth0"]],
    );
    await events.next("well", ({ type, state }) => type === "drift" && state === "well");
  },
});

Deno.test({
  name: "forwarding that is switched off is reported, and not switched on by the daemon",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    await using daemon = await world.daemon();
    await daemon.call("POST", "/v1/sandboxes", { name: "web" });
    using events = await EventReader.open(daemon);
    await world.machine.sh("sysctl -qw net.ipv4.ip_forward=0");
    const { why } = await events.next(
      "drifted",
      ({ type, state }) => type === "drift" && state === "drifted",
    );
    assertStringIncludes(why, 'the kernel parameter "net/ipv4/ip_forward" is 0, not 1');
    assertEquals(await world.machine.sh("sysctl -n net.ipv4.ip_forward"), "0\n");
    await world.machine.sh("sysctl -qw net.ipv4.ip_forward=1");
    await events.next("well", ({ type, state }) => type === "drift" && state === "well");
  },
});

Deno.test({
  name: "a bridge, a port or an address of the host that is gone is reported soon after",
  ...NEEDED,
  fn: async () => {
    const losses: readonly (readonly [script: string, says: RegExp])[] = [
      ["ip addr del 10.33.0.1/24 dev br-net", /bridge "br-net" does not have the address 10\.33\.0\.1\/24/],
      [
        "ip link set $(ip -o link show master br-net | sed 's/^[0-9]*: \\([^@]*\\)@.*/\\1/') down",
        /interface "veth[0-9a-f]+" is down/,
      ],
      ["ip link del br-net", /interface "br-net" is not there any more/],
    ];
    for (const [script, says] of losses) {
      await using world = await DriftWorld.make("nftables");
      await using daemon = await world.daemon();
      await daemon.call("POST", "/v1/sandboxes", { name: "web" });
      using events = await EventReader.open(daemon);
      await world.machine.sh(script);
      const { why } = await events.next(
        "drifted",
        ({ type, state }) => type === "drift" && state === "drifted",
      );
      assertMatch(why, says, script);
    }
  },
});

Deno.test({
  name:
    "with --check-interval plugins on disk are asked too: an attachment that has drifted is reported, and when it is well again",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("nftables");
    const refusal = { stdout: '{"code": 109, "msg": "the agent lost it"}', code: 1 };
    const plugin = await world.own.network("disk", { CHECK: refusal });
    await using daemon = await world.daemon("--check-interval=1s");
    using events = await EventReader.open(daemon);
    const body = { name: "web", networks: [{ name: "disk" }] };
    const { json: { id } } = await daemon.call("POST", "/v1/sandboxes", body);
    const drifted = await events.next(
      "drifted",
      ({ type, state }) => type === "drift" && state === "drifted",
    );
    assertEquals([drifted.containerId, drifted.network], [id, "disk"]);
    assertStringIncludes(drifted.why, "the agent lost it");
    await plugin.answer("CHECK", { stdout: "" });
    await events.next("well", ({ type, state }) => type === "drift" && state === "well");
  },
});

Deno.test({
  name: "a flush while the daemon is down is repaired when it starts",
  ...NEEDED,
  fn: async () => {
    await using world = await DriftWorld.make("iptables");
    const { sandboxes } = world.podwire();
    await sandboxes.run({ id: world.own.id("web"), name: "web", networks: [{ name: "net" }] });
    const rules = await world.rules();
    await world.machine.sh("nft flush ruleset");
    await using daemon = await world.daemon();
    // It serves at once; the rules come a moment later.
    await until(async () => (await world.rules()).join() === rules.join(), "the rules come back");
    const log = await daemon.end();
    assertEquals(log.filter(({ msg }) => msg === "lost rules were put back").length, 1);
  },
});
