// What the built-in firewall does beyond the originals: CHECK sees each change, DEL and GC find rules without a result, and
// nftables is used where iptables is not there.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { freeLeftovers } from "../../lib/builtin/leftovers.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { assertDone } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import {
  type Attachment,
  callOf,
  DOCKER,
  Machine,
  ORIGINALS,
  OURS,
  pathWithout,
  resultOf,
} from "./firewall_world.ts";
import { need } from "./need.ts";

const ISOLATED = { ingressPolicy: "isolated" };
const A = { id: "a", ips: ["10.1.0.2/24", "fd00:1::2/64"] };
const B = { id: "b", ips: ["10.1.0.3/24", "fd00:1::3/64"] };
const THEIRS = ORIGINALS[1]![1];
const NEEDED = need("root", "ip", "iptables", "nft", "cni-1.9.1");

/** What changes after the ADD, and what the CHECK says of it. */
const DRIFT: readonly (readonly [script: string, says: RegExp])[] = [
  ["iptables -w -F", /FORWARD of IPv4/],
  ["ip6tables -w -F", /FORWARD of IPv6/],
  ["nft flush ruleset", /CNI-FORWARD of IPv4 is not there/],
  ["iptables -w -D FORWARD 2", /FORWARD of IPv4 does not jump to CNI-FORWARD/],
  ["iptables -w -D CNI-FORWARD 1", /CNI-FORWARD of IPv4 does not jump to CNI-ADMIN/],
  ["iptables -w -D CNI-FORWARD 1; iptables -w -X CNI-ADMIN", /CNI-ADMIN of IPv4 is not there/],
  ["iptables -w -D CNI-FORWARD -s 10.1.0.2 -j ACCEPT", /-s 10\.1\.0\.2\/32 -j ACCEPT" of IPv4/],
  ["ip6tables -w -D CNI-FORWARD 3", /-d fd00:1::2\/128 .*RELATED,ESTABLISHED.* of IPv6/],
  ["iptables -w -D CNI-FORWARD 2", /does not jump to CNI-PUBLISHED/],
  ["iptables -w -F CNI-PUBLISHED", /CNI-PUBLISHED of IPv4 was emptied/],
  ["iptables -w -D FORWARD 1", /FORWARD of IPv4 does not jump to CNI-ISOLATION-STAGE-1 before/],
  ["iptables -w -I FORWARD 1 -j CNI-FORWARD", /does not jump to CNI-ISOLATION-STAGE-1 before CNI-FORWARD/],
  ["ip6tables -w -F CNI-ISOLATION-STAGE-1", /STAGE-1 of IPv6 does not have the rule "-i br0 ! -o br0/],
  [
    "iptables -w -D CNI-ISOLATION-STAGE-1 2",
    /STAGE-1 of IPv4 does not have the rule "-i br0 -o br0 -j DROP"/,
  ],
  ["iptables -w -I CNI-ISOLATION-STAGE-1 1 -j RETURN", /STAGE-1 of IPv4 does not have the rule/],
  ["iptables -w -D CNI-ISOLATION-STAGE-2 1", /STAGE-2 of IPv4 does not have the rule "-o br0 -j DROP"/],
  [
    "iptables -w -D CNI-ISOLATION-STAGE-1 1; " +
    "iptables -w -I CNI-ISOLATION-STAGE-1 3 -m conntrack --ctstate DNAT -j RETURN",
    /stops connections to published ports/,
  ],
];

Deno.test({
  name: "the CHECK of the firewall sees each change, changes nothing, and an ADD puts it right",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const attachment = { ...A, config: ISOLATED };
    assertDone(await OURS(callOf("ADD", attachment), machine));
    const rules = await machine.rules();
    for (const [script, says] of DRIFT) {
      await machine.sh(script);
      const before = await machine.rules();
      const { code, document } = await OURS(callOf("CHECK", attachment), machine);
      assertEquals(code, 1, script);
      assertMatch(document.msg, says, script);
      assertEquals(await machine.rules(), before, script);
      assertDone(await OURS(callOf("ADD", attachment), machine));
      assertDone(await OURS(callOf("CHECK", attachment), machine));
      await machine.sh("nft flush ruleset");
      assertDone(await OURS(callOf("ADD", attachment), machine));
      assertEquals(await machine.rules(), rules, script);
    }
  }),
});

/** A namespace with the interface and the addresses of an attachment. */
async function podOf(world: World, { id, ips }: Attachment): Promise<string> {
  const netns = await world.netns(`pod-${id}`);
  const addresses = ips.map((address) => `ip addr add ${address} dev eth0 nodad`).join("; ");
  await sh(`ip link add eth0 type veth peer name other; ip link set eth0 up; ${addresses}`, netns);
  return netns;
}

function mentions(rules: readonly string[], { ips }: Attachment): readonly string[] {
  return rules.filter((rule) => ips.some((address) => rule.includes(`${address.replace(/\/.*/, "")}/`)));
}

Deno.test({
  name:
    "the DEL of the firewall finds the rules without a result: by their comment, in the namespace, or in host-local's files",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const live = { ...A, netns: await podOf(world, A) };
    const none = { prevResult: null };
    const store = `/var/lib/cni/networks/net-${world.tag}`;
    const stored = { ...B, network: `net-${world.tag}`, netns: "" };
    await Deno.mkdir(store, { recursive: true });
    await Deno.writeTextFile(`${store}/10.1.0.3`, "b\r\neth0");
    await Deno.writeTextFile(`${store}/fd00:1::3`, "b\r\neth0");
    const ways = [["its comment", OURS, { ...A, netns: "" }], ["the namespace", THEIRS, live], [
      "the files",
      THEIRS,
      stored,
    ]] as const;
    for (const [way, add, attachment] of ways) {
      assertDone(await add(callOf("ADD", { ...attachment, netns: "/run/netns/x" }), machine));
      assert(mentions(await machine.rules(), attachment).length > 0);
      assertDone(await OURS(callOf("DEL", attachment, none), machine));
      assertEquals(mentions(await machine.rules(), attachment), [], way);
      assertDone(await OURS(callOf("DEL", attachment, none), machine));
    }
    // A namespace that is gone, a result that cannot be read, and a configuration that is wrong.
    assertDone(await OURS(callOf("ADD", A), machine));
    const wrong = { prevResult: 7, backend: 1, ingressPolicy: "x", iptablesAdminChainName: [] };
    assertDone(await OURS(callOf("DEL", { ...A, netns: "/run/netns/gone" }, wrong), machine));
    assertEquals(mentions(await machine.rules(), A), []);
  }),
});

Deno.test({
  name: "a late DEL of the firewall leaves the rules of the next container with the same address",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const next = { ...A, id: "next" };
    for (const attachment of [A, next]) assertDone(await OURS(callOf("ADD", attachment), machine));
    const rules = await machine.rules();
    assertDone(await OURS(callOf("DEL", A), machine));
    assertEquals(await machine.rules(), rules);
    assertDone(await OURS(callOf("CHECK", next), machine));
    assertDone(await OURS(callOf("DEL", next), machine));
    assertEquals(mentions(await machine.rules(), A), []);
  }),
});

function gcOf(valid: readonly string[], network = "net", config: JsonObject = {}) {
  const attachments = valid.map((id) => ({ containerID: id, ifname: "eth0" }));
  const own = { cniVersion: "1.1.0", name: network, type: "firewall" };
  return {
    verb: "GC" as const,
    config: { ...own, ...config, "cni.dev/valid-attachments": attachments },
  };
}

Deno.test({
  name: "the GC of the firewall removes the rules of the network that no attachment holds, and no others",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const other = { id: "c", ips: ["10.2.0.2/24"], network: "other", bridge: "br1" };
    await machine.sh("iptables -w -N CNI-ADMIN; iptables -w -A CNI-ADMIN -s 10.1.0.3 -j DROP");
    for (const attachment of [A, other]) assertDone(await OURS(callOf("ADD", attachment), machine));
    assertDone(await THEIRS(callOf("ADD", { id: "d", ips: ["10.1.0.9/24"] }), machine));
    const rules = await machine.rules();
    assertDone(await OURS(callOf("ADD", B), machine));
    assertDone(await OURS(gcOf(["a"]), machine));
    assertEquals(await machine.rules(), rules);
    assertDone(await OURS(gcOf([]), machine));
    assertEquals(mentions(await machine.rules(), A), []);
    assertDone(await OURS(callOf("CHECK", other), machine));
  }),
});

Deno.test({
  name: "an attachment that is forgotten loses its rules, and others keep theirs",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    for (const one of [A, B]) assertDone(await OURS(callOf("ADD", one), machine));
    const config = JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins: [{ type: "firewall" }] });
    const attachment = {
      network: "net",
      containerId: "a",
      ifName: "eth0",
      netns: "",
      addresses: A.ips,
      config,
    };
    const host = { run: machine.run, signal: AbortSignal.timeout(60_000) };
    const before = await machine.rules();
    assertEquals((await freeLeftovers(attachment, host, { dryRun: true })).freed, ["its firewall rules"]);
    assertEquals(await machine.rules(), before);
    assertEquals(await freeLeftovers(attachment, host), { freed: ["its firewall rules"], remaining: [] });
    assertEquals(mentions(await machine.rules(), A), []);
    assertDone(await OURS(callOf("CHECK", B), machine));
  }),
});

Deno.test({
  name: "thirty containers at once get their rules, and lose them, whatever the others do",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const all = Array.from(
      { length: 30 },
      (_, index) => ({ id: `c${index}`, ips: [`10.1.0.${index + 2}/24`] }),
    );
    const call = async (verb: "ADD" | "CHECK" | "DEL", some: readonly Attachment[]) => {
      for (const answer of await Promise.all(some.map((one) => OURS(callOf(verb, one), machine)))) {
        assertDone(answer);
      }
    };
    const [early, late] = [all.slice(0, 15), all.slice(15)];
    await call("ADD", early);
    await Promise.all([call("DEL", early), call("ADD", late)]);
    await call("CHECK", late);
    const rules = await machine.rules();
    assertEquals(early.flatMap((one) => mentions(rules, one)), []);
    assertEquals(late.map((one) => mentions(rules, one).length), late.map(() => 3));
    await call("DEL", late);
    const left = await machine.rules();
    assertEquals(all.flatMap((one) => mentions(left, one)), []);
  }),
});

Deno.test({
  name: "U97 isolation goes with the last container of the bridge, and not before",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const isolated = { config: ISOLATED };
    for (const { id } of [A, B]) {
      await machine.sh(
        `ip link add br0 type bridge 2>/dev/null; ip link add veth-${id} type veth peer name p-${id}; ` +
          `ip link set veth-${id} master br0`,
      );
      assertDone(await OURS(callOf("ADD", { ...(id === "a" ? A : B), ...isolated }), machine));
    }
    const isolating = async () => (await machine.rules()).filter((rule) => rule.includes("CNI-ISOLATION"));
    const before = await isolating();
    assertDone(await OURS(callOf("DEL", { ...A, ...isolated }), machine));
    assertEquals(await isolating(), before);
    await machine.sh("ip link del veth-a");
    // Without a result it is the alias that says which interface is the attachment's own.
    const netns = "";
    assertDone(await OURS(callOf("DEL", { ...B, ...isolated, netns }, { prevResult: null }), machine));
    assertEquals(await isolating(), before);
    await machine.sh("ip link del veth-b");
    assertDone(await OURS(gcOf([], "net", ISOLATED), machine));
    assertEquals(await isolating(), []);
  }),
});

Deno.test({
  name: "isolated containers that come while the last others go are isolated",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    await machine.sh("ip link add br0 type bridge");
    const config = ISOLATED;
    for (let round = 0; round < 5; round++) {
      const [old, next] = [0, 1].map((at) => ({
        id: `c${round + at}`,
        ips: [`10.1.0.${round + at + 2}/24`],
        config,
      }));
      const plug = ({ id }: Attachment) =>
        machine.sh(`ip link add veth-${id} type veth peer name p-${id}; ip link set veth-${id} master br0`);
      if (round === 0) {
        await plug(old!);
        assertDone(await OURS(callOf("ADD", old!), machine));
      }
      // As plugins before and after this one do it.
      const [added] = await Promise.all([
        plug(next!).then(() => OURS(callOf("ADD", next!), machine)),
        OURS(callOf("DEL", old!), machine).then(() => machine.sh(`ip link del veth-${old!.id}`)),
      ]);
      assertDone(added);
      assertDone(await OURS(callOf("CHECK", next!), machine));
    }
    assertDone(await OURS(callOf("DEL", { id: "c5", ips: ["10.1.0.7/24"], config }), machine));
    assertEquals((await machine.rules()).filter((rule) => rule.includes("CNI-ISOLATION")), []);
  }),
});

/** What is refused before anything changes, and what the error says. */
const REFUSED: Readonly<Record<string, readonly [config: JsonObject, says: RegExp]>> = {
  "a backend that is not known": [{ backend: "ebtables" }, /^backend .*iptables, nftables.*"ebtables"/],
  "an ingress policy that is not known": [{ ingressPolicy: "closed" }, /^ingressPolicy .*closed/],
  "a chain with a name that is none": [{ iptablesAdminChainName: "-x" }, /^iptablesAdminChainName .*-x/],
  "a chain with a name that is too long": [
    { iptablesAdminChainName: "A".repeat(29) },
    /^iptablesAdminChainName /,
  ],
  "a chain of the kernel": [{ iptablesAdminChainName: "FORWARD" }, /^iptablesAdminChainName .*FORWARD/],
  "a chain of its own": [{ iptablesAdminChainName: "CNI-FORWARD" }, /^iptablesAdminChainName .*CNI-FORWARD/],
  "a zone with a name that is none": [{ firewalldZone: "a b" }, /^firewalldZone .*a b/],
  "a policy without rules": [{ backend: "none", ingressPolicy: "isolated" }, /isolated.*none/],
  "no result": [{ prevResult: null }, /prevResult/],
  "a policy without interfaces": [
    { ...ISOLATED, prevResult: { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] } },
    /ingressPolicy "isolated".*no interface/,
  ],
  "a policy for an interface in the container": [
    {
      ...ISOLATED,
      prevResult: {
        cniVersion: "1.0.0",
        interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
        ips: [{ address: "10.1.0.2/24" }],
      },
    },
    /"eth0", is not a bridge of the host/,
  ],
};

Deno.test({
  name: "U41 the firewall refuses what it does not understand, names it, and changes nothing",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const before = await machine.rules();
    for (const [name, [config, says]] of Object.entries(REFUSED)) {
      const { document } = await OURS(callOf("ADD", A, config), machine);
      assertEquals(document.code, 7, name);
      assertMatch(document.msg, says, name);
      assertEquals(await machine.rules(), before, name);
    }
    const { document } = await OURS(callOf("ADD", { ...A, cniVersion: "0.3.1" }), machine);
    assertEquals(document.code, 1);
    const none = { backend: "none" };
    for (const verb of ["ADD", "CHECK", "DEL"] as const) {
      assertDone(await OURS(callOf(verb, A, none), machine));
      assertEquals(await machine.rules(), before, "none means no rule at all");
    }
  }),
});

Deno.test({
  name: "the firewall needs only the program of the family that it uses",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const path = await pathWithout(world, /^ip6tables/, /^nft$/);
    const [machine, all] = [await Machine.make(world, "a", path), await Machine.make(world, "b")];
    const attachment = { id: "a", ips: ["10.1.0.2/24"] };
    for (const verb of ["ADD", "CHECK", "DEL", "STATUS"] as const) {
      assertDone(await OURS(callOf(verb, { ...attachment, cniVersion: "1.1.0" }), machine));
    }
    const { code, document } = await OURS(callOf("ADD", A), machine);
    assertEquals([code, document.code], [1, 999]);
    assertMatch(document.msg, /neither iptables nor nftables works here/);
    assertEquals(mentions((await all.sh("iptables -w -S")).split("\n"), A), []);
  }),
});

const NFT_RULES = "nft -n list table inet podwire_firewall";

Deno.test({
  name:
    "U30 U40 the firewall uses nftables without iptables: isolation, the chain of the administrator, and CHECK sees each change",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const path = await pathWithout(world, /tables/);
    const machine = await Machine.make(world, "a", path);
    const attachment = { ...A, config: ISOLATED };
    assertDone(await OURS(callOf("ADD", attachment), machine));
    const table = await machine.sh(NFT_RULES);
    assertStringIncludes(table, "jump CNI-ISOLATION-STAGE-1");
    assert(table.indexOf("jump CNI-ISOLATION-STAGE-1") < table.indexOf("jump CNI-ADMIN"));
    await machine.sh("nft add rule inet podwire_firewall CNI-ADMIN ip saddr 10.9.0.1 drop");
    const changed = await machine.sh(NFT_RULES);
    assertDone(await OURS(callOf("ADD", attachment), machine));
    assertEquals(await machine.sh(NFT_RULES), changed);
    const DAMAGES = [
      "flush chain inet podwire_firewall forward",
      "flush chain inet podwire_firewall CNI-ISOLATION-STAGE-1",
      "flush chain inet podwire_firewall CNI-ISOLATION-STAGE-2",
      "flush ruleset",
    ];
    for (const damage of DAMAGES) {
      assertDone(await OURS(callOf("CHECK", attachment), machine));
      await machine.sh(`nft ${damage}`);
      const { code, document } = await OURS(callOf("CHECK", attachment), machine);
      assertEquals(code, 1, damage);
      assertMatch(document.msg, /table inet podwire_firewall does not have the rule/);
      assertDone(await OURS(callOf("ADD", attachment), machine));
    }
    await machine.sh("nft add rule inet podwire_firewall CNI-ADMIN ip saddr 10.9.0.1 drop");
    assertDone(await OURS(callOf("DEL", attachment), machine));
    const left = await machine.sh(NFT_RULES);
    assertStringIncludes(left, "10.9.0.1 drop");
    assertEquals(left.includes("ISOLATION"), false);
  }),
});

/** Chains that stop packets, with the family of the table. */
const STOPPING = {
  "inet": "policy drop ; }",
  "ip": "policy drop ; }",
  "ip6": "policy accept ; } ; add rule ip6 own passing counter reject",
};

Deno.test({
  name:
    "U38 the firewall opens the chains of nftables that stop packets, with iptables and without, and closes them again",
  ...NEEDED,
  fn: inWorld(async (world) => {
    for (const [at, path] of [["a", undefined], ["b", await pathWithout(world, /tables/)]] as const) {
      const machine = await Machine.make(world, at, path);
      for (const [family, rest] of Object.entries(STOPPING)) {
        await machine.sh(
          `nft 'add table ${family} own ; ` +
            `add chain ${family} own passing { type filter hook forward priority 10 ; ${rest}'`,
        );
      }
      await machine.sh(
        "nft add table inet open; nft 'add chain inet open f { type filter hook forward priority 5 ; }'",
      );
      const ruleset = async () =>
        (await machine.sh("nft list ruleset")).replaceAll(/counter packets .*/g, "");
      const own = async () => (await ruleset()).split("\n").filter((line) => line.includes("net: net"));
      assertDone(await OURS(callOf("ADD", B), machine));
      const before = await own();
      for (let times = 0; times < 2; times++) {
        assertDone(await OURS(callOf("ADD", A), machine));
        // Of both families in one, of one in each of the others.
        assertEquals((await own()).filter((line) => line.includes("id: a")).length, 2 * 3 + 3 + 3);
      }
      assertDone(await OURS(callOf("CHECK", A), machine));
      await machine.sh("nft flush chain ip own passing");
      const { document } = await OURS(callOf("CHECK", A), machine);
      assertMatch(document.msg, /chain ip own passing of nftables stops the packets/);
      for (const each of [A, B]) assertDone(await OURS(callOf("ADD", each), machine));
      assertDone(await OURS(callOf("DEL", A), machine));
      assertEquals((await own()).toSorted(), before.toSorted());
      assertDone(await OURS(gcOf([]), machine));
      assertEquals(await own(), []);
    }
  }),
});

Deno.test({
  name: "U38 a chain that the firewall cannot open is named by ADD and by STATUS",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const without = await Machine.make(world, "b", await pathWithout(world, /tables/));
    await machine.sh(DOCKER);
    await without.sh(
      "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }'",
    );
    const status = callOf("STATUS", { ...A, cniVersion: "1.1.0" });
    assertDone(await OURS(status, machine));
    const { document } = await OURS(status, without);
    assertEquals(document.code, 50);
    assertMatch(document.msg, /chain ip filter FORWARD of nftables stops/);
    const { code, stderr } = await OURS(callOf("ADD", A), without);
    assertEquals(code, 0);
    assertStringIncludes(stderr, "the chain ip filter FORWARD of nftables");
    assertEquals((await OURS(callOf("ADD", A), machine)).stderr, "");
  }),
});

Deno.test({
  name: "the result of the firewall is that of the plugins before",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    const { document } = await OURS(callOf("ADD", A), machine);
    const { dns: _, ...expected } = resultOf(A);
    const { dns: __ = {}, ...given } = document;
    assertEquals(given, expected);
  }),
});

Deno.test({
  name: "the firewall says so where the machine does not look at the packets between two ports of a bridge",
  ...NEEDED,
  fn: inWorld(async (world) => {
    const machine = await Machine.make(world, "a");
    for (const value of ["0", "1"]) {
      await machine.sh(
        `sysctl -wq net.bridge.bridge-nf-call-iptables=${value} net.bridge.bridge-nf-call-ip6tables=1`,
      );
      const { stderr } = await OURS(callOf("ADD", { ...A, config: ISOLATED }), machine);
      assertEquals(/bridge-nf-call-iptables is not 1.*portIsolation/.test(stderr), value === "0", stderr);
      assertEquals(stderr.includes("ip6tables"), false);
    }
  }),
});
