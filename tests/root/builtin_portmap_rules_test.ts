// What the built-in portmap does better than the originals, and what it never touches, on the real kernel.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { freeLeftovers } from "../../lib/builtin/leftovers.ts";
import { PORTMAP_BACKENDS, type PortmapBackend } from "../../lib/builtin/portmap_config.ts";
import { dnatChain } from "../../lib/builtin/portmap_frame.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type RunCommand, runCommand, runningAs } from "../../lib/host/command.ts";
import { type Answer, assertDone, type Call, callBuiltin } from "./builtin_call.ts";
import { printedBy } from "../kernel/denow_process.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { pathWithout } from "./firewall_world.ts";
import { need } from "./need.ts";
import { callOf, leftOf, nftRules, ORIGINALS, OURS } from "./portmap_world.ts";

const needs = (backend: PortmapBackend) => need("root", "ip", backend === "iptables" ? "iptables" : "nft");
const ports = (...portMappings: readonly JsonObject[]) => ({ runtimeConfig: { portMappings } });
const tcp = (hostPort: number, more: JsonObject = {}) => ({
  ...{ hostPort, containerPort: 80, protocol: "tcp" },
  ...more,
});

async function chainOf(world: World, containerId = `c-${world.tag}`): Promise<string> {
  return await dnatChain({ network: `net-${world.tag}`, containerId });
}

async function left(world: World, containerId?: string): Promise<readonly string[]> {
  return await leftOf(world, await chainOf(world, containerId));
}

/** Returns a function that runs programs on this machine, and the list of those that it ran. */
function recording(): readonly [RunCommand, string[]] {
  const ran: string[] = [];
  const run: RunCommand = runningAs(runCommand, (request) => {
    ran.push([request.program, ...request.args ?? []].join(" "));
    return runCommand(request);
  });
  return [run, ran];
}

/** The time that this process and the programs that it has run have had of the processors, in milliseconds. */
async function processorMs(): Promise<number> {
  const stat = await sh(`cat /proc/${Deno.pid}/stat`);
  // After the name, which may have blanks: in hundredths of a second, for itself and for its children.
  const times = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 15);
  return times.reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}

/** As without the permission to call the C library. */
const throughPrograms: RunCommand = (request) => runCommand(request);

function withConfig(call: Omit<Call, "verb">, more: JsonObject): Omit<Call, "verb"> {
  return { ...call, config: { ...call.config, ...more } };
}

function refused({ code, document }: Answer): unknown {
  return { failed: code !== 0, code: document?.code };
}

Deno.test({
  name: "U26 without ports no program is started on ADD, CHECK, and DEL, and nothing is written",
  ...need("root", "ip"),
  fn: inWorld(async (world) => {
    const call = callOf(world, await world.netns("a"), {});
    const [run, ran] = recording();
    for (const verb of ["ADD", "CHECK", "DEL"] as const) {
      for (const more of [{}, ports(), { runtimeConfig: {} }]) {
        assertDone(await callBuiltin("portmap", { ...withConfig(call, more), verb }, run));
      }
    }
    assertEquals(ran, []);
  }),
});

for (const backend of PORTMAP_BACKENDS) {
  Deno.test({
    name:
      `a DEL that names no ports, that has no namespace, or a dead one, or an invalid configuration leaves nothing, ` +
      `also of an original's ADD (${backend})`,
    ...need("root", "ip", "cni-1.9.1", backend === "iptables" ? "iptables" : "nft"),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const call = callOf(world, netns, { ...ports(tcp(18080), tcp(18081, { protocol: "udp" })), backend });
      const [, original = OURS] = ORIGINALS[1] ?? [];
      const { runtimeConfig: _, prevResult: __, ...bare } = call.config;
      const deletions: Readonly<Record<string, Partial<Call>>> = {
        "no ports": { config: { ...call.config, runtimeConfig: {} } },
        "neither ports nor a result": { config: bare },
        "no namespace": { netns: "" },
        "a dead namespace": { netns: "/run/netns/pwt-gone" },
        "another back end": {
          config: { ...call.config, backend: backend === "iptables" ? "nftables" : "iptables" },
        },
        "an invalid configuration": { config: { ...call.config, backend: 7, snat: "x", markMasqBit: -1 } },
        "no ports and no namespace": { netns: "", config: bare },
      };
      for (const add of [OURS, original]) {
        for (const [name, how] of Object.entries(deletions)) {
          assertDone(await add({ ...call, verb: "ADD" }));
          assert((await left(world)).length > 0);
          assertDone(await OURS({ ...call, ...how, verb: "DEL" }));
          assertEquals(await left(world), [], name);
        }
      }
      assertDone(await OURS({ ...call, verb: "ADD" }));
      const plain = { ...call, config: bare, verb: "DEL" } as const;
      assertDone(await callBuiltin("portmap", plain, throughPrograms));
      assertEquals(await left(world), []);
    }),
  });

  Deno.test({
    name:
      `the ports of a container on another network and on another interface stay, whatever is removed (${backend})`,
    ...needs(backend),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const address = (last: number, ifName: string) => ({
        prevResult: {
          cniVersion: "1.0.0",
          interfaces: [{ name: ifName, sandbox: netns }],
          ips: [{ address: `${world.subnet4}.${last}/24`, interface: 0 }],
        },
      });
      const base = callOf(world, netns, { backend });
      const attach = (last: number, ifName: string, port: number, more: JsonObject = {}) => ({
        ...withConfig(base, { ...address(last, ifName), ...ports(tcp(port)), ...more }),
        ifName,
      });
      const one = attach(11, "eth0", 18080);
      const others = [attach(12, "eth1", 18081), attach(13, "eth2", 18082, { name: `other-${world.tag}` })];
      for (const other of others) assertDone(await OURS({ ...other, verb: "ADD" }));
      const before = await rulesOf(world);
      for (const call of [one, withConfig(one, { runtimeConfig: {} })]) {
        // A second ADD replaces what the first one made.
        for (const verb of ["ADD", "ADD", "CHECK"] as const) assertDone(await OURS({ ...one, verb }));
        for (const other of others) assertDone(await OURS({ ...other, verb: "CHECK" }));
        assertDone(await OURS({ ...call, verb: "DEL" }));
        assertEquals(await rulesOf(world), before);
      }
      for (const other of others) {
        assertDone(await OURS({ ...other, verb: "CHECK" }));
        assertDone(await OURS({ ...other, verb: "DEL" }));
      }
      assertEquals(await rulesOf(world), []);
    }),
  });

  Deno.test({
    name: `GC removes the rules of attachments that are not valid, and no other's (${backend})`,
    ...needs(backend),
    fn: inWorld(async (world) => {
      const base = callOf(world, await world.netns("a"), { ...ports(tcp(18080)), backend });
      const attach = (name: string, last: number, more: JsonObject = {}) => ({
        ...withConfig(base, {
          prevResult: { cniVersion: "1.0.0", ips: [{ address: `${world.subnet4}.${last}/24` }] },
          ...ports(tcp(18000 + last)),
          ...more,
        }),
        containerId: `${name}-${world.tag}`,
      });
      const [stale, valid, foreign] = [
        attach("stale", 11),
        attach("valid", 12),
        attach("foreign", 13, { name: `other-${world.tag}` }),
      ];
      for (const call of [valid, foreign]) assertDone(await OURS({ ...call, verb: "ADD" }));
      const before = await rulesOf(world);
      assertDone(await OURS({ ...stale, verb: "ADD" }));
      const config = {
        ...base.config,
        cniVersion: "1.1.0",
        "cni.dev/valid-attachments": [{ containerID: valid.containerId, ifname: "eth0" }],
      };
      for (let times = 0; times < 2; times++) assertDone(await OURS({ verb: "GC", config }));
      assertEquals(await rulesOf(world), before);
      for (const call of [valid, foreign]) assertDone(await OURS({ ...call, verb: "DEL" }));
      assertEquals(await rulesOf(world), []);
    }),
  });

  Deno.test({
    name:
      `U27 10,000 ports make as many rules as one, in at most 1 s, and a CHECK and a DEL know them (${backend})`,
    ...needs(backend),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const range = (length: number, by: number) =>
        Array.from({ length }, (_, at) => tcp(20_000 + at, { containerPort: 20_000 + by + at }));
      for (const by of [0, 1000]) {
        const single = callOf(world, netns, { ...ports(...range(1, by)), backend });
        assertDone(await OURS({ ...single, verb: "ADD" }));
        const rules = (await left(world)).length;
        assertDone(await OURS({ ...single, verb: "DEL" }));
        const call = callOf(world, netns, { ...ports(...range(10_000, by)), backend });
        // Each ADD replaces the one before. What other processes of the machine take does not count.
        let elapsed = Infinity;
        for (let attempt = 0; attempt < 5 && elapsed > 1000; attempt++) {
          const [start, processor] = [performance.now(), await processorMs()];
          assertDone(await OURS({ ...call, verb: "ADD" }));
          const taken = performance.now() - start;
          elapsed = Math.min(elapsed, taken, await processorMs() - processor);
        }
        assertEquals((await left(world)).length, rules);
        assert(elapsed <= 1000, `${elapsed} ms`);
        assertDone(await OURS({ ...call, verb: "CHECK" }));
        assertDone(await OURS({ ...call, verb: "DEL" }));
        assertEquals(await left(world), []);
      }
    }),
  });

  Deno.test({
    name:
      `U29 a port that is asked for as wildcard, 0.0.0.0 and :: has one rule a family, and nothing is left of it (${backend})`,
    ...needs(backend),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const alone = callOf(world, netns, { ...ports(tcp(18080)), backend });
      assertDone(await OURS({ ...alone, verb: "ADD" }));
      const wanted = await rulesOf(world);
      assertDone(await OURS({ ...alone, verb: "DEL" }));
      const twice = ["::", "", "0.0.0.0", ""].map((hostIP) => tcp(18080, { hostIP }));
      const call = callOf(world, netns, { ...ports(...twice), backend });
      const answer = await OURS({ ...call, verb: "ADD" });
      assertDone(answer);
      assertStringIncludes(answer.stderr, "3 of the 4 port mappings say the same as others");
      assertEquals(await rulesOf(world), wanted);
      assertDone(await OURS({ ...call, verb: "DEL" }));
      assertEquals(await left(world), []);
    }),
  });

  Deno.test({
    name: `CHECK names what is missing of the rules, and an ADD of the same attachment mends it (${backend})`,
    ...needs(backend),
    fn: async () => {
      // It removes what all containers share, also those of other tests.
      const own = { namespaces: ["--net"] };
      assertEquals(await printedBy("../root/portmap_damage_process.ts", ["--allow-all"], [backend], own), "");
    },
  });

  Deno.test({
    name:
      `an ADD that fails leaves nothing: neither rules of one family nor those before a failure (${backend})`,
    ...needs(backend),
    fn: inWorld(async (world) => {
      const conditions = backend === "iptables" ? ["-m", "nonsense"] : ["nonsense"];
      const call = callOf(world, await world.netns("a"), {
        ...ports(tcp(18080)),
        conditionsV6: conditions,
        backend,
      });
      const { code, document } = await OURS({ ...call, verb: "ADD" });
      assertEquals({ failed: code !== 0, code: document.code }, { failed: true, code: 999 });
      assertStringIncludes(document.msg + document.details, "nonsense");
      assertEquals(await left(world), []);
    }),
  });
}

for (const backend of PORTMAP_BACKENDS) {
  Deno.test({
    name:
      `what a forgotten attachment leaves is freed without its plugin, and nothing in a dry run (${backend})`,
    ...needs(backend),
    fn: inWorld(async (world) => {
      const netns = await world.netns("a");
      const call = callOf(world, netns, { ...ports(tcp(18080)), backend });
      assertDone(await OURS({ ...call, verb: "ADD" }));
      const before = await left(world);
      const attachment = {
        ...{ network: `net-${world.tag}`, containerId: `c-${world.tag}`, ifName: "eth0", netns: "" },
        config: JSON.stringify({ name: `net-${world.tag}`, plugins: [{ type: "portmap" }] }),
        addresses: [`${world.subnet4}.7/24`, `${world.subnet6}::7/64`],
      };
      const host = { run: runCommand, signal: AbortSignal.timeout(60_000) };
      assertEquals((await freeLeftovers(attachment, host, { dryRun: true })).freed, ["its port mappings"]);
      assertEquals(await left(world), before);
      assertEquals(await freeLeftovers(attachment, host), { freed: ["its port mappings"], remaining: [] });
      assertEquals(await left(world), []);
    }),
  });
}

/** All rules that belong to containers of a world, whatever made them, without handles and counters. */
async function rulesOf(world: World): Promise<readonly string[]> {
  const text = await sh(
    "iptables -w -t nat -S; ip6tables -w -t nat -S; for each in ip ip6; do nft list table $each cni_hostport || :; done 2>/dev/null",
  );
  return text.split("\n").map((line) => line.trim()).filter((line) =>
    line.includes(world.tag) || line.includes(`${world.subnet4}.`) || line.includes(world.subnet6)
  );
}

Deno.test({
  name:
    "the conditions of one attachment do not rule the ports of another, of either plugin and in any order (nftables)",
  ...need("root", "ip", "nft", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const base = callOf(world, await world.netns("a"), { ...ports(tcp(18080)), backend: "nftables" }, [4]);
    const conditions = { conditionsV4: ["ip", "saddr", "192.0.2.0/24"] };
    const [, original = OURS] = ORIGINALS[1] ?? [];
    const other = {
      ...withConfig(base, { ...ports(tcp(18081)), ...conditions }),
      containerId: `o-${world.tag}`,
    };
    const entries = async () =>
      (await sh("nft list chain ip cni_hostport prerouting")).split("\n").filter((line) =>
        line.includes("jump")
      );
    try {
      assertDone(await OURS({ ...base, verb: "ADD" }));
      assertDone(await OURS({ ...other, verb: "ADD" }));
      assertEquals((await entries()).length, 1);
      assert(!(await entries())[0]?.includes("192.0.2"));
      const [rule] = (await nftRules(other.containerId)).filter((line) => line.includes("dnat to"));
      assertStringIncludes(rule ?? "", "ip saddr 192.0.2.0/24 tcp dport 18081 dnat to");
      for (const call of [base, other]) assertDone(await OURS({ ...call, verb: "CHECK" }));
      assertDone(await OURS({ ...other, verb: "DEL" }));
      // That of the original rules all: the CHECK says so, and an ADD gives the container an entry of its own.
      assertDone(await original({ ...other, verb: "ADD" }));
      assertMatch(
        (await OURS({ ...base, verb: "CHECK" })).document.msg,
        /nothing in the chain prerouting leads/,
      );
      assertDone(await OURS({ ...base, verb: "ADD" }));
      for (const call of [base, other]) assertDone(await OURS({ ...call, verb: "CHECK" }));
      const [first, second, ...more] = await entries();
      assertMatch(first ?? "", /ip saddr 192\.0\.2\.0\/24 fib daddr type local jump hostports_all/);
      assertMatch(second ?? "", /fib daddr type local tcp dport 18080 jump hostports comment/);
      assertEquals(more, []);
      for (const call of [base, other]) assertDone(await OURS({ ...call, verb: "DEL" }));
      assertEquals((await entries()).length, 1);
      assertEquals(await leftOf(world, "CNI-DN-none"), []);
    } finally {
      await sh("nft flush chain ip cni_hostport prerouting; nft flush chain ip cni_hostport output");
    }
  }),
});

Deno.test({
  name: "U31 a network that was renamed between ADD and DEL leaves nothing (iptables)",
  ...need("root", "ip", "iptables"),
  fn: inWorld(async (world) => {
    const call = callOf(world, await world.netns("a"), { ...ports(tcp(18080)), backend: "iptables" });
    const other = callOf(world, await world.netns("b"), { ...ports(tcp(18081)), backend: "iptables" });
    const foreign = withConfig(other, {
      name: `third-${world.tag}`,
      prevResult: { cniVersion: "1.0.0", ips: [{ address: `${world.subnet4}.99/24` }] },
    });
    assertDone(await OURS({ ...foreign, verb: "ADD" }));
    const before = await rulesOf(world);
    assertDone(await OURS({ ...call, verb: "ADD" }));
    assertDone(await OURS({ ...withConfig(call, { name: `new-${world.tag}` }), verb: "DEL" }));
    assertEquals(await rulesOf(world), before);
    assertDone(await OURS({ ...foreign, verb: "DEL" }));
  }),
});

Deno.test({
  name: "rules and chains of other owners stay as they are, with both back ends",
  ...need("root", "ip", "iptables", "nft"),
  fn: inWorld(async (world) => {
    const foreign = `F-${world.tag}`;
    await sh(
      `iptables -w -t nat -N ${foreign}; iptables -w -t nat -A ${foreign} -p tcp --dport 18080 -j RETURN
      iptables -w -t nat -I PREROUTING -p tcp --dport 1 -m comment --comment "dnat name: \\"net-${world.tag}\\" id: \\"c-${world.tag}\\"" -j ${foreign}
      nft add table ip cni_hostport; nft add chain ip cni_hostport hostports
      nft add chain ip cni_hostport ${foreign}
      nft add rule ip cni_hostport ${foreign} tcp dport 18080 return comment '"c-${world.tag}"'
      nft add rule ip cni_hostport hostports tcp dport 18099 return comment '"foreign-${world.tag}"'`,
    );
    try {
      const before = await rulesOf(world);
      for (const backend of PORTMAP_BACKENDS) {
        const call = callOf(world, await world.netns(backend), { ...ports(tcp(18080)), backend });
        const valid = { ...call.config, cniVersion: "1.1.0", "cni.dev/valid-attachments": [] };
        for (const verb of ["ADD", "DEL", "ADD"] as const) assertDone(await OURS({ ...call, verb }));
        assertDone(await OURS({ verb: "GC", config: valid }));
        assertEquals(await rulesOf(world), before);
      }
    } finally {
      await sh(
        `iptables -w -t nat -D PREROUTING 1; iptables -w -t nat -F ${foreign}; iptables -w -t nat -X ${foreign}
        nft delete chain ip cni_hostport ${foreign}; nft flush chain ip cni_hostport hostports`,
      );
    }
  }),
});

Deno.test({
  name:
    "U30 without a request iptables is taken where it works, and nftables where there is no iptables at all",
  ...need("root", "ip", "iptables", "nft"),
  fn: inWorld(async (world) => {
    const call = callOf(world, await world.netns("a"), ports(tcp(18080)));
    assertDone(await OURS({ ...call, verb: "ADD" }));
    assertEquals(await nftRules(`c-${world.tag}`), []);
    assertDone(await OURS({ ...call, verb: "CHECK" }));
    assertDone(await OURS({ ...call, verb: "DEL" }));
    const without = async (...missing: RegExp[]): Promise<RunCommand> => {
      const PATH = await pathWithout(world, ...missing);
      return runningAs(
        runCommand,
        (request) => runCommand({ ...request, env: { LC_ALL: "C", ...request.env, PATH } }),
        PATH,
      );
    };
    const nftOnly = await without(/^ip6?tables/);
    const newest = withConfig(call, { cniVersion: "1.1.0" });
    for (const verb of ["ADD", "CHECK", "STATUS"] as const) {
      assertDone(await callBuiltin("portmap", { ...newest, verb }, nftOnly));
    }
    assert((await nftRules(`c-${world.tag}`)).length > 0);
    assertDone(await callBuiltin("portmap", { ...call, verb: "DEL" }, nftOnly));
    assertEquals(await left(world), []);
    const none = await without(/^ip6?tables/, /^nft$/);
    const failed = await callBuiltin("portmap", { ...call, verb: "ADD" }, none);
    assertEquals(refused(failed), { failed: true, code: 999 });
    assertStringIncludes(failed.document.msg, "neither iptables nor nftables works here");
    const status = await callBuiltin("portmap", { ...newest, verb: "STATUS" }, none);
    assertEquals(refused(status), { failed: true, code: 50 });
    assertDone(await callBuiltin("portmap", { ...call, verb: "DEL" }, none));
    // Words of one back end ask for it.
    const words = withConfig(call, { conditionsV4: ["ip", "saddr", "192.0.2.0/24"] });
    assertDone(await OURS({ ...words, verb: "ADD" }));
    assert((await nftRules(`c-${world.tag}`)).length > 0);
    assertDone(await OURS({ ...words, verb: "DEL" }));
  }),
});

Deno.test({
  name:
    "without netlink and without the program conntrack UDP ports work, and what could not be done is said",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const udp = tcp(18053, { protocol: "udp" });
    const call = callOf(world, await world.netns("a"), { ...ports(udp), backend: "nftables" });
    for (const verb of ["ADD", "DEL"] as const) {
      const answer = await callBuiltin("portmap", { ...call, verb }, throughPrograms);
      assertDone(answer);
      assertStringIncludes(answer.stderr, "the program conntrack is missing");
    }
    assertEquals(await left(world), []);
  }),
});

Deno.test({
  name:
    "route_localnet is set on the interface that leads to an IPv4 pod, only where it is not set and only with snat",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    await sh(
      `ip link add ${world.bridge} type bridge; ip addr add ${world.subnet4}.1/24 dev ${world.bridge}; ip link set ${world.bridge} up`,
    );
    const file = `/proc/sys/net/ipv4/conf/${world.bridge}/route_localnet`;
    const call = callOf(world, await world.netns("a"), { ...ports(tcp(18080)), backend: "nftables" });
    assertDone(await OURS({ ...withConfig(call, { snat: false }), verb: "ADD" }));
    assertEquals(await sh(`cat ${file}`), "0\n");
    const v6 = callOf(world, await world.netns("b"), { ...ports(tcp(18080)), backend: "nftables" }, [6]);
    assertDone(await OURS({ ...v6, verb: "ADD" }));
    assertEquals(await sh(`cat ${file}`), "0\n");
    assertDone(await OURS({ ...call, verb: "ADD" }));
    assertEquals(await sh(`cat ${file}`), "1\n");
    assertDone(await OURS({ ...call, verb: "CHECK" }));
    await sh(`echo 0 >${file}`);
    assertMatch((await OURS({ ...call, verb: "CHECK" })).document.msg, /route_localnet" is "0", not "1"/);
    for (const one of [call, v6]) assertDone(await OURS({ ...one, verb: "DEL" }));
  }),
});

Deno.test({
  name: "a read-only route_localnet does no harm if it is right, and is named otherwise, and nothing stays",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    await sh(
      `ip link add ${world.bridge} type bridge; ip addr add ${world.subnet4}.1/24 dev ${world.bridge}; ip link set ${world.bridge} up`,
    );
    const file = `/proc/sys/net/ipv4/conf/${world.bridge}/route_localnet`;
    const call = callOf(world, await world.netns("a"), { ...ports(tcp(18080)), backend: "nftables" });
    const lock = `mount --bind ${file} ${file} && mount -o remount,bind,ro ${file}`;
    await sh(lock);
    try {
      const answer = await OURS({ ...call, verb: "ADD" });
      assertEquals(answer.code, 1);
      assertMatch(
        answer.document.msg,
        /the kernel parameter "net\/ipv4\/conf\/pwt-.*\/route_localnet" has to be 1: /,
      );
      assertEquals(await left(world), []);
      await sh(`umount ${file}; echo 1 >${file}; ${lock}`);
      for (const verb of ["ADD", "CHECK", "DEL"] as const) assertDone(await OURS({ ...call, verb }));
    } finally {
      await sh(`umount ${file}`);
    }
  }),
});

/** What is refused before anything is made, with the code. */
const REFUSED: Readonly<Record<string, { readonly config: JsonObject; readonly says: RegExp }>> = {
  "a port of ::1": {
    config: ports(tcp(18080, { hostIP: "::1" })),
    says: /portMappings\[0\]\.hostIP.*::1.*127\.0\.0\.1/,
  },
  "a host port of zero": { config: ports(tcp(0)), says: /portMappings\[0\]\.hostPort/ },
  "a port below zero": { config: ports(tcp(-1)), says: /portMappings\[0\]\.hostPort/ },
  "a port that is too high": { config: ports(tcp(65_536)), says: /portMappings\[0\]\.hostPort/ },
  "no port of the container": {
    config: ports({ hostPort: 1, protocol: "tcp" }),
    says: /portMappings\[0\]\.containerPort/,
  },
  "an unknown protocol": { config: ports(tcp(1, { protocol: "icmp" })), says: /portMappings\[0\]\.protocol/ },
  "an address that is none": { config: ports(tcp(1, { hostIP: "x" })), says: /portMappings\[0\]\.hostIP.*x/ },
  "a port that leads to two": {
    config: ports(tcp(18080), tcp(18080, { containerPort: 81, hostIP: "::" })),
    says: /18080\/tcp leads to the ports 80 and 81/,
  },
  "an unknown back end": { config: { ...ports(tcp(1)), backend: "bpf" }, says: /backend/ },
  "a mark without a bit": { config: { ...ports(tcp(1)), markMasqBit: 32 }, says: /markMasqBit/ },
  "two ways to mark": {
    config: { ...ports(tcp(1)), markMasqBit: 1, externalSetMarkChain: "X" },
    says: /markMasqBit and externalSetMarkChain/,
  },
  "a chain with a blank": {
    config: { ...ports(tcp(1)), externalSetMarkChain: "a b" },
    says: /externalSetMarkChain/,
  },
  "a chain for nftables": {
    config: { ...ports(tcp(1)), backend: "nftables", externalSetMarkChain: "X" },
    says: /externalSetMarkChain is of iptables, but backend asks for nftables/,
  },
  "conditions of both": {
    config: { ...ports(tcp(1)), conditionsV4: ["-s", "192.0.2.1"], conditionsV6: ["ip6", "saddr", "::2"] },
    says: /conditionsV6 is of nftables, but conditionsV4 asks for iptables/,
  },
  "a condition of two lines": {
    config: { ...ports(tcp(1)), conditionsV4: ["ip\nflush ruleset"] },
    says: /conditionsV4\[0\]/,
  },
};

for (const [name, { config, says }] of Object.entries(REFUSED)) {
  Deno.test({
    name: `U28 portmap refuses ${name}, names it, and makes nothing`,
    ...need("root", "ip"),
    fn: inWorld(async (world) => {
      const call = callOf(world, await world.netns("a"), config);
      const answer = await OURS({ ...call, verb: "ADD" });
      assertEquals(refused(answer), { failed: true, code: 7 }, JSON.stringify(answer.document));
      assertMatch(answer.document.msg, says);
      assertEquals(await left(world), []);
      assertDone(await OURS({ ...call, verb: "DEL" }));
    }),
  });
}

Deno.test({
  name: "a chain of another owner marks in place of the own one (externalSetMarkChain)",
  ...need("root", "ip", "iptables", "cni-1.9.1"),
  fn: inWorld(async (world) => {
    const foreign = `F-${world.tag}`;
    await sh(`iptables -w -t nat -N ${foreign}; ip6tables -w -t nat -N ${foreign}`);
    try {
      const call = callOf(world, await world.netns("a"), {
        ...ports(tcp(18080)),
        externalSetMarkChain: foreign,
      });
      const [, original = OURS] = ORIGINALS[1] ?? [];
      const seen: unknown[] = [];
      for (const [add, other] of [[OURS, original], [original, OURS]] as const) {
        assertDone(await add({ ...call, verb: "ADD" }));
        for (const caller of [add, other]) assertDone(await caller({ ...call, verb: "CHECK" }));
        seen.push(await rulesOf(world));
        assertDone(await other({ ...call, verb: "DEL" }));
      }
      assertEquals(seen[0], seen[1]);
    } finally {
      await sh(`iptables -w -t nat -X ${foreign}; ip6tables -w -t nat -X ${foreign}`);
    }
  }),
});

Deno.test({
  name: "members of a port mapping may be written in any case, as containerd writes them",
  ...need("root", "ip", "nft"),
  fn: inWorld(async (world) => {
    const mapping = { HostPort: 18080, ContainerPort: 80, Protocol: "TCP", HostIP: "" };
    const call = callOf(world, await world.netns("a"), { ...ports(mapping), backend: "nftables" }, [4]);
    assertDone(await OURS({ ...call, verb: "ADD" }));
    const [rule] = (await nftRules(`c-${world.tag}`)).filter((line) => line.includes("dnat to"));
    assertStringIncludes(rule ?? "", `tcp dport 18080 dnat to ${world.subnet4}.7:80`);
    assertDone(await OURS({ ...call, verb: "DEL" }));
  }),
});
