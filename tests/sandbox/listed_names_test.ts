import { assertEquals, assertNotEquals } from "@std/assert";
import { numberOf } from "../../lib/sandbox/listed_names.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { FileCalls } from "../file_calls.ts";
import { putRecord, recordFile, storesIn } from "../stores.ts";
import { inTempDir } from "../temp_dir.ts";

function sandbox(id: string, name: string, more: Partial<SandboxRecord> = {}): SandboxRecord {
  return {
    ...{ id, name, namespace: "default", uid: id, phase: "creating", createdAt: "2026-01-02", bootId: "b1" },
    ...{ netns: { path: `/run/netns/${id}`, owned: true, id: undefined }, pid: undefined, infra: undefined },
    annotations: {},
    ...more,
  };
}

function listedTest(
  name: string,
  fn: (
    sandboxes: ReturnType<typeof storesIn>["sandboxes"],
    dir: string,
    boot: { id: string },
  ) => Promise<void>,
): void {
  const boot = { id: "b1" };
  Deno.test(
    name,
    () =>
      inTempDir((dir) => fn(storesIn(dir, { boot: () => Promise.resolve(boot.id) }).sandboxes, dir, boot)),
  );
}

listedTest("a name leads to its sandboxes without a look at the others", async (sandboxes) => {
  await sandboxes.removeUnfinished();
  for (let n = 0; n < 20; n++) await sandboxes.write(sandbox(`c${n}`, n < 2 ? "web" : `other-${n}`));
  // One whose name is not reserved.
  await sandboxes.write(sandbox("p1", "web", { owner: "pods:engine", namespace: "kube" }));
  using calls = new FileCalls();
  assertEquals(await sandboxes.idsNamed("web"), ["c0", "c1", "p1"]);
  assertEquals((await sandboxes.scan(await sandboxes.idsNamed("web"))).records.length, 3);
  // Twice the boot, and three records.
  assertEquals(calls.take().readTextFile, 5);
  assertEquals(await sandboxes.idsNamed("none"), []);
  assertEquals(await sandboxes.idsNamed("../names"), []);
});

listedTest("a sandbox is listed until it is removed, under its last name too", async (sandboxes, dir) => {
  await sandboxes.removeUnfinished();
  const record = sandbox("c1", "pool-c1");
  await sandboxes.write(record);
  await sandboxes.write({ ...record, name: "web", phase: "ready" });
  assertEquals(await sandboxes.idsNamed("web"), ["c1"]);
  await sandboxes.remove({ ...record, name: "web" });
  assertEquals(await sandboxes.idsNamed("web"), []);
  const left = await Array.fromAsync(Deno.readDir(`${dir}/by-name`), async ({ name, isDirectory }) => {
    return isDirectory ? await Array.fromAsync(Deno.readDir(`${dir}/by-name/${name}`)) : [];
  });
  assertEquals(left.flat(), []);
});

listedTest(
  "after a boot all records are looked at, until recovery has listed all and removed the other entries",
  async (sandboxes, dir, boot) => {
    await sandboxes.write(sandbox("c1", "web"));
    assertEquals(await sandboxes.idsNamed("none"), ["c1"]);
    await sandboxes.removeUnfinished();
    assertEquals(await sandboxes.idsNamed("none"), []);
    boot.id = "b2";
    const fresh = storesIn(dir, { boot: () => Promise.resolve(boot.id) }).sandboxes;
    assertEquals(await fresh.idsNamed("none"), ["c1"]);
    const [web, gone] = ["web", "gone"].map((name) => `${dir}/by-name/${numberOf(name)}`);
    assertNotEquals(web, gone);
    await Deno.mkdir(`${gone}/folder`, { recursive: true });
    await Deno.writeTextFile(`${gone}/c9`, "");
    await Deno.writeTextFile(`${gone}/notes`, "theirs");
    await Deno.mkdir(`${dir}/by-name/gone`);
    await Deno.writeTextFile(`${dir}/by-name/gone/c8`, "");
    await Deno.remove(`${web}`, { recursive: true });
    await fresh.removeUnfinished({ isAlone: true });
    // Only what podwire makes there.
    assertEquals(await fresh.idsNamed("gone"), ["folder", "notes"]);
    assertEquals(await fresh.idsNamed("web"), ["c1"]);
    assertEquals(await Deno.readTextFile(`${dir}/by-name/gone/c8`), "");
    boot.id = "b1";
  },
);

listedTest("as long as a record is damaged, nothing is said to be complete", async (sandboxes, dir) => {
  await sandboxes.write(sandbox("c1", "web"));
  await putRecord(recordFile(dir, "c1"), "sandbox", "{");
  await sandboxes.removeUnfinished({ isAlone: true });
  assertEquals(await sandboxes.idsNamed("none"), ["c1"]);
});

listedTest("sandboxes with one name come and go at once", async (sandboxes) => {
  await sandboxes.removeUnfinished();
  const life = async (id: string) => {
    for (let round = 0; round < 20; round++) {
      const record = sandbox(`${id}-${round}`, "web");
      await sandboxes.write(record, { durable: false });
      assertEquals((await sandboxes.idsNamed("web")).includes(record.id), true);
      await sandboxes.remove(record);
    }
  };
  await Promise.all(["a", "b", "c"].map(life));
  assertEquals(await sandboxes.idsNamed("web"), []);
});
