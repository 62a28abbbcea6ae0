// podwire itself compares the namespace with that of the attachment: plugins are not trusted to do it.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { AttachRequest } from "../../lib/attachment/attachments.ts";
import { CniError } from "../../lib/cni/error.ts";
import { createNetns, pinNetns, removeNetns } from "../../lib/host/netns.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import type { RecordingPlugin } from "../recording_plugin.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

function target(world: SandboxWorld, name: string): AttachRequest {
  return {
    containerId: world.id("c1"),
    netns: `${world.netnsDir}/${name}`,
    ifName: "eth0",
    args: [],
    capabilityArgs: {},
    owner: "cli",
  };
}

/** A namespace that is attached to the network "a". */
async function attached(
  world: SandboxWorld,
): Promise<{ plugin: RecordingPlugin; request: AttachRequest; podwire: Podwire }> {
  const plugin = await world.network("a");
  const request = target(world, "mine");
  await createNetns(request.netns);
  const podwire = world.podwire();
  await podwire.add("a", request);
  return { plugin, request, podwire };
}

const failing = (act: () => Promise<unknown>): Promise<CniError> => assertRejects(act, CniError);

sandboxTest(
  "CHECK fails if the namespace is gone or a plain file, though CHECK of the plugin does nothing",
  async (world) => {
    const { request, podwire } = await attached(world);
    await podwire.check("a", request);
    await removeNetns(request.netns);
    const gone = await failing(() => podwire.check("a", request));
    assertEquals(
      { kind: gone.kind, code: gone.code, verb: gone.context.verb, network: gone.context.network },
      { kind: "not-found", code: 8, verb: "CHECK", network: "a" },
    );
    assertStringIncludes(gone.msg, "does not exist");
    await Deno.writeTextFile(request.netns, "");
    assertStringIncludes((await failing(() => podwire.check("a", request))).msg, "a plain file");
    await Deno.remove(request.netns);
    assertEquals(await world.calls(), ["a ADD c1 eth0", "a CHECK c1 eth0"]);
    await podwire.del("a", request);
  },
);

sandboxTest(
  "CHECK fails and DEL gets no namespace if another one has the path, even with the same number",
  async (world) => {
    const { plugin: a, request, podwire } = await attached(world);
    await removeNetns(request.netns);
    await createNetns(request.netns);
    const [record] = await world.store.ofContainer(request.containerId);
    // The kernel often reuses the number of a removed namespace; here it surely does.
    const { dev, ino } = await Deno.stat(request.netns);
    await world.store.write({ ...record!, netnsId: `${dev}:${ino}`, netnsSince: record!.netnsSince! - 60 });
    const error = await failing(() => podwire.check("a", request));
    assertEquals({ kind: error.kind, code: error.code }, { kind: "not-found", code: 8 });
    assertStringIncludes(error.msg, "another network namespace");
    await podwire.del("a", request);
    assertEquals((await a.calls()).map(({ verb, env }) => [verb, env.CNI_NETNS]), [
      ["ADD", request.netns],
      ["DEL", ""],
    ]);
  },
);

sandboxTest(
  "disableCheck skips the plugins, but not the comparison of the namespace",
  async (world) => {
    const { request, podwire } = await attached(world);
    const other = target(world, "other");
    await createNetns(other.netns);
    const path = `${world.confDir}/a.conflist`;
    const list = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...list, disableCheck: true }));
    await podwire.check("a", request);
    assertStringIncludes((await failing(() => podwire.check("a", other))).msg, "another network namespace");
    await removeNetns(request.netns);
    const gone = await failing(() => podwire.check("a", request));
    assertEquals({ kind: gone.kind, code: gone.code }, { kind: "not-found", code: 8 });
    assertEquals(await world.calls(), ["a ADD c1 eth0"]);
    await podwire.del("a", request);
  },
);

sandboxTest("CHECK accepts every path of the namespace, and no path of another one", async (world) => {
  const { request, podwire } = await attached(world);
  const other = target(world, "other");
  await createNetns(other.netns);
  const again = target(world, "again");
  await pinNetns(request.netns, again.netns);
  await podwire.check("a", again);
  assertStringIncludes((await failing(() => podwire.check("a", other))).msg, "another network namespace");
  // The same for an attachment of another runtime: only the path in its cache entry is known.
  await Deno.remove(`${world.stateDir}/records`, { recursive: true });
  await podwire.check("a", again);
  assertStringIncludes((await failing(() => podwire.check("a", other))).msg, "another network namespace");
  assertEquals((await world.calls()).filter((call) => call.includes("CHECK")).length, 2);
  await podwire.del("a", request);
});

sandboxTest(
  "what a Go runtime attached is checked and detached when the network's file is gone",
  async (world) => {
    const { plugin: a, request, podwire } = await attached(world);
    // A Go runtime leaves only its entry in the cache.
    await Deno.remove(`${world.stateDir}/records`, { recursive: true });
    await Deno.remove(`${world.confDir}/a.conflist`);
    await podwire.check("a", request);
    const stranger = { ...request, containerId: world.id("c2") };
    assertEquals((await failing(() => podwire.check("a", stranger))).kind, "not-found");
    assertEquals((await failing(() => podwire.del("a", stranger))).kind, "not-found");
    await podwire.del("a", request);
    const calls = await a.calls();
    assertEquals(calls.map(({ verb, env }) => [verb, env.CNI_NETNS]), [
      ["ADD", request.netns],
      ["CHECK", request.netns],
      ["DEL", request.netns],
    ]);
    assertEquals(calls.map(({ config }) => config.prevResult?.ips.length), [undefined, 2, 2]);
    assertEquals((await failing(() => podwire.del("a", request))).kind, "not-found");
    assertEquals(await world.left(), ["netns/mine"]);
  },
);
