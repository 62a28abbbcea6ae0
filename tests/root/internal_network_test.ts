// An internal network whose ports are published all the same: by traffic.
import { assert, assertEquals } from "@std/assert";
import { onMachine } from "./embedded_world.ts";
import { PeerServer, seenAs, seenOnce } from "./plugins_traffic.ts";
import { sh } from "./builtin_world.ts";

const OUTSIDE = ["192.0.2.2", "2001:db8::2"] as const;

onMachine(
  "U87 the ports of an internal network are reached from the host, and none of its packets leaves the host",
  async (machine) => {
    const { world } = machine;
    await world.sh("ip route replace default via 192.0.2.2; ip -6 route replace default via 2001:db8::2");
    const create = ["network", "create", "inner", "--internal", "--ipv6"];
    assertEquals((await machine.podwire([...create, "--publishable"])).code, 0);
    const { netns, ips } = JSON.parse(await machine.run("web", "--network", "inner", "--publish", "8080:80"));
    const { netns: other } = JSON.parse(await machine.run("two", "--network", "inner"));
    await sh(
      `nft add table inet seen && nft 'add chain inet seen in { type filter hook prerouting priority -400 ; }' &&
      ${
        ips.map((ip: string) =>
          `nft add rule inet seen in ${ip.includes(":") ? "ip6" : "ip"} saddr ${ip} counter`
        ).join(" && ")
      }`,
      world.outside,
    );
    await using _server = await PeerServer.start(netns, 80);
    await using _outside = await PeerServer.start(world.outside, 53);
    assert(await seenAs(world.outside, "192.0.2.1", 8080) !== undefined);
    // From the host by its own addresses, and by those of the pod; from a neighbour by both.
    for (const address of ["127.0.0.1", "192.0.2.1", "2001:db8::1", ...ips]) {
      const port = ips.includes(address) ? 80 : 8080;
      assert(await seenAs(world.node, address, port) !== undefined, address);
    }
    for (const address of ips) assert(await seenAs(other, address, 80) !== undefined, address);
    for (const address of OUTSIDE) {
      assert(await seenAs(world.node, address, 53) !== undefined);
      assertEquals(await seenOnce(netns, address, 53), undefined);
      // Behind what the pod may have sent: the host reaches the same server again.
      assert(await seenOnce(world.node, address, 53) !== undefined);
    }
    const seen = await sh("nft list chain inet seen in", world.outside);
    assertEquals(Array.from(seen.matchAll(/packets (\d+)/g), ([, count]) => count), ["0", "0"]);
    assertEquals((await machine.podwire(["rm", "-f", "web", "two"])).code, 0);
    // Without --publishable there is nothing that would publish a port.
    assertEquals((await machine.podwire(["network", "create", "closed", "--internal"])).code, 0);
    const refused = await machine.podwire(["run", "no", "--network", "closed", "--publish", "8080:80"]);
    assert(refused.code !== 0 && refused.stderr.includes("closed"), refused.stderr);
  },
);
