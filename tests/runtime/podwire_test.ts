import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { parseNetwork } from "../../lib/catalog/load.ts";
import { CniError, type ErrorKind, isCniError } from "../../lib/cni/error.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { NetworkWorld } from "../attachment/world.ts";

const list = (name: string, type: string) =>
  JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type, mark: 7, podwireExistingLink: true }] });

/** A runtime with the directories of a world. */
function runtimeOf({ dir, confDir, stateDir, cacheDir, plugins }: NetworkWorld): Podwire {
  return new Podwire({
    confDir,
    stateDir,
    cacheDir,
    netnsDir: `${dir}/namespaces`,
    pluginDirs: [plugins.dir],
    // The namespace of each pod is that of this process.
    environment: { CNI_NETNS_OVERRIDE: "1" },
  });
}

Deno.test("F8 F9 F120 without options the directories are those of CNI on Linux", async () => {
  const podwire = new Podwire();
  const { message } = await assertRejects(() => podwire.network("no-such-network"), CniError);
  assertStringIncludes(message, "/etc/cni/net.d");
  const network = parseNetwork(list("web", "no-such-plugin"));
  const missing = await assertRejects(() => podwire.validate(network), CniError);
  assertStringIncludes(
    missing.message,
    "[/opt/cni/bin /usr/lib/cni /usr/libexec/cni /opt/no-such-plugin/bin]",
  );
});

Deno.test("G52 a network that was read shows its name, its versions, its plugins and the text it was read from", async () => {
  await using world = await NetworkWorld.make();
  const text = list("web", "bridge");
  await Deno.writeTextFile(`${world.confDir}/10-web.conflist`, text);
  const podwire = runtimeOf(world);
  const network = await podwire.network("web");
  const { name, cniVersion, cniVersions } = network;
  assertEquals({ name, cniVersion, cniVersions }, {
    name: "web",
    cniVersion: "1.0.0",
    cniVersions: ["1.0.0"],
  });
  assertEquals(network.plugins.map(({ type }) => type), ["bridge"]);
  assertMatch(network.text, /"mark":\s*7/);
  assertEquals(parseNetwork(network.text).name, "web");
  const [entry] = await podwire.networks();
  assertEquals(
    { file: entry?.file, name: entry?.name, cniVersion: entry?.cniVersion, plugins: entry?.plugins },
    { file: `${world.confDir}/10-web.conflist`, name: "web", cniVersion: "1.0.0", plugins: ["bridge"] },
  );
});

Deno.test("G53 the kind of an error says what went wrong, and one predicate compares it", async () => {
  await using world = await NetworkWorld.make();
  await Deno.writeTextFile(`${world.confDir}/10-web.conflist`, list("web", "web"));
  const plugin = await world.plugins.install("web", { ADD: { stdout: '{"cniVersion": "1.0.0", "ips": 5}' } });
  const podwire = runtimeOf(world);
  const expect = async (kind: ErrorKind, call: () => Promise<unknown>) => {
    const error = await assertRejects(call, CniError);
    assertEquals(
      { kind: error.kind, isKind: isCniError(error, kind), isInternal: isCniError(error, "internal") },
      { kind, isKind: true, isInternal: false },
    );
  };
  await expect("not-found", () => podwire.network("gone"));
  await expect("config", async () => await podwire.network(parseNetwork("{")));
  await expect("plugin-output", () => podwire.add("web", world.request()));
  await plugin.answer("ADD", { stdout: '{"code": 999, "msg": "no"}', code: 1 });
  await expect("plugin", () => podwire.add("web", world.request()));
  await Deno.remove(plugin.path);
  await expect("plugin-missing", () => podwire.add("web", world.request()));
  await Deno.remove(world.confDir, { recursive: true });
  await Deno.writeTextFile(world.confDir, "no directory");
  const unread = new Podwire({ confDir: world.confDir, stateDir: `${world.dir}/other` });
  await expect("io", () => unread.network("web"));
});
