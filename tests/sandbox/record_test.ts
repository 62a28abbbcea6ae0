import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type SandboxRecord, stopped } from "../../lib/sandbox/record.ts";
import type { SandboxStore } from "../../lib/sandbox/store.ts";
import { validateName } from "../../lib/sandbox/validate_name.ts";
import type { BadRecord } from "../../lib/state/checksummed.ts";
import { parseChecksummed, printChecksummed } from "../../lib/state/checksummed.ts";
import { putRecord, recordFile, recordText, storesIn } from "../stores.ts";

async function inStore(
  fn: (store: SandboxStore, dir: string, bad: BadRecord[]) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-sandboxes-" });
  const bad: BadRecord[] = [];
  try {
    await fn(
      storesIn(dir, { boot: () => Promise.resolve(SANDBOX.bootId), onBad: (record) => bad.push(record) })
        .sandboxes,
      dir,
      bad,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const SANDBOX: SandboxRecord = {
  id: "c1",
  name: "web",
  namespace: "default",
  uid: "u1",
  phase: "ready",
  createdAt: "2026-01-02T03:04:05.678Z",
  bootId: "b1",
  netns: { path: "/run/netns/podwire-c1", owned: true, id: "4:4026532000", since: 1_767_225_600 },
  pid: 4711,
  infra: { runtime: "crun", bundle: "/var/lib/podwire/infra/c1" },
  annotations: { "example.com/x": "1" },
  labels: { app: "web", tier: "" },
  sysctls: { "net.ipv4.ip_forward": "1" },
  pidStart: 123_456,
};

const BARE: SandboxRecord = {
  ...SANDBOX,
  phase: "creating",
  netns: { path: "/run/netns/mine", owned: false, id: undefined },
  pid: undefined,
  infra: undefined,
  annotations: {},
  labels: {},
  sysctls: {},
};

/** A record of a version without labels and sysctls. */
const { labels: _labels, sysctls: _sysctls, ...EARLIER } = BARE;
const MORE: SandboxRecord = {
  ...BARE,
  phase: "stopped",
  owner: "pods:x",
  hostNetwork: true,
  reason: "its infra container",
  cri: { handler: "", config: { logDirectory: "/var/log" }, unknownMembers: { later: [1] } },
  nri: { engine: "containerd 2.1.9", unknownMembers: { later: [1] } },
};

Deno.test("a sandbox record is one file that only its owner can read, with kind and checksum", () =>
  inStore(async (store, dir) => {
    for (const record of [SANDBOX, BARE, EARLIER, MORE]) {
      await store.write(record);
      assertEquals(await store.read("c1"), record);
    }
    const path = recordFile(dir, "c1");
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assertEquals(JSON.parse(await recordText(path, "sandbox") ?? "").kind, "podwire.sandbox.v1");
    assertEquals(await store.read("c2"), undefined);
  }));

Deno.test("sandboxes are listed oldest first, and their IDs in byte order", () =>
  inStore(async (store) => {
    assertEquals(await store.all(), []);
    assertEquals(await store.ids(), []);
    for (const [id, createdAt] of [["b", "2026-01-03"], ["a", "2026-01-02"], ["c", "2026-01-01"]] as const) {
      await store.write({ ...SANDBOX, id, createdAt });
    }
    assertEquals(await store.ids(), ["a", "b", "c"]);
    assertEquals((await store.all()).map(({ id }) => id), ["c", "a", "b"]);
  }));

Deno.test("a name belongs to one sandbox of a namespace until that sandbox is removed", () =>
  inStore(async (store) => {
    await store.write(SANDBOX);
    await store.reserve(SANDBOX);
    await store.reserve(SANDBOX).catch(() => {});
    const other = { ...SANDBOX, id: "c2" };
    await store.write(other);
    const error = await assertRejects(() => store.reserve(other), CniError);
    assertEquals({ kind: error.kind, msg: error.msg }, {
      kind: "conflict",
      msg: 'the name "web" in namespace "default" is taken by sandbox c1',
    });
    await store.reserve({ ...other, namespace: "prod" });
    assertEquals(await store.idsOf("default", "web"), ["c1"]);
    assertEquals(await store.idsOf("prod", "web"), ["c2"]);
    // Removing a sandbox that does not have the name does not free it.
    await store.remove(other);
    assertEquals(await store.idsOf("default", "web"), ["c1"]);
    await store.remove(SANDBOX);
    await store.remove(SANDBOX);
    assertEquals(await store.idsOf("default", "web"), []);
    assertEquals(await store.ids(), []);
  }));

Deno.test("a name that a crash left to a sandbox without a record is free", () =>
  inStore(async (store, dir) => {
    await Deno.mkdir(`${dir}/names/default`, { recursive: true });
    for (const stale of ["gone", ""]) {
      await Deno.writeTextFile(`${dir}/names/default/web`, stale);
      await store.write(SANDBOX);
      await store.reserve(SANDBOX);
      assertEquals(await store.idsOf("default", "web"), ["c1"]);
    }
  }));

Deno.test("a damaged record is reported and not changed; an intact record that cannot be decoded counts as one of a newer version", () =>
  inStore(async (store, dir, bad) => {
    await store.write(SANDBOX);
    await store.write({ ...SANDBOX, id: "c2" });
    const path = recordFile(dir, "c1");
    const whole = await recordText(path, "sandbox") ?? "";
    const body = await parseChecksummed("podwire.sandbox.v1", whole);
    const rechecksummed = (changes: Record<string, string>) =>
      printChecksummed("podwire.sandbox.v1", { ...body, ...changes });
    const damaged = [
      ["", false],
      [whole.slice(0, -20), false],
      [whole.replace("4711", "4712"), false],
      [await printChecksummed("podwire.attachment.v1", body), false],
      [await rechecksummed({ id: "c2" }), false],
      [await printChecksummed("podwire.sandbox.v2", body), true],
      [whole.replace("sandbox.v1", "sandbox.v9").replace("4711", "4712"), true],
      [await rechecksummed({ phase: "odd" }), true],
      [await rechecksummed({ netns: "path" }), true],
    ] as const;
    for (const [text, isNewer] of damaged) {
      await putRecord(path, "sandbox", text);
      const content = await Deno.readTextFile(path);
      const { records, damaged: [found, ...others] } = await store.scan();
      assertEquals({ usable: records.map(({ id }) => id), others }, { usable: ["c2"], others: [] });
      assertEquals({ id: found?.id, file: found?.file, isNewer: found?.isNewer }, {
        id: "c1",
        file: path,
        isNewer,
      });
      assertEquals(bad.at(-1), { file: path, reason: found?.reason ?? "" });
      assertEquals(await Deno.readTextFile(path), content);
      if (!isNewer) assertEquals(await store.read("c1"), undefined);
      else assertEquals((await assertRejects(() => store.read("c1"), CniError)).kind, "conflict");
      await store.forgetDamaged("c1");
      assertEquals(await store.has("c1"), isNewer);
    }
    assertEquals(await store.ids(), ["c1", "c2"]);
  }));

Deno.test("the checksum distinguishes a damaged kind from an unknown one", () =>
  inStore(async (store, dir) => {
    await store.write(SANDBOX);
    const path = recordFile(dir, "c1");
    await Deno.writeTextFile(path, (await Deno.readTextFile(path)).replace("sandbox.v1", "sandboz.v1"));
    assertEquals(await store.read("c1"), SANDBOX);
  }));

Deno.test("members that a newer version wrote are kept when a record is written again, at every level", () =>
  inStore(async (store, dir) => {
    await store.write(SANDBOX);
    const path = recordFile(dir, "c1");
    const text = async () => await recordText(path, "sandbox") ?? "";
    const body = await parseChecksummed("podwire.sandbox.v1", await text());
    const more = {
      ...body,
      later: { deep: [1, { x: null }] },
      netns: { ...body.netns as JsonObject, driver: "pasta" },
      infra: { ...body.infra as JsonObject, image: "pause" },
    };
    await putRecord(path, "sandbox", await printChecksummed("podwire.sandbox.v1", more));
    const read = await store.read("c1");
    await store.write({ ...stopped(read!), phase: "stopping" });
    const again = await parseChecksummed("podwire.sandbox.v1", await text());
    assertEquals({ later: again.later, netns: again.netns, infra: again.infra, phase: again.phase }, {
      later: more.later,
      netns: more.netns,
      infra: more.infra,
      phase: "stopping",
    });
  }));

Deno.test("a name is shared by several UIDs and attempts only if the reservation allows it", () =>
  inStore(async (store) => {
    const share = { isUnique: false };
    const attempts = [
      SANDBOX,
      { ...SANDBOX, id: "c2", attempt: 1 },
      { ...SANDBOX, id: "c3", uid: "u2" },
    ];
    for (const record of attempts) {
      await store.write(record);
      await store.reserve(record, share);
    }
    assertEquals(await store.idsOf("default", "web"), ["c1", "c2", "c3"]);
    for (const record of [...attempts, { ...SANDBOX, attempt: 0 }]) {
      const again = { ...record, id: "c9" };
      await store.write(again);
      const error = await assertRejects(() => store.reserve(again, share), CniError);
      assertEquals(error.kind, "conflict");
      await store.remove(again);
    }
    const other = { ...SANDBOX, id: "c9", uid: "u9" };
    await store.write(other);
    await assertRejects(() => store.reserve(other), CniError, "is taken by sandbox c1");
    await store.remove(other);
    await store.remove(attempts[0]!);
    assertEquals(await store.idsOf("default", "web"), ["c2", "c3"]);
  }));

Deno.test("a damaged name file gives the name to no other sandbox, and is recreated from the records", () =>
  inStore(async (store, dir) => {
    await store.write(SANDBOX);
    await store.reserve(SANDBOX);
    const db = { ...SANDBOX, id: "d1", name: "db" };
    await store.write(db);
    await store.reserve(db);
    const path = `${dir}/names/default/web`;
    const next = { ...SANDBOX, id: "c2" };
    await store.write({ ...next, phase: "creating" });
    for (const text of ["", "c9", "d1", "\0\x01", "c1\n?", "c1 c1", "{}", "[1]"]) {
      const write = () => Deno.writeTextFile(path, text);
      await write();
      assertEquals((await store.named("default", "web")).map(({ id }) => id), ["c1"], text);
      const error = await assertRejects(() => store.reserve(next), CniError);
      assertStringIncludes(error.msg, "is taken by sandbox c1", text);
      await write();
      await store.removeUnfinished();
      assertEquals(await store.idsOf("default", "web"), ["c1"]);
      assertEquals(await store.idsOf("default", "db"), ["d1"]);
    }
    await Deno.remove(path);
    await store.removeUnfinished();
    assertEquals(await Deno.readTextFile(path), "c1");
    const newer = '{"kind": "podwire.name.v2", "owners": []}';
    await Deno.writeTextFile(path, newer);
    assertEquals((await assertRejects(() => store.reserve(next), CniError)).context.file, path);
    await store.removeUnfinished();
    assertEquals(await Deno.readTextFile(path), newer);
  }));

Deno.test("unfinished writes of killed processes go, wherever they are", () =>
  inStore(async (store, dir) => {
    await store.write(SANDBOX);
    await store.reserve(SANDBOX);
    // No process of Linux has the number.
    const name = `.podwire-4194305-${"0".repeat(32)}.tmp`;
    await Deno.mkdir(`${dir}/catalogs`);
    const files = ["", "/catalogs", "/records", "/names/default"].map((folder) => `${dir}${folder}/${name}`);
    for (const file of files) await Deno.writeTextFile(file, "");
    await store.removeUnfinished();
    for (const file of files) await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
    assertEquals((await store.all()).map(({ id }) => id), ["c1"]);
  }));

Deno.test("names, namespaces and IDs that cannot be used in a path or in CNI_ARGS are refused", () => {
  for (const good of ["a", "web-0", "A.b_c", "0", "x".repeat(253)]) validateName("sandbox name", good);
  for (const bad of ["", ".", "..", "-a", "_a", "a/b", "a;b", "a b", "a\n", "ä", "x".repeat(254)]) {
    const error = assertThrows(() => validateName("sandbox name", bad), CniError);
    assertEquals(error.kind, "usage", bad);
    assertStringIncludes(error.msg, "the sandbox name");
  }
});

Deno.test("a record that an earlier version moved aside is found by its ID until there is a new record with that ID", () =>
  inStore(async (first, dir) => {
    await first.write(SANDBOX);
    await first.reserve(SANDBOX);
    await Deno.remove(recordFile(dir, "c1"));
    await Deno.mkdir(`${dir}/sandboxes`);
    const store = storesIn(dir, { boot: () => Promise.resolve(SANDBOX.bootId) }).sandboxes;
    for (const n of [1, 2]) {
      await Deno.writeTextFile(`${dir}/sandboxes/c1.json.bad-${n}`, "no record");
      assertEquals(await store.read("c1"), undefined);
      const { records, damaged: [damaged, ...others] } = await store.scan();
      assertEquals({ records, id: damaged?.id, file: damaged?.file, others }, {
        records: [],
        id: "c1",
        file: `${dir}/sandboxes/c1.json.bad-${n}`,
        others: [],
      });
      assertEquals(Math.abs(Date.parse(damaged?.since ?? "") - Date.now()) < 60_000, true);
    }
    assertEquals(await store.nameOf("c1"), { name: "web", namespace: "default" });
    assertEquals(await store.nameOf("c2"), undefined);
    await store.write(SANDBOX);
    assertEquals((await store.scan()).damaged, []);
    await store.remove(SANDBOX);
    assertEquals((await Array.fromAsync(Deno.readDir(`${dir}/sandboxes`))).length, 0);
  }));
