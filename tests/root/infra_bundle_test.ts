// The bundle of an infra container names the version that made it: the bundle of a newer version is left
// alone.
import { assert, assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { markBundle } from "../../lib/sandbox/infra_bundle.ts";
import { printChecksummed } from "../../lib/state/checksummed.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

/** A bundle, with a mark of that text or none. */
async function plant(world: SandboxWorld, id: string, mark?: string): Promise<string> {
  const bundle = `${world.stateDir}/infra/${id}`;
  await Deno.mkdir(bundle, { recursive: true });
  await Deno.writeTextFile(`${bundle}/runtime`, "runc");
  if (mark !== undefined) await Deno.writeTextFile(`${bundle}/podwire.json`, mark);
  return bundle;
}

const NEWER = {
  "of another kind": () => printChecksummed("podwire.infra.v2", { later: true }),
  "that says something else": () => printChecksummed("podwire.infra.v1", { later: true }),
};

for (const [what, mark] of Object.entries(NEWER)) {
  sandboxTest(
    `an infra bundle ${what} is left alone, with the sandbox and the namespace it is of`,
    async (world) => {
      await world.network("a");
      const podwire = world.podwire();
      const [web, orphan] = [world.id("web"), world.id("orphan")];
      const { netns } = await podwire.sandboxes.run({ name: "web", id: web });
      const record = await world.sandboxes.read(web);
      const bundle = await plant(world, web, await mark());
      await world.sandboxes.write({ ...record!, phase: "stopping", infra: { runtime: "runc", bundle } });
      await world.sh('touch "$1" && unshare --net="$1" true', `${world.netnsDir}/podwire-${orphan}`);
      await plant(world, orphan, await mark());
      for (const report of [await podwire.recover(), await podwire.gc(), await podwire.gc({ all: true })]) {
        assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
        const kept = report.kept.filter(({ containerId, why }) =>
          containerId === orphan && why.includes("newer version")
        );
        assertEquals(kept.length, 1, JSON.stringify(report.kept));
      }
      for (
        const act of [
          () => podwire.sandboxes.stop("web"),
          () => podwire.sandboxes.remove("web", { force: true }),
        ]
      ) {
        const error = await act().then(() => undefined, (error) => error);
        assert(error instanceof CniError && error.kind === "conflict", String(error));
        assert(error.message.includes(`${bundle}/podwire.json`), error.message);
      }
      assertEquals((await world.calls()).filter((call) => call.includes(" DEL ")), []);
      assertEquals(await world.namespaces(), ["podwire-orphan", "podwire-web"]);
      assert((await Deno.stat(netns)).isFile);
      await Deno.remove(`${world.stateDir}/infra`, { recursive: true });
      await podwire.sandboxes.remove("web", { force: true });
      await podwire.recover();
      assertEquals(await world.left(), []);
    },
  );
}

sandboxTest(
  "an infra bundle of this version, of an earlier one, or with a damaged mark is swept",
  async (world) => {
    await world.network("a");
    const podwire = world.podwire();
    const own = await plant(world, world.id("own"));
    await markBundle(own, "runc");
    await plant(world, world.id("earlier"));
    await plant(world, world.id("damaged"), "{");
    const { removed, kept, failed } = await podwire.recover();
    assertEquals({ removed: removed.map(({ kind }) => kind), kept, failed }, {
      removed: ["container", "container", "container"],
      kept: [],
      failed: [],
    });
    assertEquals(await Array.fromAsync(Deno.readDir(`${world.stateDir}/infra`)), []);
  },
);
