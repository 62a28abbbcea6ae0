import { assert, assertEquals } from "@std/assert";
import { openLibc } from "../../lib/host/libc.ts";
import { LIBC } from "../../lib/host/libc_constants.ts";
import { inNetns } from "../../lib/kernel/in_netns.ts";
import { NetlinkEvents } from "../../lib/kernel/netlink_events.ts";
import { inWorld, sh } from "./builtin_world.ts";
import { need } from "./need.ts";

/** Subscribes in a namespace, where nothing else happens. */
function eventsIn(netns: string): NetlinkEvents {
  const libc = openLibc();
  const fd = libc.open(netns, LIBC.O_RDONLY | LIBC.O_CLOEXEC);
  try {
    return inNetns(
      libc,
      () => libc.setns(fd, LIBC.CLONE_NEWNET),
      () => new NetlinkEvents(libc),
      (errno) => new Error(`Cannot enter the namespace: ${errno}`),
    );
  } finally {
    libc.close(fd);
  }
}

/** What happens, and what of it is an event. */
const CASES: readonly (readonly [script: string, event: Readonly<Record<string, unknown>> | undefined])[] = [
  ["nft add table inet cni_plugins_masquerade", undefined],
  ["nft add chain inet cni_plugins_masquerade masq_checks", undefined],
  ["nft add rule inet cni_plugins_masquerade masq_checks ip daddr 10.0.0.1 return", undefined],
  ["nft flush chain inet cni_plugins_masquerade masq_checks", { rules: true }],
  ["nft delete table inet cni_plugins_masquerade", { rules: true }],
  ["iptables -w -N CNI-FORWARD; iptables -w -A CNI-FORWARD -j RETURN", undefined],
  ["iptables -w -F CNI-FORWARD", { rules: true }],
  [
    "nft add table inet wall; nft 'add chain inet wall forward { type filter hook forward priority 0; policy drop; }'",
    {
      rules: true,
    },
  ],
  ["nft flush ruleset", { rules: true }],
  ["ip link add d0 type veth peer name d1; ip addr add 10.1.0.1/24 dev d0", { links: ["d0", "d1"] }],
  ["ip link set d0 up", undefined],
  ["ip link set d0 down", { links: ["d0"] }],
  ["ip addr del 10.1.0.1/24 dev d0", { addresses: 1 }],
  ["ip link del d0", { links: ["d0", "d1"] }],
  ["sysctl -qw net.ipv4.ip_forward=1", { forwarding: true }],
  ["sysctl -qw net.ipv4.ip_forward=0", { forwarding: true }],
];

Deno.test({
  name: "lost rules, links, addresses and forwarding are events, and what is added to busy tables is none",
  ...need("root", "ip", "nft", "iptables"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    // The tables of iptables exist.
    await sh("ip link set lo up; iptables -w -S; sysctl -qw net.ipv4.ip_forward=0", netns);
    using events = eventsIn(netns);
    assertEquals(events.take(), undefined);
    for (const [script, wanted] of CASES) {
      await sh(script, netns);
      const event = events.take();
      const { rules, links = new Set(), addresses = new Set(), forwarding } = event ?? {};
      const found = event && {
        ...rules ? { rules } : {},
        ...links.size === 0 ? {} : { links: [...links].sort() },
        ...addresses.size === 0 ? {} : { addresses: addresses.size },
        ...forwarding ? { forwarding } : {},
      };
      assertEquals(found, wanted, script);
    }
  }),
});

Deno.test({
  name: "a flush of many rules is one event, and nothing of it is left for the next look",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const rules = Array.from(
      { length: 2_000 },
      () => 'add rule inet t c counter comment "a rule of some length"',
    );
    await Deno.writeTextFile(
      `${world.dir}/some`,
      ["add table inet t", "add chain inet t c", ...rules, ""].join("\n"),
    );
    await sh(`nft -f ${world.dir}/some`, netns);
    using events = eventsIn(netns);
    await sh("nft flush ruleset", netns);
    assertEquals(events.take()?.rules, true);
    assertEquals(events.take(), undefined);
  }),
});

Deno.test({
  name: "more events than the kernel has room for are one that says so",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    using events = eventsIn(netns);
    const rules = Array.from({ length: 20_000 }, () => "add rule inet t c ip daddr 10.0.0.1 return");
    await Deno.writeTextFile(
      `${world.dir}/many`,
      ["add table inet t", "add chain inet t c", ...rules, ""].join("\n"),
    );
    await sh(`nft -f ${world.dir}/many`, netns);
    await sh("nft flush ruleset", netns);
    assert(events.take()?.isIncomplete);
    // It goes on after that.
    while (events.take() !== undefined);
    await sh("nft add table inet t; nft delete table inet t", netns);
    assertEquals(events.take()?.rules, true);
  }),
});
