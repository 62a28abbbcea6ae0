// The embedded network on machines with something wrong: each works, or says what is wrong before anything is done.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { until } from "../until.ts";
import { type Machine, onMachine, without } from "./embedded_world.ts";
import { PeerServer, seenAs, seenOnce } from "./plugins_traffic.ts";

/** Rules as other programs make them. */
const RULES = fromFileUrl(new URL("../testdata/rules", import.meta.url));

/** The other machine, and the address of this one on its side. */
const OUTSIDE = { 4: "192.0.2.2", 6: "2001:db8::2" } as const;
const UPLINK = { 4: "192.0.2.1", 6: "2001:db8::1" } as const;

type Family = 4 | 6;

/** What is different on such a machine. */
interface BrokenHost {
  /** What breaks it, as a script in its namespace. */
  readonly breaks?: string;
  /** What breaks its file systems, see {@linkcode Machine.files}. */
  readonly files?: string;
  /** @default {[4, 6]} */
  readonly families?: readonly Family[];
  /** Whether connections to a pod that nothing asked for are stopped. @default {false} */
  readonly stops?: boolean;
  /** Looks closer at a machine with a pod. */
  readonly more?: (machine: Machine, web: Pod) => Promise<void>;
}

interface Pod {
  readonly netns: string;
  readonly ips: readonly string[];
}

const READ_ONLY = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys";

const LOST = "nft flush ruleset; iptables -w -P FORWARD DROP; ip6tables -w -P FORWARD DROP";

/** Those that work; what they are called is the rest of a sentence. */
const WORKING: Readonly<Record<string, BrokenHost>> = {
  "whose FORWARD has the policy DROP": {
    breaks: "iptables -P FORWARD DROP && ip6tables -P FORWARD DROP",
    stops: true,
  },
  "whose rules are flushed while a pod is there": {
    stops: true,
    more: async (machine) => {
      await machine.world.sh(LOST);
      const check = await machine.podwire(["check", "web"]);
      assertEquals(check.code, 1, check.stdout);
      assertMatch(check.stderr, /not there any more|does not jump|any more/);
      const repair = await machine.podwire(["repair", "web"]);
      assertEquals(repair.code, 0, repair.stderr);
    },
  },
  "with a route that overlaps": {
    breaks: "ip route add 10.209.0.0/16 via 192.0.2.2 && ip route add fd50:7704::/64 via 2001:db8::2",
    more: (_machine, { ips }) => {
      assertMatch(ips.join(), /^10\.200\.0\.\d+.*,fd50:7705::/);
      return Promise.resolve();
    },
  },
  "whose way out has an MTU of 1400": {
    breaks: "ip link set up0 mtu 1400 && ip route add default via 192.0.2.2 && " +
      "ip -6 route add default via 2001:db8::2",
    more: async ({ world }, { netns }) => {
      assertEquals((await world.links(netns)).get("eth0")?.mtu, 1400);
    },
  },
  "without nft": { files: without("nft") },
  "without iptables": { files: without("*tables*") },
  "whose IPv6 is switched off": {
    breaks: "sysctl -wq net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
    families: [4],
  },
  "whose kernel has no IPv6": {
    breaks: "sysctl -wq net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
    // Another instance has the rest of them.
    files: "mkdir -p /run/proc && mount -t proc proc /run/proc && mount -t tmpfs none /proc/sys/net && " +
      "for part in core ipv4 netfilter bridge unix; do ln -s /run/proc/sys/net/$part /proc/sys/net/; done",
    families: [4],
  },
  "whose /proc/sys is read-only": {
    breaks: "sysctl -wq net.ipv4.conf.all.route_localnet=1",
    files: READ_ONLY,
  },
  "with the tables of firewalld 1": { breaks: `nft -f ${RULES}/firewalld_1.nft`, stops: true },
  "with the tables of firewalld 2": { breaks: `nft -f ${RULES}/firewalld_2.nft`, stops: true },
  "with the tables of Docker in iptables": {
    breaks: `iptables-restore <${RULES}/docker.iptables && ip6tables-restore <${RULES}/docker.ip6tables`,
    stops: true,
  },
  "with the tables of Docker in nftables": { breaks: `nft -f ${RULES}/docker.nft` },
};

for (const [name, host] of Object.entries(WORKING)) {
  onMachine(`U93 the embedded network works on a machine ${name}`, async (machine) => {
    const { world } = machine;
    if (host.breaks !== undefined) await world.sh(host.breaks);
    machine.files = host.files ?? ":";
    const before = await foreign(machine);
    const status = await machine.podwire(["status"]);
    assertEquals(status.code, 0, status.stdout);
    const web: Pod = JSON.parse(await machine.run("web", "--publish", "8080:80"));
    await host.more?.(machine, web);
    const now: Pod = JSON.parse((await machine.podwire(["inspect", "web", "--json"])).stdout);
    const other: Pod = JSON.parse(await machine.run("other"));
    await works(machine, now, other, host);
    for (const pod of ["web", "other"]) {
      const check = await machine.podwire(["check", pod]);
      assertEquals([check.code, check.stderr], [0, ""]);
      const removed = await machine.podwire(["rm", pod]);
      assertEquals([removed.code, removed.stderr], [0, ""]);
    }
    assertEquals(await left(machine), []);
    if (host.more === undefined) assertEquals(await foreign(machine), before);
  });
}

/** Those where nothing can be done; what they are called is the rest of a sentence. */
const REFUSING: Readonly<Record<string, BrokenHost & { readonly says: string; readonly status?: string }>> = {
  "without nft and iptables": {
    files: without("nft|*tables*"),
    says: "neither iptables nor nftables works here",
    status: "neither iptables nor nftables works here",
  },
  "whose /proc/sys is read-only, and that does not forward IPv4": {
    breaks: "sysctl -wq net.ipv4.ip_forward=0",
    files: READ_ONLY,
    says: 'the kernel parameter "net/ipv4/ip_forward" cannot be set to 1: Read-only file system',
  },
  "whose /proc/sys is read-only, and that does not forward IPv6": {
    breaks: "sysctl -wq net.ipv6.conf.all.forwarding=0",
    files: READ_ONLY,
    says: 'the kernel parameter "net/ipv6/conf/all/forwarding" cannot be set to 1: Read-only file system',
  },
  "whose /proc/sys is read-only, and that leads 127.0.0.1 nowhere": {
    files: READ_ONLY,
    says: '/route_localnet" has to be 1: Read-only file system',
  },
};

for (const [name, { breaks = ":", files = ":", says, status }] of Object.entries(REFUSING)) {
  onMachine(
    `U93 a pod is refused with the reason, and nothing changes, on a machine ${name}`,
    async (machine) => {
      const { world } = machine;
      await world.sh(breaks);
      machine.files = files;
      const state = () =>
        world.sh("nft list ruleset; ip -br link; ip route; sysctl -a --pattern '^net.ip.*forward'");
      const before = await state();
      if (status !== undefined) {
        const asked = await machine.podwire(["status"]);
        assertEquals(asked.code, 6, asked.stdout);
        assertStringIncludes(asked.stdout, status);
      }
      const { code, stderr } = await machine.podwire(["run", "web", "--publish", "8080:80"]);
      assertEquals(code, 1, stderr);
      assertStringIncludes(stderr, says);
      for (const list of ["ps", "attachments"]) {
        assertEquals(JSON.parse((await machine.podwire([list, "--json"])).stdout), [], list);
      }
      assertEquals(await left(machine), []);
      assertEquals(frameless(await state()), frameless(before));
    },
  );
}

/** Traffic in all directions. */
async function works(
  { world }: Machine,
  web: Pod,
  other: Pod,
  { families = [4, 6], stops = false }: BrokenHost,
): Promise<void> {
  await using _web = await PeerServer.start(web.netns, 80);
  await using _outside = await PeerServer.start(world.outside, 81);
  for (const family of families) {
    const addressOf = ({ ips }: Pod) => ips.find((ip) => ip.includes(":") === (family === 6)) ?? "";
    assertEquals(await seenAs(world.outside, UPLINK[family], 8080), OUTSIDE[family], "a published port");
    assert(await seenAs(web.netns, UPLINK[family], 8080) !== undefined, "the own published port");
    assert(await seenAs(other.netns, UPLINK[family], 8080) !== undefined, "the port of a neighbor");
    assertEquals(await seenAs(web.netns, OUTSIDE[family], 81), UPLINK[family], "the world, masqueraded");
    assertEquals(await seenAs(other.netns, addressOf(web), 80), addressOf(other), "from pod to pod");
    assert(await seenAs(world.node, addressOf(web), 80) !== undefined, "from the host to a pod");
    const { length } = addressOf(web).split(family === 4 ? "." : ":");
    assert(length > 1);
    await world.sh(`ip -${family} route replace ${addressOf(web)} via ${UPLINK[family]}`, world.outside);
    const unasked = await seenOnce(world.outside, addressOf(web), 80);
    assertEquals(unasked === undefined, stops, "a connection that nothing asked for");
  }
  assert(await seenAs(world.node, "127.0.0.1", 8080) !== undefined, "a published port on the host itself");
}

/** Without empty tables and chains, which stay. */
function frameless(text: string): string {
  return text.replace(/^table \S+ (?:cni|podwire)_[^]*?^\}\n/gm, "");
}

/** The rules of other programs, in their order, without the numbers of counters. */
async function foreign({ world }: Machine): Promise<readonly string[]> {
  const text = (await world.sh("nft list ruleset")).replace(/^\tchain CNI-[^}]*\}$/gm, "");
  const tables = text.split(/^(?=table )/m);
  // Tables and chains stay without rules for pods, as those of the CNI plugins project do.
  const others = tables.filter((table) => !/^table \S+ (?:cni|podwire)_/.test(table));
  const rules = others.flatMap((table) => table.split("\n")).map((line) => line.trim());
  const isOfOthers = (line: string) => line !== "" && !/^(?:#|table|chain|type|\})|CNI-/.test(line);
  return rules.filter(isOfOthers).map((line) => line.replace(/counter packets \d+ bytes \d+/, "counter"));
}

/** What is left of pods. */
async function left({ world }: Machine): Promise<readonly string[]> {
  const text = await world.sh("nft list ruleset; ip -br link; ip -o addr; ip route; ip -6 route");
  return text.split("\n").filter((line) =>
    /^(?!.* via ).*(?:pw0|veth|10\.209\.0\.|10\.200\.0\.|fd50:770[45]::[0-9a-f])/.test(line)
  );
}

onMachine("a chain of the older kind of iptables is named before and with each pod", async (machine) => {
  const { world } = machine;
  await world.sh("iptables-legacy -P FORWARD DROP");
  const says = "the chain FORWARD of iptables-legacy stops";
  const status = await machine.podwire(["status"]);
  assertEquals(status.code, 6, status.stdout);
  assertStringIncludes(status.stdout, says);
  assert(!status.stdout.includes("ip6tables-legacy"), status.stdout);
  const { code, stderr } = await machine.podwire(["run", "web"]);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, `${says} what it does not know, and is not opened`);
  // Where that kind is the one in use, it has the rules.
  const programs = ["iptables", "ip6tables"].flatMap((name) =>
    ["", "-save", "-restore"].map((end) => `ln -sf ${name}-legacy${end} /usr/sbin/${name}${end}`)
  );
  machine.files = `mkdir -p /run/all && mount --bind /usr/sbin /run/all && mount -t tmpfs none /usr/sbin &&
    cp -a /run/all/. /usr/sbin/ && rm /usr/sbin/nft && ${programs.join(" && ")}`;
  assertEquals((await machine.podwire(["status"])).code, 0);
  const { netns } = JSON.parse(await machine.run("other", "--publish", "8080:80"));
  await using _other = await PeerServer.start(netns, 80);
  assertEquals(await seenAs(world.outside, UPLINK[4], 8080), OUTSIDE[4]);
  for (const name of ["other", "web"]) assertEquals((await machine.podwire(["rm", name])).code, 0);
});

onMachine(
  "a chain that only its own program may change is named before and with each pod",
  async (machine) => {
    const { world } = machine;
    // As newer releases of firewalld make their table: it is there as long as the program is.
    const rules = (await Deno.readTextFile(`${RULES}/firewalld_2.nft`)).replace(
      /^table .*$/m,
      "$&\n\tflags owner;",
    );
    const file = `${world.dir}/owned.nft`;
    await Deno.writeTextFile(file, rules);
    const args = [`--net=${world.node}`, "nft", "-i"];
    const owner = new Deno.Command("nsenter", { args, stdin: "piped", stdout: "null", stderr: "null" })
      .spawn();
    const stdin = owner.stdin.getWriter();
    try {
      await stdin.write(new TextEncoder().encode(`include "${file}"\n`));
      await until(async () => (await world.sh("nft list tables")).includes("firewalld"), "the table");
      const says = "the chain inet firewalld filter_FORWARD of nftables";
      const status = await machine.podwire(["status"]);
      assertEquals(status.code, 6, status.stdout);
      assertStringIncludes(status.stdout, `${says} stops the packets of containers`);
      const { code, stderr, stdout } = await machine.podwire([
        "run",
        "web",
        "--publish",
        "8080:80",
        "--json",
      ]);
      assertEquals(code, 0, stderr);
      assertStringIncludes(stderr, `${says} stops what it does not know, and is not opened`);
      // What the program lets pass by itself works.
      await using _web = await PeerServer.start(JSON.parse(stdout).netns, 80);
      assertEquals(await seenAs(world.outside, UPLINK[4], 8080), OUTSIDE[4]);
      assertEquals((await machine.podwire(["check", "web"])).code, 0);
      assertEquals((await machine.podwire(["rm", "web"])).code, 0);
      assertEquals(await left(machine), []);
    } finally {
      await stdin.close();
      await owner.status;
    }
  },
);
