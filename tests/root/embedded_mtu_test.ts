// The MTU of the embedded network: that of the way out, shown, set, and compared with what the way out takes later.
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DaemonClient } from "../../lib/daemon/client.ts";
import { onMachine } from "./embedded_world.ts";

/** What sets the MTU of the machine's way out, in the family that has a default route. */
const WAYS_OUT = {
  "IPv4": "ip route add default via 192.0.2.2",
  "IPv6": "ip -6 route add default via 2001:db8::2",
  "either family, the smaller one": "ip route add default via 192.0.2.2 dev up0 && " +
    "ip link add wide0 type dummy 2>/dev/null || ip link add wide0 type bridge; ip link set wide0 up mtu 1500 && " +
    "ip -6 route add default dev wide0",
};

for (const [family, script] of Object.entries(WAYS_OUT)) {
  onMachine(`the MTU of the pods is that of the way out: the default route of ${family}`, async (machine) => {
    const { world } = machine;
    await world.sh(`ip link set up0 mtu 1400 && ${script}`);
    const { netns } = JSON.parse(await machine.run("web"));
    assertEquals((await world.links(netns)).get("eth0")?.mtu, 1400);
    assertEquals((await world.link("pw0", world.node)).mtu, 1400);
    assertEquals((await machine.network()).mtu, 1400);
    assertMatch((await machine.podwire(["network", "ls"])).stdout, /^podwire +bridge +\S+ +1400 /m);
    assertMatch((await machine.podwire(["network", "inspect", "podwire"])).stdout, /^mtu +1400$/m);
    assertEquals(await machine.warnings(), []);
  });
}

onMachine(
  "U92 a way out that becomes narrower is a warning of the status, in every form, until the pods are new",
  async (machine) => {
    const { world } = machine;
    await world.sh("ip route add default via 192.0.2.2");
    await machine.run("old");
    assertEquals(await machine.warnings(), []);
    await world.sh("ip link set up0 mtu 1420");
    const warning = 'the MTU of its containers is 1500, but "up0", through which the default route leads, ' +
      "takes 1420 only: podwire network set podwire --mtu 1420 is for new containers";
    assertEquals(await machine.warnings(), [warning]);
    const text = await machine.podwire(["status"]);
    assertEquals([text.code, text.stdout.includes(`warning: ${warning}`)], [0, true], text.stdout);
    const one = await machine.podwire(["status", "podwire"]);
    assertEquals([one.code, one.stdout, one.stderr], [0, "", `warn: ${warning}\n`]);
    // Those that come meanwhile agree with those that are there.
    const { netns } = JSON.parse(await machine.run("new"));
    assertEquals((await world.links(netns)).get("eth0")?.mtu, 1500);
    const set = await machine.podwire(["network", "set", "podwire", "--mtu", "1420"]);
    assertEquals([set.code, set.stderr], [0, ""]);
    assertMatch(set.stdout, /^mtu +1420$/m);
    // The old ones are still there.
    assertEquals(await machine.warnings(), [warning]);
    for (const name of ["old", "new"]) {
      assertEquals((await machine.podwire(["rm", name])).code, 0);
      const again = JSON.parse(await machine.run(name));
      assertEquals((await world.links(again.netns)).get("eth0")?.mtu, 1420);
      assertEquals((await machine.podwire(["check", name])).code, 0);
    }
    assertEquals(await machine.warnings(), []);
    assertEquals((await world.link("pw0", world.node)).mtu, 1420);
  },
);

onMachine("U92 an MTU that was set is kept on the machine until it is the default again", async (machine) => {
  const { world } = machine;
  await world.sh("ip route add default via 192.0.2.2");
  const set = (...args: string[]) => machine.podwire(["network", "set", ...args]);
  assertEquals((await set("podwire", "--mtu", "1300")).code, 0);
  for (const name of ["one", "two"]) {
    const { netns } = JSON.parse(await machine.run(name));
    assertEquals((await world.links(netns)).get("eth0")?.mtu, 1300);
    assertEquals((await machine.podwire(["rm", name])).code, 0);
  }
  const refused = await set("podwire", "--mtu", "1279");
  assertEquals(refused.code, 2);
  assertStringIncludes(refused.stderr, "mtu: 1279 is not a whole number from 1280 to 65535");
  assertEquals((await machine.network()).mtu, 1300);
  assertEquals((await machine.podwire(["network", "create", "back", "--mtu", "1400"])).code, 0);
  const other = await set("back", "--mtu", "1300");
  assertEquals(other.code, 2);
  assertStringIncludes(other.stderr, 'Cannot set the MTU of the network "back": its file says it');
  assertStringIncludes(other.stderr, "back.conflist");
  assertEquals((await set("none", "--mtu", "1300")).code, 3);
  assertEquals((await set("podwire", "--mtu", "default")).code, 0);
  assertEquals((await machine.network()).mtu, 1500);
});

onMachine("U91 a route that comes later and overlaps is a warning of the status", async (machine) => {
  const { world } = machine;
  await machine.run("web");
  await world.sh("ip route add 10.209.8.0/24 via 192.0.2.2 && ip route add 10.0.0.0/8 via 192.0.2.2");
  assertEquals(await machine.warnings(), [
    "its subnet 10.209.0.0/16 overlaps with 10.209.8.0/24, the route through up0",
  ]);
});

onMachine(
  "the daemon says and sets the MTU, and an event says that the way out is narrower",
  async (machine) => {
    const { world } = machine;
    await world.sh("ip route add default via 192.0.2.2");
    await machine.run("web");
    await using daemon = await machine.serve();
    const client = new DaemonClient(daemon.socket);
    const stop = new AbortController();
    const events = client.events({ signal: stop.signal });
    const next = events.next();
    assertEquals((await client.inspectNetwork("podwire")).mtu, 1500);
    await world.sh("ip link set up0 mtu 1400");
    const status = async () => (await daemon.call("GET", "/v1/status?network=podwire&fresh=true")).json[0];
    const { ready, warnings: [warning] } = await status();
    assertEquals(ready, true);
    assertStringIncludes(warning, "podwire network set podwire --mtu 1400");
    let event = (await next).value;
    while (event?.type !== "status" || event.status.warnings === undefined) {
      event = (await events.next()).value;
    }
    assertEquals(event.status.warnings, [warning]);
    stop.abort();
    assertEquals((await client.setNetwork("podwire", { mtu: 1400 })).mtu, 1400);
    const { netns } = await client.run({ name: "new" });
    assertEquals((await world.links(netns)).get("eth0")?.mtu, 1400);
    for (const name of ["new", "web"]) await client.remove(name);
    assertEquals((await status()).warnings, undefined);
    assertEquals((await client.setNetwork("podwire", { mtu: null })).mtu, 1400);
  },
);
