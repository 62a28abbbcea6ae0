// The embedded network on machines of all kinds, each a network namespace of its own.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { onMachine } from "./embedded_world.ts";
import { PeerServer, seenAs, seenOnce } from "./plugins_traffic.ts";

onMachine(
  "a bare machine publishes a port, masquerades, and is as before when the pod is gone",
  async (machine) => {
    const { world } = machine;
    const before = await world.sh("nft list ruleset; ip -br link; ip route");
    const { netns, ips } = JSON.parse(
      await machine.run("web", "--publish", "8080:80", "--dns", "192.0.2.53"),
    );
    await using _server = await PeerServer.start(netns, 80);
    await using _outside = await PeerServer.start(world.outside, 81);
    // From outside through the host, from the host itself, and from the pod through its own published port.
    assertEquals(await seenAs(world.outside, "192.0.2.1", 8080), "192.0.2.2");
    assert(await seenAs(world.node, "127.0.0.1", 8080) !== undefined);
    assert(await seenAs(netns, "192.0.2.1", 8080) !== undefined);
    assertEquals(await seenAs(netns, "192.0.2.2", 81), "192.0.2.1");
    assertEquals(await seenAs(netns, "2001:db8::2", 81), "2001:db8::1");
    assertEquals(ips.length, 2);
    const check = await machine.podwire(["check", "web"]);
    assertEquals([check.code, check.stderr], [0, ""]);
    assertEquals((await machine.podwire(["rm", "web"])).code, 0);
    const chains = (text: string) => text.replaceAll(/(?:table|chain) .*|\s*type .*|[{}\s]/g, "");
    const after = await world.sh("nft list ruleset; ip -br link; ip route");
    assert(!chains(after).includes("10.209."), after);
    assertEquals(after.includes("pw0"), before.includes("pw0"));
  },
);

onMachine(
  "a machine that stops forwarded packets, as Docker does, lets those of its pods pass",
  async (machine) => {
    const { world } = machine;
    await world.sh("iptables -P FORWARD DROP && ip6tables -P FORWARD DROP");
    const { netns, ips: [address = ""] } = JSON.parse(await machine.run("web", "--publish", "8080:80"));
    await using _server = await PeerServer.start(netns, 80);
    await using _outside = await PeerServer.start(world.outside, 81);
    assertEquals(await seenAs(world.outside, "192.0.2.1", 8080), "192.0.2.2");
    assertEquals(await seenAs(netns, "192.0.2.2", 81), "192.0.2.1");
    // Connections that are not asked for stay out.
    await world.sh(`ip route add 10.209.0.0/16 via 192.0.2.1`, world.outside);
    assertEquals(await seenOnce(world.outside, address, 80), undefined);
  },
);

onMachine(
  "U91 a route that overlaps moves the network, once and for all, and the user is warned once",
  async (machine) => {
    const { world } = machine;
    await world.sh("ip route add 10.209.0.0/17 via 192.0.2.2 && ip route add fd50:7704::/32 via 2001:db8::2");
    const first = await machine.podwire(["run", "one", "--json"]);
    assertEquals(first.code, 0, first.stderr);
    assertStringIncludes(
      first.stderr,
      "the embedded network uses 10.200.0.0/16, because 10.209.0.0/16 overlaps with 10.209.0.0/17, the route through up0",
    );
    const [four, six] = JSON.parse(first.stdout).ips;
    assertMatch(four, /^10\.200\.0\./);
    // A wider route does not move it.
    assertMatch(six, /^fd50:7704::/);
    // The route goes; the network stays where its pods are.
    await world.sh("ip route del 10.209.0.0/17");
    const second = await machine.podwire(["run", "two", "--json"]);
    assertEquals([second.code, second.stderr], [0, ""]);
    assertMatch(JSON.parse(second.stdout).ips[0], /^10\.200\.0\./);
    const shown = await machine.podwire(["network", "inspect", "podwire"]);
    assertStringIncludes(shown.stdout, "10.200.0.0/16");
    const inTheWay = await machine.podwire(["network", "create", "back", "--subnet", "10.200.7.0/24"]);
    assertStringIncludes(inTheWay.stderr, "10.200.7.0/24 overlaps with 10.200.0.0/16, the embedded network");
    for (const name of ["one", "two"]) assertEquals((await machine.podwire(["rm", name])).code, 0);
  },
);

onMachine(
  "without nft and iptables the network is not ready, a pod is refused, and nothing is left",
  async (machine) => {
    const { world } = machine;
    // That is where both are.
    machine.files = "mount -t tmpfs none /usr/sbin";
    const status = await machine.podwire(["status"]);
    assertEquals(status.code, 6, status.stdout);
    assertStringIncludes(status.stdout + status.stderr, "neither iptables nor nftables works here");
    const run = await machine.podwire(["run", "web"]);
    assertEquals(run.code, 1, run.stderr);
    assertStringIncludes(run.stderr, "neither iptables nor nftables works here");
    assertEquals((await machine.podwire(["ps", "-q"])).stdout, "");
    assert(!(await world.sh("ip -br link")).includes("pw0"));
  },
);

onMachine(
  "pods of it and of an isolated network reach only published ports of each other, in both families",
  async (machine) => {
    assertEquals((await machine.podwire(["network", "create", "back", "--isolate", "--ipv6"])).code, 0);
    const web = JSON.parse(await machine.run("web", "--publish", "8080:80"));
    const other = JSON.parse(await machine.run("other", "--network", "back", "--publish", "8081:80"));
    const same = JSON.parse(await machine.run("same"));
    await using _web = await PeerServer.start(web.netns, 80);
    await using _other = await PeerServer.start(other.netns, 80);
    for (const [family, host] of ["192.0.2.1", "2001:db8::1"].entries()) {
      assertEquals(await seenAs(same.netns, web.ips[family], 80), same.ips[family]);
      assertEquals(await seenOnce(other.netns, web.ips[family], 80), undefined);
      assertEquals(await seenOnce(web.netns, other.ips[family], 80), undefined);
      assert(await seenAs(other.netns, host, 8080) !== undefined);
      assert(await seenAs(web.netns, host, 8081) !== undefined);
    }
  },
);

onMachine(
  "U2 a machine keeps the default route that a router advertises when it begins to forward",
  async (machine) => {
    const { world } = machine;
    const acceptRa = "/proc/sys/net/ipv6/conf/up0/accept_ra";
    await world.sh(
      `sysctl -wq net.ipv6.conf.all.forwarding=0 && echo 1 >${acceptRa} &&
    ip -6 route add default via fe80::1 dev up0 proto ra`,
    );
    await machine.run("web");
    assertEquals(await world.sh(`cat /proc/sys/net/ipv6/conf/all/forwarding ${acceptRa}`), "1\n2\n");
    assertStringIncludes(await world.sh("ip -6 route show default"), "via fe80::1 dev up0 proto ra");
    // A value that the administrator has chosen stays.
    await world.sh(`sysctl -wq net.ipv6.conf.all.forwarding=0 && echo 0 >${acceptRa}`);
    await machine.run("two");
    assertEquals(await world.sh(`cat /proc/sys/net/ipv6/conf/all/forwarding ${acceptRa}`), "1\n0\n");
  },
);
