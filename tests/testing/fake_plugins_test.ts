import { assertEquals, assertRejects } from "@std/assert";
import { CniError, parseNetwork, Podwire } from "../../mod.ts";
import { FakePlugins } from "../../testing.ts";
import { inTempDir } from "../temp_dir.ts";

const NETWORK = parseNetwork(JSON.stringify({
  cniVersion: "1.1.0",
  name: "web",
  plugins: [{ type: "first", podwireExistingLink: true }, { type: "second" }],
}));

Deno.test("fake plugins answer as they were given, and record each call in order", () =>
  inTempDir(async (dir) => {
    await using plugins = await FakePlugins.create();
    await plugins.add("first", {
      ADD: { result: { ips: [{ address: "10.1.0.2/24" }], extra: "it's $HOME" } },
    });
    await plugins.add("second");
    const podwire = new Podwire({
      confDir: dir,
      stateDir: `${dir}/state`,
      cacheDir: `${dir}/cache`,
      pluginDirs: [plugins.dir],
      // The namespace is that of this process.
      environment: { CNI_NETNS_OVERRIDE: "1" },
    });
    const target = { containerId: "c1", netns: "/proc/self/ns/net", ifName: "eth0" };
    await podwire.add(NETWORK, { ...target, args: [["K", "v"]] });
    await podwire.del(NETWORK, target);
    const calls = (await plugins.calls()).filter(({ verb }) => verb !== "VERSION");
    assertEquals(calls.map(({ type, verb }) => `${type} ${verb}`), [
      "first ADD",
      "second ADD",
      "second DEL",
      "first DEL",
    ]);
    const [add, second] = calls;
    assertEquals({ ...add, config: add?.config.name }, {
      type: "first",
      verb: "ADD",
      ...target,
      args: "K=v",
      config: "web",
    });
    assertEquals((second?.config.prevResult as { extra?: string } | undefined)?.extra, "it's $HOME");

    const error = { code: 100, msg: "it is broken", details: "no answer" };
    await plugins.add("first", { ADD: { error } });
    const failure = await assertRejects(() => podwire.add(NETWORK, target), CniError);
    assertEquals({ code: failure.code, msg: failure.msg, details: failure.context.details }, error);
  }));

Deno.test("a directory of fake plugins is gone at the end of its block", async () => {
  let dir = "";
  {
    await using plugins = await FakePlugins.create();
    dir = plugins.dir;
    assertEquals(await plugins.calls(), []);
  }
  await assertRejects(() => Deno.stat(dir), Deno.errors.NotFound);
});
