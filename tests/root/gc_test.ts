// STATUS, GC, VERSION and the choice of a version, on real namespaces and with the reference plugins.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { ResultCache } from "../../lib/state/result_cache.ts";
import { need } from "./need.ts";
import { PluginWorld, type Release, RELEASES } from "./plugins_world.ts";
import { sandboxTest } from "./sandbox_world.ts";
import { putRecord, recordFile } from "../stores.ts";

/** A bridge with addresses of its own. */
const bridgeOf = (world: PluginWorld, ipam: JsonObject = {}): JsonObject => ({
  type: "bridge",
  bridge: world.bridge,
  ipam: {
    type: "host-local",
    dataDir: world.ipamDir,
    ranges: [[{ subnet: "10.80.0.0/24" }]],
    ...ipam,
  },
});

/** Runs a test with the reference plugins of a release. */
function releaseTest(
  name: string,
  release: Release,
  pods: string[],
  fn: (world: PluginWorld) => Promise<void>,
) {
  Deno.test({
    name,
    ...need("root", "ip", RELEASES[release].needs),
    fn: async () => {
      await using world = await PluginWorld.make(release, ...pods);
      await fn(world);
    },
  });
}

/** The addresses that host-local has allocated, each with its container. */
async function reserved(world: PluginWorld): Promise<Record<string, string>> {
  const dir = `${world.ipamDir}/${world.name}`;
  const owners: Record<string, string> = {};
  for (const { name } of await Array.fromAsync(Deno.readDir(dir))) {
    if (name.startsWith("10.")) {
      owners[name] = (await Deno.readTextFile(`${dir}/${name}`)).split(/\r?\n/)[0] ?? "";
    }
  }
  return owners;
}

releaseTest(
  "D55 D60 GC detaches attachments without an owner from the reference plugins, and keeps the living and other runtimes' attachments",
  "1.9.1",
  ["live", "gone"],
  async (world) => {
    const { podwire } = world;
    await world.network("1.1.0", [bridgeOf(world)]);
    for (const pod of ["live", "gone"]) await podwire.add(world.name, world.request(pod));
    // The address of a runtime that shares only the cache.
    await Deno.writeTextFile(`${world.ipamDir}/${world.name}/10.80.0.78`, "theirs\r\neth0");
    const none = { netns: "", config: "", cniArgs: [], capabilityArgs: {}, result: undefined };
    const theirs = { containerId: "theirs", network: world.name, ifName: "eth0", ...none };
    await new ResultCache(`${world.dir}/cache`).write(theirs);
    assertEquals(Object.keys(await reserved(world)).length, 3);

    const [live, gone] = [world.base("live"), world.base("gone")];
    const dry = await podwire.gc({ valid: [{ containerId: live, ifName: "eth0" }], dryRun: true });
    assertEquals(dry.removed.map(({ containerId }) => containerId), [gone]);
    assertEquals(Object.keys(await reserved(world)).length, 3);

    const report = await podwire.gc({ valid: [{ containerId: live, ifName: "eth0" }] });
    assertEquals({ removed: report.removed.map(({ containerId }) => containerId), failed: report.failed }, {
      removed: [gone],
      failed: [],
    });
    assertEquals(Object.values(await reserved(world)).sort(), [live, "theirs"].sort());
    assertEquals((await world.links(world.path("gone"))).has("eth0"), false);
    assertEquals((await world.links(world.path("live"))).has("eth0"), true);
    await podwire.check(world.name, world.request("live"));

    await podwire.gc({ all: true });
    assertEquals({ values: Object.values(await reserved(world)), attachments: await podwire.attachments() }, {
      values: ["theirs"],
      attachments: [],
    });
  },
);

releaseTest(
  "D57 GC uses the configuration of the ADD when the file has changed, and when it is gone",
  "1.9.1",
  ["a", "b"],
  async (world) => {
    const { podwire } = world;
    await world.network("1.1.0", [bridgeOf(world)]);
    for (const pod of ["a", "b"]) await podwire.add(world.name, world.request(pod));
    await world.network("1.1.0", [bridgeOf(world, { dataDir: `${world.dir}/elsewhere` })]);
    await podwire.gc({ valid: [{ containerId: world.base("a"), ifName: "eth0" }] });
    assertEquals(Object.values(await reserved(world)), [world.base("a")]);
    await Deno.remove(`${world.confDir}/net.conflist`);
    assertEquals((await podwire.gc({ network: world.name, all: true })).failed, []);
    assertEquals(await reserved(world), {});
    assertEquals((await world.links(world.path("a"))).has("eth0"), false);
  },
);

releaseTest("D51 STATUS of the reference plugins, ready and not", "1.9.1", [], async (world) => {
  const { podwire } = world;
  await world.network("1.1.0", [bridgeOf(world), { type: "portmap" }, { type: "loopback" }]);
  assertEquals((await podwire.status(world.name)).map(({ ready }) => ready), [true]);
  await world.network("1.1.0", [{ type: "portmap" }, bridgeOf(world, { type: "absent" })], "broken");
  const [broken] = await podwire.status(world.name);
  assertEquals({ ready: broken?.ready, reason: broken?.reason, plugin: broken?.error?.context.plugin }, {
    ready: false,
    reason: "plugin-missing",
    plugin: {
      type: "bridge",
      index: 1,
      count: 2,
    },
  });
  assert(broken?.msg?.includes("absent"), broken?.msg);
});

for (const [release, version] of [["1.1.1", "1.0.0"], ["1.9.1", "1.1.0"]] as const) {
  releaseTest(
    `D67 D76 B69 the plugins of release ${release} are called in version ${version}`,
    release,
    ["pod"],
    async (world) => {
      const { podwire } = world;
      await world.network("0.4.0", [bridgeOf(world), {
        type: "portmap",
        capabilities: { portMappings: true } as never,
      }]);
      const file = `${world.confDir}/net.conflist`;
      const list = JSON.parse(await Deno.readTextFile(file));
      await Deno.writeTextFile(file, JSON.stringify({ ...list, cniVersions: ["1.1.0", "1.0.0", "0.3.1"] }));
      const { supportedVersions } = await podwire.pluginVersions("bridge");
      assertEquals(supportedVersions.at(-1), version);
      assertEquals(await podwire.validate(world.name), {
        cniVersion: version,
        capabilities: ["portMappings"],
      });
      const result = await podwire.addJson(world.name, world.request("pod"));
      assertEquals(result.cniVersion, version);
      await podwire.check(world.name, world.request("pod"));
      assertEquals((await podwire.status(world.name)).map(({ ready }) => ready), [true]);
      await podwire.del(world.name, world.request("pod"));
      assertEquals(await reserved(world), {});

      await Deno.writeTextFile(
        file,
        JSON.stringify({ ...list, cniVersion: "0.4.0", plugins: [{ type: "absent" }] }),
      );
      assertEquals(
        (await assertRejects(() => podwire.validate(world.name), CniError) as CniError).kind,
        "plugin-missing",
      );
    },
  );
}

sandboxTest("D55 the attachments of a sandbox are in use as long as its record exists", async (world) => {
  await world.network("web");
  const podwire = world.podwire();
  const [live, gone] = [world.id("live"), world.id("gone")];
  for (const id of [live, gone]) await podwire.sandboxes.run({ id, name: id });
  await putRecord(recordFile(world.stateDir, gone), "sandbox", undefined);
  const report = await podwire.gc({ all: true });
  assertEquals(report.removed.map(({ kind, containerId, why }) => [kind, containerId, why]), [
    ["attachment", gone, "its sandbox is gone"],
    ["namespace", gone, "no sandbox owns it"],
  ]);
  assertEquals(report.kept.map(({ containerId, why }) => [containerId, why]), [[
    live,
    "its sandbox is there",
  ]]);
  assertEquals((await world.calls()).slice(2), ["web DEL gone eth0", "web GC  "]);
  // A record that cannot be read exists all the same.
  await putRecord(recordFile(world.stateDir, live), "sandbox", "{");
  assertEquals((await podwire.gc({ all: true })).removed, []);
  await podwire.recover();
});

sandboxTest("D66 sandboxes that are created while a sweep runs are complete", async (world) => {
  await world.network("web", { ADD: { sleep: 0.1 }, GC: { sleep: 0.1 } });
  const podwire = world.podwire();
  const ids = ["s1", "s2", "s3"].map((name) => world.id(name));
  const runs = ids.map((id) => podwire.sandboxes.run({ id, name: id }));
  const sweeps = [1, 2].map(() => world.podwire().gc({ all: true }));
  await Promise.all([...runs, ...sweeps]);
  for (const sweep of sweeps) assertEquals((await sweep).removed, []);
  assertEquals(
    (await podwire.attachments()).map(({ containerId, state }) => [containerId, state]),
    ids.toSorted().map((id) => [id, "attached"]),
  );
  for (const id of ids) await podwire.sandboxes.remove(id);
});

sandboxTest("a stopped sandbox whose DEL failed is cleaned up by the next sweep", async (world) => {
  const web = await world.network("web", { DEL: { stdout: '{"code": 108, "msg": "will not"}', code: 1 } });
  const podwire = world.podwire();
  const id = world.id("s");
  await podwire.sandboxes.run({ id, name: id });
  assertEquals((await podwire.sandboxes.stop(id)).length, 1);
  await web.answer("DEL", {});
  assertEquals((await podwire.gc()).removed.map(({ why }) => why), ["its DEL had failed"]);
  assertEquals(await podwire.attachments(), []);
  await podwire.sandboxes.remove(id);
});

Deno.test({
  name:
    "D51 D60 STATUS of the built-in host-local reports that no address is left, and GC releases what leaked",
  ...need("root", "ip"),
  fn: async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-gc-" });
    try {
      await Deno.mkdir(`${dir}/conf`);
      const ipam = { type: "host-local", dataDir: `${dir}/ipam`, subnet: "10.80.1.0/30" };
      const list = {
        cniVersion: "1.1.0",
        name: "web",
        plugins: [{ type: "bridge", bridge: "pwt-none", ipam }],
      };
      await Deno.writeTextFile(`${dir}/conf/web.conflist`, JSON.stringify(list));
      const podwire = new Podwire({
        confDir: `${dir}/conf`,
        pluginDirs: [`${dir}/bin`],
        cacheDir: `${dir}/cache`,
        stateDir: `${dir}/state`,
        netnsDir: `${dir}/netns`,
      });
      assertEquals((await podwire.status()).map(({ ready }) => ready), [true]);
      await Deno.mkdir(`${dir}/ipam/web`, { recursive: true });
      for (const [last, id] of [[1, "theirs"], [2, "leaked"]] as const) {
        await Deno.writeTextFile(`${dir}/ipam/web/10.80.1.${last}`, `${id}\r\neth0`);
      }
      const none = { netns: "", config: "", cniArgs: [], capabilityArgs: {}, result: undefined };
      const theirs = { containerId: "theirs", network: "web", ifName: "eth0", ...none };
      await new ResultCache(`${dir}/cache`).write(theirs);
      const [full] = await podwire.status("web");
      assertEquals(
        { ready: full?.ready, kind: full?.error?.kind },
        { ready: false, kind: "not-ready" },
        full?.msg,
      );
      assertEquals((await podwire.gc()).failed, []);
      assertEquals((await podwire.status("web")).map(({ ready }) => ready), [true]);
      const left = await Array.fromAsync(Deno.readDir(`${dir}/ipam/web`), ({ name }) => name);
      assertEquals(
        left.filter((name) => name.startsWith("10.")),
        ["10.80.1.1"],
        "other runtimes' addresses stay",
      );
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
