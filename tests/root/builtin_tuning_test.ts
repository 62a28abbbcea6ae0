// The built-in tuning against the originals: the same changes, the same files, and each undoes what the other did.
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { requireAllowed } from "../../lib/builtin/tuning_allowlist.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type Answer, assertDone, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component, need } from "./need.ts";

type Caller = (call: Call) => Promise<Answer>;

const OURS: Caller = (call) => callBuiltin("tuning", call);
const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call) => callBinary(CNI_1_1_1, "tuning", call)],
  ["cni-1.9.1", (call) => callBinary(CNI_1_9_1, "tuning", call)],
];

interface Case {
  readonly config: JsonObject;
  readonly args?: string;
  readonly ifName?: string;
}

/** 1.1.1 does not know `txQLen`, and its CHECK does not know `IFNAME`. */
function isKnownTo(needs: Component, { config }: Case): boolean {
  return needs !== "cni-1.1.1" || !/txQLen|IFNAME/.test(JSON.stringify(config));
}

const MAC = "02:00:00:00:00:77";

const CASES: Readonly<Record<string, Case>> = {
  "nothing": { config: {} },
  "a sysctl": { config: { sysctl: { "net.ipv4.ip_default_ttl": "77" } } },
  "several sysctls": {
    config: {
      sysctl: { "net.ipv4.ip_local_port_range": "20000\t30000", "net.ipv4.conf.all.log_martians": "1" },
    },
  },
  "a sysctl with slashes": { config: { sysctl: { "net/ipv4/ip_default_ttl": "78" } } },
  "a sysctl of the interface": { config: { sysctl: { "net.ipv4.conf.IFNAME.arp_filter": "1" } } },
  "the MAC address": { config: { mac: MAC } },
  "the MTU": { config: { mtu: 1234 } },
  "promiscuous": { config: { promisc: true } },
  "all multicast": { config: { allmulti: true } },
  "not all multicast": { config: { allmulti: false } },
  "the transmit queue": { config: { txQLen: 77 } },
  "no transmit queue": { config: { txQLen: 0 } },
  "all of it": {
    config: {
      mac: MAC,
      mtu: 1300,
      promisc: true,
      allmulti: true,
      txQLen: 500,
      sysctl: { "net.ipv4.ip_default_ttl": "9" },
    },
  },
  "the MAC address of CNI_ARGS": { config: { mac: "02:00:00:00:00:01" }, args: `MAC=${MAC}` },
  "the MAC address of runtimeConfig": {
    config: { mac: "02:00:00:00:00:01", runtimeConfig: { mac: MAC } },
    args: "MAC=02:00:00:00:00:02",
  },
  "args win": {
    config: {
      ...{
        mac: "02:00:00:00:00:01",
        mtu: 1400,
        promisc: true,
        txQLen: 5,
        sysctl: { "net.ipv4.ip_default_ttl": "1" },
      },
      runtimeConfig: { mac: "02:00:00:00:00:02" },
      args: {
        cni: { mac: MAC, mtu: 1350, promisc: false, txQLen: 6, sysctl: { "net.ipv4.ip_default_ttl": "99" } },
      },
    },
  },
};

async function podWith(world: World, name: string, ifName: string): Promise<string> {
  const netns = await world.netns(name);
  await sh(
    `ip link add '${ifName}' address 02:00:00:00:00:aa type veth peer name other0; ip link set '${ifName}' up`,
    netns,
  );
  return netns;
}

function callOf(world: World, { config, args, ifName = "eth0" }: Case, netns: string): Omit<Call, "verb"> {
  const prevResult = {
    cniVersion: "1.0.0",
    interfaces: [{ name: "veth0", mac: "02:00:00:00:00:bb" }, {
      name: ifName,
      mac: "02:00:00:00:00:aa",
      sandbox: netns,
    }],
    ips: [{ address: "10.1.2.3/24", interface: 1 }],
    dns: {},
  };
  return {
    ...{ containerId: `c-${world.tag}`, netns, ifName, args: args ?? "" },
    config: {
      cniVersion: "1.0.0",
      name: "net",
      type: "tuning",
      dataDir: `${world.dir}/tuning`,
      ...config,
      prevResult,
    },
  };
}

async function stateOf({ netns, ifName }: Omit<Call, "verb">, { config }: Case): Promise<unknown> {
  const [link] = JSON.parse(await sh(`ip -j link show dev '${ifName}'`, netns));
  const wanted = (config.sysctl ?? {}) as Record<string, string>;
  const paths = Object.keys(wanted).map((key) => key.replaceAll(".", "/").replace("IFNAME", ifName ?? ""));
  const values = await Promise.all(paths.map((path) => sh(`cat '/proc/sys/${path}'`, netns)));
  const { address, mtu, flags, txqlen } = link;
  return { address, mtu, flags: flags.toSorted(), txqlen, values };
}

function backup(world: World): unknown {
  try {
    const [file] = [...Deno.readDirSync(`${world.dir}/tuning`)].map(({ name }) =>
      `${world.dir}/tuning/${name}`
    );
    return file &&
      { name: file.slice(file.lastIndexOf("/")), content: JSON.parse(Deno.readTextFileSync(file)) };
  } catch (error) {
    assert(error instanceof Deno.errors.NotFound);
    return undefined;
  }
}

function withoutNamespace({ document }: Answer): unknown {
  const { dns = {}, ...result } = document;
  return JSON.parse(JSON.stringify({ ...result, dns }).replaceAll(/pwt-[0-9a-f]+-[a-z]+/g, "NETNS"));
}

for (const [needs, original] of ORIGINALS) {
  for (const [name, each] of Object.entries(CASES)) {
    if (!isKnownTo(needs, each)) continue;
    Deno.test({
      name:
        `U45 tuning: ${name}: the built-in one and that of ${needs} change the same, and each checks and undoes it`,
      ...need("root", "ip", needs),
      fn: inWorld(async (world) => {
        const seen: unknown[] = [];
        for (const [at, add, other] of [["a", OURS, original], ["b", original, OURS]] as const) {
          const netns = await podWith(world, at, each.ifName ?? "eth0");
          const call = callOf(world, each, netns);
          const before = await stateOf(call, each);
          const answer = await add({ ...call, verb: "ADD" });
          assertDone(answer);
          seen.push({
            result: withoutNamespace(answer),
            state: await stateOf(call, each),
            backup: backup(world),
          });
          const config = { ...call.config, prevResult: answer.document };
          for (const caller of [add, other]) assertDone(await caller({ ...call, config, verb: "CHECK" }));
          for (const caller of [other, add]) assertDone(await caller({ ...call, config, verb: "DEL" }));
          const { values: _, ...link } = await stateOf(call, each) as Record<string, unknown>;
          const { values: __, ...linkBefore } = before as Record<string, unknown>;
          assertEquals([link, backup(world)], [linkBefore, undefined]);
        }
        assertEquals(seen[0], seen[1]);
      }),
    });
  }
}

/** What is refused before anything changes, with the code. */
const REFUSED: Readonly<Record<string, Case & { readonly code: number; readonly says: RegExp }>> = {
  "a sysctl outside of the network": {
    config: { sysctl: { "kernel.hostname": "x" } },
    code: 7,
    says: /kernel\.hostname.*net\./,
  },
  "the same sysctl twice": {
    config: { sysctl: { "net.ipv4.ip_default_ttl": "1", "net/ipv4/ip_default_ttl": "2" } },
    code: 7,
    says: /are the same/,
  },
  "a sysctl that is a number": {
    config: { sysctl: { "net.ipv4.ip_default_ttl": 1 } },
    code: 7,
    says: /ip_default_ttl/,
  },
  "a MAC address that is none": { config: { mac: "02:00" }, code: 7, says: /^mac .*02:00/ },
  "a MAC address of CNI_ARGS that is none": { config: {}, args: "MAC=x", code: 4, says: /MAC/ },
  "an unknown argument": { config: {}, args: "IP=1", code: 4, says: /IP=1/ },
  "an MTU below zero": { config: { mtu: -1 }, code: 7, says: /^mtu / },
};

for (const [name, { code, says, ...each }] of Object.entries(REFUSED)) {
  Deno.test({
    name: `tuning refuses ${name}, names it, and changes nothing`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      const call = callOf(world, each, await podWith(world, "a", "eth0"));
      const before = await stateOf(call, { config: {} });
      const { document } = await OURS({ ...call, verb: "ADD" });
      assertEquals(document.code, code, JSON.stringify(document));
      assertMatch(document.msg, says);
      assertEquals([await stateOf(call, { config: {} }), backup(world)], [before, undefined]);
      assertDone(await OURS({ ...call, verb: "DEL" }));
    }),
  });
}

Deno.test({
  name: "U47 tuning sets a sysctl of an interface with a dot in its name (plugins#669)",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const each = { config: { sysctl: { "net.ipv4.conf.IFNAME.arp_filter": "1" } }, ifName: "eth0.100" };
    const call = callOf(world, each, await podWith(world, "a", "eth0.100"));
    for (const verb of ["ADD", "CHECK", "DEL"] as const) assertDone(await OURS({ ...call, verb }));
    assertEquals(await sh("cat /proc/sys/net/ipv4/conf/eth0.100/arp_filter", call.netns), "1\n");
  }),
});

/** What changes after the ADD, and what the CHECK says of it. */
const DRIFT: readonly (readonly [script: string, says: RegExp])[] = [
  [
    "ip link set eth0 address 02:00:00:00:00:01",
    /MAC address of "eth0" is 02:00:00:00:00:01, not 02:00:00:00:00:77/,
  ],
  ["ip link set eth0 mtu 1400", /MTU of "eth0" is 1400, not 1300/],
  ["ip link set eth0 promisc off", /promiscuous mode/],
  ["ip link set eth0 allmulticast off", /all-multicast mode/],
  ["ip link set eth0 txqueuelen 3", /transmit queue.* is 3, not 500/],
  ["echo 10 >/proc/sys/net/ipv4/ip_default_ttl", /sysctl "net\.ipv4\.ip_default_ttl" is "10", not "9"/],
  ["ip link del eth0", /interface "eth0" is not in/],
];

Deno.test({
  name: "the CHECK of tuning sees each change, and nothing that was not asked for",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const all = CASES["all of it"]!;
    for (const [at, [script, says]] of DRIFT.entries()) {
      const call = callOf(world, all, await podWith(world, "abcdefg"[at] ?? "", "eth0"));
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await sh(script, call.netns);
      const { code, document } = await OURS({ ...call, verb: "CHECK" });
      assertEquals(code, 1, script);
      assertMatch(document.msg, says);
      assertDone(await OURS({ ...call, verb: "DEL" }));
      assertEquals(backup(world), undefined, script);
    }
    // As tcpdump does; the original fails then.
    const call = callOf(world, { config: { mtu: 1300 } }, await podWith(world, "h", "eth0"));
    assertDone(await OURS({ ...call, verb: "ADD" }));
    await sh("ip link set eth0 promisc on", call.netns);
    assertDone(await OURS({ ...call, verb: "CHECK" }));
  }),
});

Deno.test({
  name:
    "the DEL of tuning removes its file when the namespace is gone, and succeeds with a file that is damaged",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const call = callOf(world, CASES["the MTU"]!, await podWith(world, "a", "eth0"));
    for (const netns of ["", "/run/netns/gone"]) {
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, netns, verb: "DEL" }));
      assertEquals(backup(world), undefined);
    }
    assertDone(await OURS({ ...call, verb: "ADD" }));
    await Deno.writeTextFile(`${world.dir}/tuning/c-${world.tag}_eth0.json`, "{");
    assertDone(await OURS({ ...call, verb: "DEL" }));
    assertEquals(backup(world), undefined);
  }),
});

Deno.test({
  name: "a sysctl that the kernel refuses is named with the reason",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const call = callOf(
      world,
      { config: { sysctl: { "net.ipv4.ip_default_ttl": "x" } } },
      await podWith(world, "a", "eth0"),
    );
    const { document } = await OURS({ ...call, verb: "ADD" });
    assertStringIncludes(document.msg, 'Cannot set the sysctl "net.ipv4.ip_default_ttl" to "x": ');
    // Dots become slashes, so that no name leads out of the network's folder.
    const outside = { ...call.config, sysctl: { "net/../kernel/hostname": "x" } };
    const { document: { msg } } = await OURS({ ...call, config: outside, verb: "ADD" });
    assertStringIncludes(msg, "net/../kernel/hostname");
    assertNotEquals(await sh("hostname"), "x\n");
  }),
});

Deno.test("U46 the list of the machine allows sysctls by parts of their names, and is named if it cannot be read", async () => {
  const file = await Deno.makeTempFile();
  try {
    const sysctl = (key: string) => ({ key, path: key.replaceAll(".", "/"), value: "1" });
    const [arp, ttl] = [sysctl("net.ipv4.conf.IFNAME.arp_filter"), sysctl("net.ipv4.ip_default_ttl")];
    await requireAllowed([arp, ttl], `${file}.none`);
    await Deno.writeTextFile(file, "^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n\n  default_ttl  \n");
    await requireAllowed([arp, ttl], file);
    const error = await assertRejects(
      () => requireAllowed([arp, sysctl("net.core.somaxconn")], file),
      CniError,
    );
    assertStringIncludes(error.message, 'the sysctl "net.core.somaxconn" is not allowed on this machine');
    await Deno.writeTextFile(file, "");
    await assertRejects(() => requireAllowed([ttl], file), CniError, "is not allowed");
    await requireAllowed([], file);
    await Deno.writeTextFile(file, "[");
    await assertRejects(() => requireAllowed([ttl], file), CniError, '"[" is not a regular expression');
  } finally {
    await Deno.remove(file);
  }
});

Deno.test({
  name: "a chain of built-in plugins with tuning makes a pod, with the values in its result, and removes it",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const netns = await world.netns("a");
    const call = { containerId: `c-${world.tag}`, netns, ifName: "eth0" };
    const list = { cniVersion: "1.1.0", name: `net-${world.tag}` };
    const ipam = {
      type: "static",
      addresses: [{ address: `${world.subnet4}.7/24`, gateway: `${world.subnet4}.1` }],
    };
    const bridge = { ...list, type: "bridge", bridge: world.bridge, isGateway: true, ipam };
    const tuning = { ...list, type: "tuning", dataDir: `${world.dir}/tuning`, mac: MAC, mtu: 1300 };
    const first = await callBuiltin("bridge", { ...call, verb: "ADD", config: bridge });
    const added = await OURS({ ...call, verb: "ADD", config: { ...tuning, prevResult: first.document } });
    assertDone(added);
    const inside = added.document.interfaces.find(({ sandbox }: JsonObject) => sandbox === netns);
    assertEquals(inside.mac, MAC);
    const config = { ...tuning, prevResult: added.document };
    for (const verb of ["CHECK", "DEL"] as const) assertDone(await OURS({ ...call, verb, config }));
    assertDone(
      await callBuiltin("bridge", {
        ...call,
        verb: "DEL",
        config: { ...bridge, prevResult: added.document },
      }),
    );
    assertEquals(await sh(`ip -o link show master ${world.bridge}`), "");
  }),
});
