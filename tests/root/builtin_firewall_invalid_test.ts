// Packets without a known connection: nothing masquerades them, so they would leave with the address of the pod.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { assertDone, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { Machine, pathWithout } from "./firewall_world.ts";
import { need } from "./need.ts";
import { PeerServer, seenAs } from "./plugins_traffic.ts";

const PORT = 8080;
const OUTSIDE = ["192.0.2.2", "2001:db8::2"] as const;

/** A machine whose uplink leads to another one, which counts the packets from the network of the pods. */
async function makeNode(world: World, path?: string): Promise<{ machine: Machine; outside: string }> {
  const machine = await Machine.make(world, "node", path);
  const outside = await world.netns("outside");
  await machine.sh(
    `ip link add up0 type veth peer name up0 netns ${outside.replace(/.*\//, "")} &&
    ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up &&
    sysctl -wq net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.accept_dad=0`,
  );
  await sh(
    `ip addr add 192.0.2.2/24 dev up0 && ip addr add 2001:db8::2/64 dev up0 nodad && ip link set up0 up &&
    nft add table inet seen && nft 'add chain inet seen in { type filter hook input priority 0 ; }' &&
    nft add rule inet seen in ip saddr 10.61.0.0/24 counter && nft add rule inet seen in ip6 saddr fd00:61::/64 counter`,
    outside,
  );
  return { machine, outside };
}

/** Sends packets that reset a connection that does not exist, in both families. */
async function reset(netns: string): Promise<void> {
  const script = `use Socket qw(:all);
    for my $to (@ARGV) {
      my ($family, $address) = $to =~ /:/ ? (AF_INET6, pack_sockaddr_in6(0, inet_pton(AF_INET6, $to)))
        : (AF_INET, pack_sockaddr_in(0, inet_aton($to)));
      socket(my $socket, $family, SOCK_RAW, 6) or die "socket: $!";
      send($socket, pack("nnNNCCnnn", 40000, 9, 1, 0, 0x50, 4, 0, 0, 0), 0, $address) or die "send: $!";
    }`;
  const args = [`--net=${netns}`, "perl", "-e", script, ...OUTSIDE];
  const { code, stderr } = await new Deno.Command("nsenter", { args, stdin: "null" }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
}

async function countedIn(outside: string): Promise<number[]> {
  const text = await sh("nft list chain inet seen in", outside);
  return Array.from(text.matchAll(/packets (\d+)/g), ([, count]) => Number(count));
}

for (const hasIptables of [true, false]) {
  const backend = hasIptables ? "iptables" : "nftables";
  Deno.test({
    name:
      `U4 with dropInvalid no packet leaves with the address of a pod, of that pod alone, with ${backend}`,
    ...need("root", "ip", "nft", "iptables", "perl"),
    fn: inWorld(async (world) => {
      const { machine, outside } = await makeNode(
        world,
        hasIptables ? undefined : await pathWithout(world, /tables/),
      );
      const { run } = machine;
      const list = { cniVersion: "1.0.0", name: "red" };
      const attach = async (pod: string, host: number) => {
        const netns = await world.netns(pod);
        const call = { containerId: pod, netns, ifName: "eth0" };
        const addresses = [
          { address: `10.61.0.${host}/24`, gateway: "10.61.0.1" },
          { address: `fd00:61::${host}/64`, gateway: "fd00:61::1" },
        ];
        const routes = [{ dst: "0.0.0.0/0" }, { dst: "::/0" }];
        const config = {
          ...{ ...list, type: "bridge", bridge: "br-red", isGateway: true, ipMasq: true },
          ipam: { type: "static", addresses, routes },
        };
        const added = await callBuiltin("bridge", { ...call, verb: "ADD", config }, run);
        assertDone(added);
        const second = { ...list, type: "firewall", dropInvalid: pod === "a", prevResult: added.document };
        const firewall = (verb: "ADD" | "CHECK" | "DEL") =>
          callBuiltin("firewall", { ...call, verb, config: second }, run);
        // Twice, as a repair does: nothing is there twice.
        for (const verb of ["ADD", "ADD", "CHECK"] as const) assertDone(await firewall(verb));
        return { netns, firewall };
      };
      const [a, b] = [await attach("a", 7), await attach("b", 8)];
      await using _outside = await PeerServer.start(outside, PORT);
      for (const [index, pod] of [a, b].entries()) {
        for (const family of [0, 1] as const) {
          // Behind it: what was sent before has arrived, or never will.
          await reset(pod.netns);
          assertEquals(await seenAs(pod.netns, OUTSIDE[family], PORT), ["192.0.2.1", "2001:db8::1"][family]);
        }
        assertEquals(await countedIn(outside), index === 0 ? [0, 0] : [2, 2]);
      }
      await machine.sh(
        hasIptables ? "iptables -w -D CNI-FORWARD 3" : "nft flush chain inet podwire_firewall invalid6",
      );
      assertStringIncludes((await a.firewall("CHECK")).document.msg, "invalid");
      assertDone(await a.firewall("DEL"));
      const rules = await machine.sh(hasIptables ? "iptables-save; ip6tables-save" : "nft list ruleset");
      assertEquals(rules.split("\n").filter((line) => /invalid/i.test(line)), []);
      assertStringIncludes(rules, hasIptables ? "-A CNI-FORWARD -s 10.61.0.8/32" : "CNI-ADMIN");
      assertDone(await b.firewall("DEL"));
    }),
  });
}
