// A plugin that is older than VERSION (testdata/historic_plugin), in old and in new networks.
import { assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { listFromPluginConfig } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import { listOf, NetworkWorld } from "./world.ts";

const PROGRAM = fromFileUrl(new URL("../testdata/historic_plugin", import.meta.url));
const PRINTED = {
  ip4: { ip: "10.1.2.3/24", gateway: "10.1.2.1", routes: [{ dst: "15.5.6.0/24" }] },
  dns: {},
};

async function withHistoric(
  fn: (world: NetworkWorld, calls: () => Promise<string[]>) => Promise<void>,
): Promise<void> {
  await using world = await NetworkWorld.make();
  const path = `${world.plugins.dir}/old`;
  await Deno.symlink(PROGRAM, path);
  await fn(world, async () => (await Deno.readTextFile(`${path}.calls`)).trimEnd().split("\n"));
}

Deno.test("Y5 a configuration without a version and a plugin of 0.1.0: ADD returns its result, DEL undoes it", () =>
  withHistoric(async (world, calls) => {
    const list = listFromPluginConfig('{ "name": "legacy-net", "type": "old" }');
    const result = await world.attachments().add(list, world.request());
    assertEquals(result, { cniVersion: "0.1.0", ...PRINTED });
    const key = { containerId: "c1", network: "legacy-net", ifName: "eth0" };
    assertEquals((await world.cache.read(key))?.result, { cniVersion: "0.1.0", ...PRINTED });
    // A later process reads from the record how it was attached.
    await world.attachments().del(list, world.request());
    const sent = '{"name":"legacy-net","type":"old","cniVersion":"0.1.0"}';
    const sentConfigs = (await calls()).map((line) => [line.split(" ")[0], JSON.parse(line.slice(4))]);
    assertEquals(sentConfigs, [["ADD", JSON.parse(sent)], ["DEL", JSON.parse(sent)]]);
    assertEquals(await world.files(), []);
  }));

Deno.test("D14 Y5 the result of a plugin of 0.1.0 gets the shape of the list's version", () =>
  withHistoric(async (world) => {
    for (const cniVersion of ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
      const list = listOf(["old"], { cniVersion });
      const result = await world.attachments().add(list, world.request({ containerId: `v${cniVersion}` }));
      // The result has no version, so the version of the list is assumed, as in libcni.
      if (cniVersion < "0.3.0") assertEquals(result, { cniVersion, ...PRINTED });
      else assertEquals(result.cniVersion, cniVersion);
    }
  }));

Deno.test("Y6 a list with several versions is used in 0.1.0 if a plugin does not know VERSION", () =>
  withHistoric(async (world, calls) => {
    const probe = new VersionProbe(world.runner);
    assertEquals(await probe.of("old"), { cniVersion: "0.1.0", supportedVersions: ["0.1.0"] });
    const list = listOf(["old"], { cniVersion: undefined, cniVersions: ["1.0.0", "0.1.0"] });
    assertEquals(await world.attachments().add(list, world.request()), { cniVersion: "0.1.0", ...PRINTED });
    await world.attachments().del(list, world.request());
    assertEquals((await calls()).map((line) => line.split(" ")[0]).at(-1), "DEL");
  }));

Deno.test("Y6 the error keeps the words of the plugin", () =>
  withHistoric(async (world) => {
    const error = await assertRejects(
      () => world.attachments().check(listOf(["old"]), world.request()),
      CniError,
    );
    assertEquals({ code: error.code, msg: error.msg }, { code: 100, msg: "unknown CNI_COMMAND: CHECK" });
  }));
