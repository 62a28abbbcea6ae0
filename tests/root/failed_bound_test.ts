// How many attachments that cannot be detached one pod may leave, with a plugin whose DEL always fails.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { createNetns } from "../../lib/host/netns.ts";
import type { Podwire, RuntimeOptions } from "../../lib/runtime/podwire.ts";
import type { SandboxRequest } from "../../lib/sandbox/request.ts";
import { FailedIndex } from "../../lib/state/failed_index.ts";
import { DEL_REFUSAL, REFUSAL, sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

/** A pod that is tried again and again, each time as by another process. */
class Pod {
  constructor(
    readonly world: SandboxWorld,
    readonly request: SandboxRequest,
    readonly options: RuntimeOptions,
  ) {}

  podwire(): Podwire {
    return this.world.podwire(this.options);
  }

  /** The error of one more run, and the log messages about how many are left. */
  async fail(): Promise<{ readonly error: CniError; readonly warned: readonly string[] }> {
    const before = this.world.log.all.length;
    const { sandboxes } = this.podwire();
    const error = await assertRejects(() => sandboxes.run({ ...this.request }), CniError);
    const warned = this.world.log.all.slice(before).filter((line) => line.includes("could not be detached"));
    return { error, warned };
  }
}

const broken = (world: SandboxWorld, name: string) => world.network(name, { ADD: REFUSAL, DEL: DEL_REFUSAL });

sandboxTest(
  "a pod whose DEL always fails is warned about from its third failed record on, and refused at the limit",
  async (world) => {
    await broken(world, "a");
    const pod = new Pod(world, { name: "web", namespace: "shop" }, { maxFailed: 5 });
    for (let left = 0; left < 5; left++) {
      const { error, warned } = await pod.fail();
      assertEquals({ kind: error.kind, msg: error.msg }, { kind: "plugin", msg: "no room" });
      assertEquals(warned.length, left < 3 ? 0 : 1, `after ${left}`);
      if (left < 3) continue;
      assertStringIncludes(
        warned[0]!,
        `the pod "shop/web" left ${left} attachments that could not be detached, of 5`,
      );
      for (const way of ["podwire attachments --failed", "podwire recover", "podwire forget ID"]) {
        assertStringIncludes(warned[0]!, way);
      }
    }
    const calls = await world.calls();
    const left = await world.left();
    for (let round = 0; round < 3; round++) {
      const { error } = await pod.fail();
      assertEquals({ kind: error.kind, msg: error.msg }, {
        kind: "conflict",
        msg: 'the pod "shop/web" left 5 attachments that could not be detached',
      });
      assertStringIncludes(error.context.hint ?? "", "podwire forget ID --reason TEXT");
    }
    assertEquals({ calls: await world.calls(), left: await world.left() }, { calls, left });
    assertEquals((await world.store.all()).map(({ state }) => state), Array(5).fill("failed"));
    // Forgetting one makes room for one.
    const [first] = await pod.podwire().attachments({ failed: true });
    await pod.podwire().forget({ containerId: first!.containerId, reason: "the plugin is broken" });
    assertEquals((await pod.fail()).error.kind, "plugin");
    assertEquals((await pod.fail()).error.kind, "conflict");
  },
);

sandboxTest(
  "the limit of one pod affects neither other pods nor what is attached by hand",
  async (world) => {
    await broken(world, "a");
    const options = { maxFailed: 1 };
    const pod = new Pod(world, { name: "web" }, options);
    await pod.fail();
    assertEquals((await pod.fail()).error.kind, "conflict");
    for (const request of [{ name: "web", namespace: "shop" }, { name: "db" }, {}]) {
      assertEquals(
        (await new Pod(world, request, options).fail()).error.kind,
        "plugin",
        JSON.stringify(request),
      );
    }
    // Nothing says that two containers of `add` are one pod.
    await world.network("b", { DEL: DEL_REFUSAL });
    const open = world.podwire(options);
    for (const name of ["one", "two"]) {
      const netns = `${world.netnsDir}/${name}`;
      await createNetns(netns);
      const byHand = { netns, ifName: "eth0", args: [], capabilityArgs: {}, owner: "cli" };
      const add = () => open.add("a", { ...byHand, containerId: world.id(name) });
      assertEquals((await assertRejects(add, CniError)).kind, "plugin");
    }
    assertEquals((await open.sandboxes.run({ name: "free", networks: [{ name: "b" }] })).state, "ready");
    // A pod without networks can leave nothing.
    assertEquals((await open.sandboxes.run({ name: "web", networks: "none" })).state, "ready");
  },
);

sandboxTest("sandboxes without a name count as one pod for each network", async (world) => {
  await broken(world, "a");
  await broken(world, "b");
  const options = { maxFailed: 2 };
  const on = (name: string) => new Pod(world, { networks: [{ name }] }, options);
  for (let round = 0; round < 2; round++) assertEquals((await on("a").fail()).error.kind, "plugin");
  const { error } = await on("a").fail();
  assertEquals(error.kind, "conflict");
  assertStringIncludes(error.msg, "sandboxes without an explicit name");
  assertEquals((await on("b").fail()).error.kind, "plugin");
});

sandboxTest(
  "the default limit is 16, and 0 means no limit but the warning",
  async (world) => {
    await broken(world, "a");
    const pod = new Pod(world, { name: "web" }, {});
    assertEquals((await pod.fail()).error.kind, "plugin");
    await more(world, 15);
    const { error } = await pod.fail();
    assertEquals(error.kind, "conflict");
    assertStringIncludes(error.message, "at most 16");
    const { error: refusal, warned } = await new Pod(world, { name: "web" }, { maxFailed: 0 }).fail();
    assertEquals({ kind: refusal.kind, warnedCount: warned.length }, { kind: "plugin", warnedCount: 1 });
    assertStringIncludes(warned[0]!, 'the pod "default/web" left 16 attachments that could not be detached;');
  },
);

/** As many more records as the first one, each of a container of its own. */
async function more(world: SandboxWorld, count: number): Promise<void> {
  const [record] = await world.store.all();
  const failed = new FailedIndex(world.stateDir);
  for (let index = 0; index < count; index++) {
    const containerId = world.id(`more${index}`);
    await failed.add(containerId);
    await world.store.write({ ...record!, containerId });
  }
}
