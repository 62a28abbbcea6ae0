// What happens while the disk stores the intent of a sandbox.
import { assertEquals, assertRejects } from "@std/assert";
import { yieldToLoop } from "../../lib/async/yield_to_loop.ts";
import { CniError } from "../../lib/cni/error.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { until } from "../until.ts";
import { inWorld, type World } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, heldAddresses, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

const BUILT_IN = FLAVOURS[0]!;
/** Enough for each step up to the next one that waits for something. */
const TURNS = 50;

/** Replaces the wait for the disk while it exists. `before` runs before the wait of each folder. */
class Disk implements Disposable {
  readonly #sync = Deno.FsFile.prototype.sync;

  constructor(before: () => Promise<void>) {
    const sync = this.#sync;
    Deno.FsFile.prototype.sync = async function () {
      if (this.statSync().isDirectory) await before();
      await sync.call(this);
    };
  }

  [Symbol.dispose](): void {
    Deno.FsFile.prototype.sync = this.#sync;
  }
}

/** Those of a runtime that has written what all sandboxes share. */
async function sandboxesOf(world: World) {
  const { sandboxes } = runtimeOf(world, BUILT_IN);
  await sandboxes.remove((await sandboxes.run({ networks: [{ name: "one" }] })).id, { force: true });
  return sandboxes;
}

Deno.test({
  name: "no plugin runs before the intent is on the disk, and the namespace is made meanwhile",
  ignore: need("root", "ip").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    await bridgeNetwork(world, "one", { more: { isGateway: true } });
    const sandboxes = await sandboxesOf(world);
    const stored = Promise.withResolvers<void>();
    using _disk = new Disk(() => stored.promise);
    const id = `c${world.tag}`;
    const running = sandboxes.run({ id, networks: [{ name: "one" }] });
    try {
      const readRecord = () => Deno.readTextFile(`${world.dir}/state/records/${id}.rec`).catch(() => "");
      await until(async () => /"netns":\{[^}]*"id":"/.test(await readRecord()));
      for (let turn = 0; turn < TURNS; turn++) await yieldToLoop();
      assertEquals(await heldAddresses(world, "one"), []);
      assertEquals(/"state":"adding"/.test((await readRecord()).replace(/^plan:.*$/gm, "")), false);
    } finally {
      stored.resolve();
      await running;
    }
    assertEquals((await heldAddresses(world, "one")).length, 1);
    await sandboxes.remove(id, { force: true });
  }),
});

Deno.test({
  name: "a sandbox whose intent the disk does not store is undone, and none of its plugins has run",
  ignore: need("root", "ip").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    await bridgeNetwork(world, "one");
    const sandboxes = await sandboxesOf(world);
    const id = `c${world.tag}`;
    {
      using _disk = new Disk(() => Promise.reject(new Error("Input/output error (os error 5)")));
      const error = await assertRejects(
        () => sandboxes.run({ id, networks: [{ name: "one" }] }),
        CniError,
      );
      assertEquals({ kind: error.kind, says: /Input\/output error/.test(error.message) }, {
        kind: "io",
        says: true,
      });
    }
    assertEquals(await heldAddresses(world, "one"), []);
    assertEquals(await sandboxes.list({}), []);
    assertEquals(await Array.fromAsync(Deno.readDir(`${world.dir}/state/records`)), []);
    assertEquals(await Deno.stat(`/run/netns/podwire-${id}`).catch(() => "gone"), "gone");
  }),
});
