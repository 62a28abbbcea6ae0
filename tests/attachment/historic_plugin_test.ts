// A plugin from before there was VERSION (testdata/historic_plugin), as networks of then and of now use it.
import { assertEquals, assertRejects } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { VersionProbe } from "../../lib/plugin/versions.ts";
import { listFromPluginConfig } from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
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

Deno.test("Y5 a configuration without a version and a plugin of 0.1.0: ADD gives its result, DEL takes it back", () =>
  withHistoric(async (world, calls) => {
    const list = listFromPluginConfig('{ "name": "legacy-net", "type": "old" }');
    const result = await world.attachments().add(list, world.request());
    assertEquals(result, { cniVersion: "0.1.0", ...PRINTED });
    const key = { containerId: "c1", network: "legacy-net", ifName: "eth0" };
    assertEquals((await world.cache.read(key))?.result, { cniVersion: "0.1.0", ...PRINTED });
    // A later process knows how it was attached.
    await world.attachments().del(list, world.request());
    const sent = '{"name":"legacy-net","type":"old","cniVersion":"0.1.0"}';
    const told = (await calls()).map((line) => [line.split(" ")[0], JSON.parse(line.slice(4))]);
    assertEquals(told, [["ADD", JSON.parse(sent)], ["DEL", JSON.parse(sent)]]);
    assertEquals(await world.files(), []);
  }));

Deno.test("D14 Y5 what a plugin of 0.1.0 prints has the shape of the list's version, whatever that is", () =>
  withHistoric(async (world) => {
    for (const cniVersion of ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
      const list = listOf(["old"], { cniVersion });
      const result = await world.attachments().add(list, world.request({ containerId: `v${cniVersion}` }));
      // It does not name its version, so it is taken to be the list's, as libcni does.
      if (cniVersion < "0.3.0") assertEquals(result, { cniVersion, ...PRINTED });
      else assertEquals(result.cniVersion, cniVersion);
    }
  }));

Deno.test("Y6 a plugin that does not know VERSION makes a list that offers several versions one of 0.1.0", () =>
  withHistoric(async (world, calls) => {
    const probe = new VersionProbe(world.runner);
    assertEquals(await probe.of("old"), { cniVersion: "0.1.0", supportedVersions: ["0.1.0"] });
    const list = listOf(["old"], { cniVersion: undefined, cniVersions: ["1.0.0", "0.1.0"] });
    assertEquals(await world.attachments().add(list, world.request()), { cniVersion: "0.1.0", ...PRINTED });
    await world.attachments().del(list, world.request());
    assertEquals((await calls()).map((line) => line.split(" ")[0]).at(-1), "DEL");
  }));

Deno.test("Y6 its refusal is told in its own words", () =>
  withHistoric(async (world) => {
    const error = await assertRejects(
      () => world.attachments().check(listOf(["old"]), world.request()),
      CniError,
    );
    assertEquals([error.code, error.msg], [100, "unknown CNI_COMMAND: CHECK"]);
  }));
