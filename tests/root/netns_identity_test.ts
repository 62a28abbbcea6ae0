// The kernel reuses the numbers of namespaces that are gone.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { createNetns, netnsId, pinNetns, removeNetns } from "../../lib/host/netns.ts";
import { isSameIdentity } from "../../lib/host/netns_identity.ts";
import { identityOf, isUnchanged } from "../../lib/sandbox/netns_identity.ts";
import { sandboxTest } from "./sandbox_world.ts";

sandboxTest("a namespace is recognised by all of its paths, at any time", async (world) => {
  const [path, other] = [`${world.netnsDir}/mine`, `${world.netnsDir}/other`];
  await createNetns(path);
  const known = await identityOf(path);
  assertEquals(known.id, await netnsId(path));
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await pinNetns(path, other);
  assertEquals(await identityOf(other), known);
  assert(await isUnchanged({ path, ...known }));
  // The kernel drops those under /proc, and makes them again.
  assertEquals(Object.keys(await identityOf("/proc/self/ns/net")), ["id"]);
  assert(await isUnchanged({ path, id: known.id }), "one on record since before that was kept");
  await removeNetns(path);
  assert(!await isUnchanged({ path, ...known }));
  assertEquals(await identityOf(path), { id: undefined });
});

sandboxTest(
  "another namespace that got number and path of one within a second is distinguished from it",
  async (world) => {
    const path = `${world.netnsDir}/mine`;
    const link = `${world.dir}/link`;
    await createNetns(path);
    await Deno.symlink(path, link);
    const known = await identityOf(path);
    assertEquals(await identityOf(link), known);
    const again = { id: known.id, since: (known.since ?? 0) + 0.01 };
    assert(!isSameIdentity(known, again));
    assert(
      isSameIdentity({ ...known, since: Math.floor(known.since ?? 0) }, known),
      "as older versions wrote it",
    );
    // The kernel uses the lowest free number; until then it may use others.
    for (let tries = 0; tries < 50; tries++) {
      await removeNetns(path);
      await createNetns(path);
      assert(!await isUnchanged({ path, ...known }));
      assert(!await isUnchanged({ path: link, ...known }));
    }
  },
);

sandboxTest(
  "another namespace that got number and path of one that is gone is distinguished from it",
  async (world) => {
    await world.network("a");
    const path = `${world.netnsDir}/mine`;
    await createNetns(path);
    const { sandboxes } = world.podwire();
    await sandboxes.run({ name: "web", id: "c1", source: { kind: "path", path } });
    const record = (await world.sandboxes.read("c1"))!;
    // As if the recorded one had been there an hour earlier, and its number had been reused since.
    await world.sandboxes.write({ ...record, netns: { ...record.netns, since: record.netns.since! - 3600 } });
    const { state, reason } = await sandboxes.get("web");
    assertEquals({ state, reason }, { state: "broken", reason: `${path} leads to another namespace now` });
    assertEquals((await assertRejects(() => sandboxes.hold("web"), CniError)).kind, "conflict");
    await sandboxes.remove("web");
    assertEquals(await world.namespaces(), ["mine"]);
  },
);
