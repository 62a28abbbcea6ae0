// What a pod costs, as far as it can be counted: programs that are started, and writes that wait for the disk.
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_PATH } from "../../lib/host/command.ts";
import { printedBy } from "../kernel/denow_process.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld, masqueradeRules, sh, type World } from "./builtin_world.ts";
import { Costs } from "./costs.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

const BUILT_IN = FLAVOURS[0]!;

Deno.test({
  name: "a pod of built-in plugins starts no program, and waits for the disk once",
  ignore: need("root", "ip").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    await bridgeNetwork(world, "one", { more: { isGateway: true } });
    const { sandboxes } = runtimeOf(world, BUILT_IN);
    const networks = [{ name: "one", ifName: "eth0" }];
    // The first one finds out what holds for all, and makes the bridge.
    await sandboxes.remove((await sandboxes.run({ name: `first-${world.tag}`, networks })).id, {
      force: true,
    });
    using costs = new Costs();
    const { id } = await sandboxes.run({ name: `second-${world.tag}`, networks });
    // Text and name of the intent.
    assertEquals(costs.take(), { programs: [], syncs: 2 });
    await sandboxes.remove(id, { force: true });
    assertEquals(costs.take(), { programs: [], syncs: 0 });
  }),
});

Deno.test({
  name: "what a process writes to the records of a pod while it holds the pod's lock, it does not read again",
  ignore: need("root", "ip").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    await bridgeNetwork(world, "one", { more: { isGateway: true } });
    const { sandboxes } = runtimeOf(world, BUILT_IN);
    let reads = 0;
    const { readFileSync } = Deno;
    Deno.readFileSync = (path) => {
      if (`${path}`.endsWith(".rec")) reads++;
      return readFileSync(path);
    };
    try {
      const { id } = await sandboxes.run({ name: `pod-${world.tag}`, networks: [{ name: "one" }] });
      assertEquals(reads, 0);
      await sandboxes.remove(id, { force: true });
      // Before it has the lock, and then once more: the file is too new to know it by its times.
      assert(reads <= 2, `${reads} reads`);
    } finally {
      Deno.readFileSync = readFileSync;
    }
  }),
});

Deno.test({
  name: "a pod with sysctls and several networks starts no program, and neither does its CHECK",
  ignore: need("root", "ip").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    const second = `${world.bridge}b`;
    const more = { isGateway: true, isDefaultGateway: true };
    await bridgeNetwork(world, "one", { more });
    await bridgeNetwork(world, "two", { number: 1, more: { ...more, bridge: second } });
    try {
      const podwire = runtimeOf(world, BUILT_IN);
      using costs = new Costs();
      const networks = [{ name: "one" }, { name: "two", defaultRoute: true }] as const;
      const { id, netns = "" } = await podwire.sandboxes.run({
        name: `pod-${world.tag}`,
        networks,
        sysctls: { "net.ipv4.ip_default_ttl": "77" },
      });
      for (const [index, name] of ["one", "two"].entries()) {
        await podwire.check(name, { containerId: id, netns, ifName: `eth${index}` });
      }
      await podwire.sandboxes.remove(id, { force: true });
      assertEquals(costs.take().programs, []);
    } finally {
      await sh(`ip link delete dev ${second} 2>/dev/null || :`);
    }
  }),
});

Deno.test({
  name: "without --allow-ffi a pod of built-in plugins starts few programs, and none of them detached",
  ...need("root", "ip"),
  fn: async () => {
    const flags = ["--allow-read", "--allow-write", "--allow-run", "--allow-env"];
    const counted = JSON.parse(await printedBy("../root/cost_process.ts", flags));
    assertEquals(counted, {
      // The namespace; what changes the host, of which one is kept; the interface of the pod.
      run: ["sh", "ip", "sh"],
      // Whether it is there; its removal; the namespace.
      remove: ["ip", "ip", "umount"],
      // With an `ip` that is kept from before.
      kept: { run: ["sh", "sh"], remove: ["ip", "umount"] },
      // The same with sysctls, between two looks at those of the host, a second interface, and default routes.
      several: {
        run: ["sh", "sh", "nsenter", "sh", "sh", "sh", "nsenter", "nsenter"],
        remove: ["ip", "ip", "umount"],
      },
    });
  },
});

Deno.test({
  name:
    "a pod of the chain bridge, portmap, firewall and tuning starts no program for its rules of iptables in both families",
  ignore: need("root", "ip", "iptables", "nft").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    const addresses = (last: number) => [
      { address: `${world.subnet4}.${last}/24`, gateway: `${world.subnet4}.1` },
      { address: `${world.subnet6}::${last}/64`, gateway: `${world.subnet6}::1` },
    ];
    const chained = [
      { type: "portmap", capabilities: { portMappings: true } },
      { type: "firewall" },
      { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
    ];
    const podwire = runtimeOf(world, BUILT_IN);
    const pod = async (name: string, last: number, fn: (id: string) => void | Promise<void>) => {
      const more = {
        isDefaultGateway: true,
        ipMasq: true,
        ipam: { type: "static", addresses: addresses(last) },
      };
      await bridgeNetwork(world, name, { more, chained });
      const { id, netns = "" } = await podwire.sandboxes.run({
        name: `${name}-${world.tag}`,
        networks: [{ name, ifName: "eth0" }],
        publish: ["tcp", "udp", "sctp"].map((protocol) => `${20_000 + last}:80/${protocol}`),
      });
      await podwire.check(name, { containerId: id, netns, ifName: "eth0" });
      await fn(id);
      await podwire.sandboxes.remove(id, { force: true });
      return id;
    };
    // The first one finds out which iptables this is.
    await pod("first", 2, () => {});
    using costs = new Costs();
    const id = await pod("second", 3, async (id) => {
      // Whether another program listens on the ports: before the pod is made, and when it claims them.
      assertEquals(costs.take().programs, ["ss", "ss"]);
      assert((await masqueradeRules(id)).length > 0);
      costs.take();
    });
    assertEquals(costs.take().programs, []);
    assertEquals(await masqueradeRules(id), []);
  }),
});

/** What masquerading costs, by the backend that the configuration requests, and by whether its rules are known here. */
const MASQUERADING: readonly {
  readonly backend: string;
  readonly isKnown: boolean;
  readonly add: readonly string[];
  readonly remove: readonly string[];
}[] = [
  { backend: "iptables", isKnown: true, add: [], remove: [] },
  // A list, and a transaction that replaces what is listed.
  {
    backend: "iptables",
    isKnown: false,
    add: ["iptables", "iptables-restore"],
    remove: ["ip6tables", "iptables", "iptables-restore"],
  },
  // The list is part of the transaction; to remove a rule takes its number, from a list before.
  { backend: "nftables", isKnown: true, add: ["nft"], remove: ["nft", "nft"] },
];

/** A `PATH` on which the programs of iptables are scripts, whose release nothing says. */
async function pathWithScripts(world: World): Promise<string> {
  const folder = `${world.dir}/programs`;
  await Deno.mkdir(folder);
  for (const name of ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"]) {
    const text = `#!/bin/sh\nexec /usr/sbin/${name} "$@"\n`;
    await Deno.writeTextFile(`${folder}/${name}`, text, { mode: 0o755 });
  }
  return `${folder}:${DEFAULT_PATH}`;
}

for (const { backend, isKnown, add, remove } of MASQUERADING) {
  const what = (programs: readonly string[]) => programs.length === 0 ? "no program" : programs.join(" and ");
  Deno.test({
    name:
      `masquerading with ${backend}${isKnown ? "" : " of an unknown release"}: a pod starts ${
        what(add)
      }, and ` +
      `its removal ${what(remove)}`,
    ignore: need("root", "ip", "iptables", "nft").ignore || !HAS_LIBC,
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "one", { more: { isGateway: true, ipMasq: true, ipMasqBackend: backend } });
      const environment = isKnown ? undefined : { PATH: await pathWithScripts(world) };
      const { sandboxes } = runtimeOf(world, BUILT_IN, { environment });
      const networks = [{ name: "one", ifName: "eth0" }];
      await sandboxes.remove((await sandboxes.run({ name: `first-${world.tag}`, networks })).id, {
        force: true,
      });
      using costs = new Costs();
      const { id } = await sandboxes.run({ name: `second-${world.tag}`, networks });
      assertEquals(costs.take().programs.toSorted(), add);
      assert((await masqueradeRules(id)).length > 0);
      costs.take();
      await sandboxes.remove(id, { force: true });
      assertEquals(costs.take().programs.toSorted(), remove);
      assertEquals(await masqueradeRules(id), []);
    }),
  });
}
