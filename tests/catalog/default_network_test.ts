import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import { embeddedNetwork } from "../../lib/catalog/embedded_network.ts";
import { CniError } from "../../lib/cni/error.ts";
import { briefs, CatalogWorld, conf } from "./world.ts";

/** Reads the catalog as a process of its own does. */
async function once(world: CatalogWorld, ...options: Parameters<CatalogWorld["onDemand"]>): Promise<Catalog> {
  await using source = world.onDemand(...options);
  return await source.current();
}

const reasons = (catalog: Catalog) => catalog.entries.map(({ reason }) => reason);
const by = (catalog: Catalog) => catalog.entries.map(({ defaultBy }) => defaultBy);

Deno.test("F30 F32 F33 F38 a named default network stays the default without its file, and works again when the file is back", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await using source = world.onDemand({ defaultNetwork: "b" });
  assertEquals(by(await source.current()), [undefined, "name"]);
  await world.write("05-first.conf", conf("first"));
  assertEquals((await source.current()).default().name, "b");
  await world.remove("20-b.conf");
  const without = await source.current();
  assertEquals(without.defaultName, "b");
  const error = assertThrows(() => without.default(), CniError);
  assertEquals({ kind: error.kind, msg: error.msg }, {
    kind: "not-ready",
    msg: `the default network "b" is not in ${world.confDir}`,
  });
  await world.write("90-b.conf", conf("b"));
  assertEquals((await source.current()).default().name, "b");
});

Deno.test("F31 F38 without attachments the default is the first file, and each change is logged", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  assertEquals(by(await once(world)), ["first", undefined]);
  await world.write("05-c.conf", conf("c"));
  assertEquals((await once(world)).default().name, "c");
  await world.remove("05-c.conf");
  assertEquals((await once(world)).default().name, "a");
  await once(world);
  assertEquals(world.log.all, [
    'warn the default network is "c" now, it was "a"',
    'warn the default network is "a" now, it was "c"',
  ]);
  await world.remove("10-a.conf");
  await world.remove("20-b.conf");
  const none = await once(world);
  assertEquals({ defaultName: none.defaultName, by: none.defaultChoice.by }, {
    defaultName: undefined,
    by: "none",
  });
  await world.write("10-a.conf", conf("a"));
  // It is the same as before, so nothing is logged.
  assertEquals((await once(world)).default().name, "a");
  assertEquals(world.log.all.length, 2);
});

Deno.test("while containers are attached to the default network, a new first file does not replace it", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await once(world);
  world.attached.add("a");
  await world.write("05-c.conf", conf("c"));
  const pinned = await once(world);
  assertEquals(briefs(pinned), ["05-c.conf c used", "10-a.conf a used default"]);
  assertEquals(by(pinned), [undefined, "pinned"]);
  const [first, stays] = reasons(pinned);
  assertStringIncludes(first ?? "", 'is not the default since containers are attached to "a"');
  assertStringIncludes(stays ?? "", `although ${world.path("05-c.conf")} comes first now`);
  assertEquals(pinned.default().name, "a");
  // Another file defines the same network now.
  await world.remove("10-a.conf");
  await world.write("20-a.conf", conf("a", "ptp"));
  assertEquals((await once(world)).default().plugins[0]?.type, "ptp");
  world.attached.clear();
  const moved = await once(world);
  assertEquals(briefs(moved), ["05-c.conf c used default", "20-a.conf a used"]);
  assertEquals(reasons(moved), [undefined, undefined]);
  assertEquals(world.log.all, ['warn the default network is "c" now, it was "a"']);
});

Deno.test("while containers are attached to a default network whose file is gone, there is no default network", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await once(world);
  world.attached.add("a");
  await world.remove("10-a.conf");
  const embedded = () => Promise.resolve(embeddedNetwork({ masquerade: undefined, ipv6: false }));
  const gone = await once(world, { embedded });
  assertEquals([gone.defaultName, briefs(gone)], [undefined, ["20-b.conf b used"]]);
  const error = assertThrows(() => gone.default(), CniError);
  assertEquals(error.kind, "not-ready");
  assertStringIncludes(error.message, `the file of the default network "a" is gone from ${world.confDir}`);
  assertStringIncludes(error.context.hint ?? "", world.path("10-a.conf"));
  assertStringIncludes(
    reasons(gone)[0] ?? "",
    'attached to "a", which was the default before and whose file is gone',
  );
  // F35
  assertEquals(gone.forPod("b").name, "b");
  await world.remove("20-b.conf");
  assertEquals(
    assertThrows(
      await (async () => {
        const empty = await once(world, { embedded });
        return () => empty.default();
      })(),
      CniError,
    ).kind,
    "not-ready",
  );
  await world.write("10-a.conf", conf("a"));
  assertEquals((await once(world, { embedded })).default().name, "a");
});

Deno.test("a default network whose file becomes unusable stays the default", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a"), "20-b.conf": conf("b") });
  await once(world);
  await world.write("10-a.conf", "");
  assertEquals(briefs(await once(world)), ["10-a.conf a stale default", "20-b.conf b used"]);
});

Deno.test("attachments are read only if the default depends on them; if they cannot be read, the default stays", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  let asked = 0;
  const isAttached = () => {
    asked++;
    return Promise.reject(new Error("the records cannot be read"));
  };
  await using source = world.onDemand({ isAttached });
  for (let n = 0; n < 3; n++) await source.current();
  assertEquals(asked, 0);
  await world.write("05-c.conf", conf("c"));
  assertEquals((await source.current()).default().name, "a");
});

Deno.test("the embedded network is never pinned: the first file replaces it", async () => {
  await using world = await CatalogWorld.make();
  const embedded = () => Promise.resolve(embeddedNetwork({ masquerade: undefined, ipv6: false }));
  await using source = world.onDemand({ embedded });
  assertEquals((await source.current()).default().name, "podwire");
  world.attached.add("podwire");
  await world.write("10-a.conf", conf("a"));
  assertEquals((await source.current()).default().name, "a");
  assertEquals(world.log.all, ['warn the default network is "a" now, it was "podwire"']);
});

Deno.test("a source that watches logs when the default network is gone, pinned, or replaced", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await using watched = await world.watch();
  world.attached.add("a");
  await world.write("05-c.conf", conf("c"));
  await watched.becomes("05-c.conf c used", "10-a.conf a used default");
  await world.remove("10-a.conf");
  await watched.becomes("05-c.conf c used");
  await assertRejects(async () => (await watched.source.current()).default(), CniError, "is gone");
  world.attached.clear();
  await watched.source.reload();
  assertEquals(await watched.now(), ["05-c.conf c used default"]);
  assertEquals(world.log.all, [
    'info the default network stays "a" while containers are attached to it',
    'warn the default network "a" is gone: its file is gone, and containers are attached to it',
    'warn the default network is "c" now, it was "a"',
  ]);
});

Deno.test("after a network of a file was in use, the embedded network never becomes the default by itself", async () => {
  const embedded = () => Promise.resolve(embeddedNetwork({ masquerade: undefined, ipv6: false }));
  await using world = await CatalogWorld.make();
  assertEquals((await once(world, { embedded })).default().name, "podwire");
  await world.write("10-a.conf", conf("a"));
  // A network that was named was in use too.
  assertEquals((await once(world, { embedded, defaultNetwork: "a" })).default().name, "a");
  await world.remove("10-a.conf");
  const emptied = await once(world, { embedded });
  assertEquals({ defaultName: emptied.defaultName, by: emptied.defaultChoice.by }, {
    defaultName: undefined,
    by: "emptied",
  });
  const error = assertThrows(() => emptied.default(), CniError);
  assertEquals(error.kind, "not-ready");
  assertStringIncludes(error.message, world.confDir);
  // A request that names it gets it.
  assertEquals(emptied.forPod("podwire").name, "podwire");
  assertEquals((await once(world, { embedded, defaultNetwork: "podwire" })).default().name, "podwire");
  await world.write("10-a.conf", conf("a"));
  assertEquals((await once(world, { embedded })).default().name, "a");
});

Deno.test("an unusable first file does not replace a default network that containers are attached to", async () => {
  await using world = await CatalogWorld.make({ "10-a.conf": conf("a") });
  await once(world);
  await world.write("05-bad.conf", "{");
  assertEquals((await once(world)).defaultChoice.by, "unusable");
  world.attached.add("a");
  const pinned = await once(world);
  assertEquals(pinned.default().name, "a");
  assertStringIncludes(reasons(pinned)[1] ?? "", "05-bad.conf comes first now");
});
