// What may happen to an attachment of a plugin that gives a container one interface, and what its verbs do then.
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { builtins } from "../../lib/builtin/mod.ts";
import { freeLeftovers } from "../../lib/builtin/leftovers.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { PluginRunner } from "../../lib/plugin/exec.ts";
import { assertDone, type Call, callBuiltin, resultOf } from "./builtin_call.ts";
import { sh } from "./builtin_world.ts";
import { inMasterWorld, type MasterWorld } from "./master_world.ts";
import { stopAtEachProgram } from "./stopped_add.ts";
import { type LinkKind, needLinks } from "./need_links.ts";

/** The plugin, and how it is configured. */
export interface LinkPlugin {
  readonly type: LinkKind;
  /** What its configuration has beside the IPAM plugin. */
  readonly more: (world: MasterWorld) => JsonObject;
  /** What may happen to the interface, and what CHECK says then; `$MASTER`, `$IP4` and `$POD` are filled in. */
  readonly losses: readonly Loss[];
  /**
   * Whether only the tests run that depend on the kind of interface: what is common is tested with another kind, and takes minutes
   * under an emulated kernel. @default {false}
   */
  readonly isBrief?: boolean;
}

/** Something that happens to an attachment. */
export interface Loss {
  readonly what: string;
  readonly script: string;
  /** @default {false} */
  readonly onHost?: boolean;
  readonly says: RegExp;
}

const LOSSES: readonly Loss[] = [
  { what: "its address", script: "ip addr del $IP4/24 dev eth0", says: /does not have the address/ },
  {
    what: "its route",
    script: "ip route del 10.99.0.0/16",
    says: /the route to 10\.99\.0\.0\/16 is not there/,
  },
  {
    what: "its IPv6 default route",
    script: "ip -6 route del default",
    says: /the route to ::\/0 is not there/,
  },
  { what: "its state of being up", script: "ip link set eth0 down", says: /"eth0" is down/ },
  { what: "its interface", script: "ip link del eth0", says: /"eth0" is not in .* any more/ },
  {
    what: "its interface to another one of that name",
    script: "ip link del eth0; ip link add eth0 type veth peer name eth0p; ip link set eth0 up",
    says: /"eth0" is not a /,
  },
];

function configOf({ type, more }: LinkPlugin, world: MasterWorld): JsonObject {
  const { subnet4, subnet6, dir, tag } = world;
  const ranges = [[{ subnet: `${subnet4}.0/24` }], [{ subnet: `${subnet6}::/64` }]];
  const routes = [{ dst: "10.99.0.0/16" }, { dst: "::/0" }];
  const ipam = { type: "host-local", dataDir: dir, ranges, routes };
  return { cniVersion: "1.1.0", name: `net-${tag}`, type, ipam, ...more(world) };
}

/** The addresses that host-local has given away. */
function reserved({ dir, tag }: MasterWorld): string[] {
  try {
    const names = Array.from(Deno.readDirSync(`${dir}/net-${tag}`), ({ name }) => name);
    return names.filter((name) => name !== "lock" && !name.startsWith("last_")).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function attach(plugin: LinkPlugin, world: MasterWorld, at: string, config = configOf(plugin, world)) {
  const netns = await world.pod(at);
  const call = { containerId: `c-${world.tag}-${at}`, netns, ifName: "eth0", config };
  const answer = await callBuiltin(plugin.type, { ...call, verb: "ADD" });
  const [v4 = "", v6 = ""] = resultOf(answer).ips?.map(({ address }) => address.split("/")[0] ?? "") ?? [];
  return { call: { ...call, config: { ...config, prevResult: answer.document } }, v4, v6 };
}

async function linksIn(netns: string): Promise<string[]> {
  const links: { ifname: string }[] = JSON.parse(await sh("ip -j link show", netns));
  return links.map(({ ifname }) => ifname).sort();
}

/** Registers a test of one plugin. */
export function linkTest(
  type: LinkKind,
  sentence: string,
  fn: (world: MasterWorld) => Promise<void>,
): void {
  Deno.test({ name: `${type}: ${sentence}`, ...needLinks([type]), fn: inMasterWorld(fn) });
}

/** Registers the tests of one plugin. */
export function linkLife(plugin: LinkPlugin): void {
  const { type } = plugin;
  const call = (call: Call) => callBuiltin(type, call);
  const test = (sentence: string, fn: (world: MasterWorld) => Promise<void>) => linkTest(type, sentence, fn);
  const common = plugin.isBrief === true ? () => {} : test;

  for (const { what, script, onHost = false, says } of [...plugin.isBrief ? [] : LOSSES, ...plugin.losses]) {
    test(`CHECK sees that a pod has lost ${what}, and DEL removes the rest`, async (world) => {
      const { call: attached, v4 } = await attach(plugin, world, "a");
      assertDone(await call({ ...attached, verb: "CHECK" }));
      const words = { IP4: v4, MASTER: world.master, POD: attached.netns };
      const filled = Object.entries(words).reduce(
        (text, [key, word]) => text.replaceAll(`$${key}`, word),
        script,
      );
      await sh(filled, onHost ? undefined : attached.netns);
      const { code, document } = await call({ ...attached, verb: "CHECK" });
      assertEquals(code, 1);
      assertMatch(document.msg, says);
      assertDone(await call({ ...attached, verb: "DEL" }));
      assertEquals(reserved(world), []);
    });
  }

  test("DEL finds the interface by its tag, whatever its name is, without the result of the ADD", async (world) => {
    const { call: attached } = await attach(plugin, world, "a");
    await sh("ip link set eth0 down; ip link set eth0 name other0", attached.netns);
    // The mistake in it must not prevent the cleaning up.
    const config = { ...configOf(plugin, world), mtu: "large", master: "absent0", mode: "odd", vlanId: -1 };
    for (const _ of "ab") {
      assertDone(await call({ ...attached, config, verb: "DEL" }));
      assertEquals([await linksIn(attached.netns), reserved(world)], [["lo"], []]);
    }
  });

  common("DEL frees the addresses when the namespace is gone", async (world) => {
    for (const [at, netns] of [["a", ""], ["b", "/run/netns/gone"]] as const) {
      const { call: attached } = await attach(plugin, world, at);
      assertDone(await call({ ...attached, netns, verb: "DEL" }));
      assertEquals(reserved(world), []);
    }
  });

  test("an interface that it did not make stays, and has the name for itself", async (world) => {
    const netns = await world.pod("a");
    await sh("ip link add eth0 type veth peer name eth1", netns);
    const config = configOf(plugin, world);
    const attached = { containerId: `c-${world.tag}`, netns, ifName: "eth0", config };
    const { code, document } = await call({ ...attached, verb: "ADD" });
    assertEquals(code, 1);
    assertStringIncludes(document.msg, `Cannot create interface "eth0" in "${netns}": it already exists`);
    assertDone(await call({ ...attached, verb: "DEL" }));
    assertEquals([await linksIn(netns), reserved(world)], [["eth0", "eth1", "lo"], []]);
  });

  common("an interface of another attachment stays", async (world) => {
    const { call: attached } = await attach(plugin, world, "a");
    assertDone(await call({ ...attached, containerId: `d-${world.tag}`, verb: "DEL" }));
    assertEquals(await linksIn(attached.netns), ["eth0", "lo"]);
    assertDone(await call({ ...attached, verb: "DEL" }));
  });

  common("an ADD without addresses to have leaves nothing", async (world) => {
    const netns = await world.pod("a");
    const ranges = [[{
      subnet: `${world.subnet4}.0/24`,
      rangeStart: `${world.subnet4}.9`,
      rangeEnd: `${world.subnet4}.9`,
    }]];
    const config = { ...configOf(plugin, world), ipam: { type: "host-local", dataDir: world.dir, ranges } };
    const first = { containerId: "first", netns: await world.pod("b"), ifName: "eth0", config };
    assertDone(await callBuiltin("host-local", { ...first, verb: "ADD" }));
    const second = { containerId: "second", netns, ifName: "eth0", config };
    assertEquals((await call({ ...second, verb: "ADD" })).code, 1);
    assertEquals([await linksIn(netns), reserved(world)], [["lo"], [`${world.subnet4}.9`]]);
  });

  test("GC removes interfaces and addresses that no attachment holds, and no others", async (world) => {
    const kept = await attach(plugin, world, "a");
    const config = configOf(plugin, world);
    const valid = (...containers: string[]) => ({
      ...config,
      "cni.dev/valid-attachments": containers.map((containerID) => ({ containerID, ifname: "eth0" })),
    });
    if (type !== "vlan") {
      const lost = await attach(plugin, world, "b");
      assertDone(await call({ config: valid(kept.call.containerId), verb: "GC" }));
      assertEquals(await linksIn(lost.call.netns), ["lo"]);
      assertEquals(reserved(world), [kept.v4, kept.v6].sort());
    }
    assertDone(await call({ ...kept.call, verb: "CHECK" }));
    assertDone(await call({ config: { ...valid(), name: `other-${world.tag}` }, verb: "GC" }));
    assertDone(await call({ ...kept.call, verb: "CHECK" }));
    assertDone(await call({ config: valid(), verb: "GC" }));
    assertEquals([await linksIn(kept.call.netns), reserved(world)], [["lo"], []]);
  });

  common("it is attached, checked, detached and collected by programs too", async (world) => {
    // Not the function of the system: with another one there is no netlink.
    const run: RunCommand = (request) => runCommand(request);
    const byIp = (call: Call) => callBuiltin(type, call, run);
    const config = configOf(plugin, world);
    const attached = { containerId: `c-${world.tag}`, netns: await world.pod("a"), ifName: "eth0", config };
    for (const verb of ["DEL", "GC"] as const) {
      const { document } = await byIp({ ...attached, verb: "ADD" });
      assertDone(await byIp({ ...attached, config: { ...config, prevResult: document }, verb: "CHECK" }));
      assertDone(await byIp({ ...attached, config: { ...config, "cni.dev/valid-attachments": [] }, verb }));
      assertEquals([await linksIn(attached.netns), reserved(world)], [["lo"], []]);
    }
  });

  common("an ADD that is stopped at any of its programs leaves nothing", async (world) => {
    const netns = await world.pod("a");
    const config = configOf(plugin, world);
    const attached = { type, containerId: `c-${world.tag}`, netns, ifName: "eth0", config };
    await stopAtEachProgram(attached, async (number) => {
      const left = { links: await linksIn(netns), addresses: reserved(world) };
      assertEquals(left, { links: ["lo"], addresses: [] }, `program ${number}`);
    });
  });

  common(
    "a second ADD that is stopped before it begins leaves what the first one has made",
    async (world) => {
      const { call: attached, v4, v6 } = await attach(plugin, world, "a");
      const { document } = await callBuiltin(type, { ...attached, verb: "ADD" });
      assertStringIncludes(document.msg, 'Cannot create interface "eth0"');
      const request = { ...attached, type, args: [], verb: "ADD" as const };
      for (let number = 0;; number++) {
        const stop = new AbortController();
        let started = 0;
        const run: RunCommand = async (request) => {
          if (started++ === number) stop.abort(new Error("stopped"));
          return await runCommand(request);
        };
        const runner = new PluginRunner({ pluginDirs: [], builtins, builtinPolicy: "prefer", run });
        await assertRejects(() => runner.add({ ...request, signal: stop.signal }, "1.1.0"));
        assertEquals([await linksIn(attached.netns), reserved(world)], [["eth0", "lo"], [v4, v6].sort()]);
        if (!stop.signal.aborted) return;
      }
    },
  );

  common("what an attachment has left is found and freed without the plugin", async (world) => {
    const { call: attached, v4, v6 } = await attach(plugin, world, "a");
    const { netns, containerId, ifName, config } = attached;
    const abandoned = { network: `net-${world.tag}`, containerId, ifName, netns, addresses: [v4, v6] };
    const host = { run: runCommand, signal: new AbortController().signal };
    const free = (dryRun: boolean) =>
      freeLeftovers({ ...abandoned, config: JSON.stringify(config) }, host, { dryRun });
    const dry = await free(true);
    assert(dry.freed.includes(`the interface eth0 in ${netns}`), JSON.stringify(dry));
    assertEquals([await linksIn(netns), reserved(world).length], [["eth0", "lo"], 2]);
    assertEquals(await free(false), dry);
    assertEquals([await linksIn(netns), reserved(world), dry.remaining], [["lo"], [], []]);
  });

  common("STATUS is that of the IPAM plugin", async (world) => {
    const config = configOf(plugin, world);
    assertDone(await call({ config, verb: "STATUS" }));
    const { code } = await call({ config: { ...config, ipam: { type: "absent" } }, verb: "STATUS" });
    assert(code !== 0);
  });
}
