import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { BadRecord } from "../../lib/network/record.ts";
import { seal, unseal } from "../../lib/network/sealed.ts";
import { validateName } from "../../lib/sandbox/name.ts";
import { type SandboxRecord, SandboxStore } from "../../lib/sandbox/record.ts";
import { CniError } from "../../lib/spec/error.ts";

async function inStore(
  fn: (store: SandboxStore, dir: string, bad: BadRecord[]) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-sandboxes-" });
  const bad: BadRecord[] = [];
  try {
    await fn(new SandboxStore(dir, (record) => bad.push(record)), dir, bad);
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

/** As podwire wrote it before there were labels. */
const { labels: _labels, sysctls: _sysctls, ...EARLIER } = BARE;
const MORE: SandboxRecord = {
  ...BARE,
  phase: "stopped",
  owner: "pods:x",
  hostNetwork: true,
  reason: "its infra container",
};

Deno.test("a sandbox is kept in one file for nobody else to read, with kind and checksum", () =>
  inStore(async (store, dir) => {
    for (const record of [SANDBOX, BARE, EARLIER, MORE]) {
      await store.write(record);
      assertEquals(await store.read("c1"), record);
    }
    const path = `${dir}/sandboxes/c1.json`;
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assertEquals(JSON.parse(await Deno.readTextFile(path)).kind, "podwire.sandbox.v1");
    assertEquals(await store.read("c2"), undefined);
  }));

Deno.test("sandboxes come oldest first, their IDs in byte order", () =>
  inStore(async (store) => {
    assertEquals([await store.all(), await store.ids()], [[], []]);
    for (const [id, createdAt] of [["b", "2026-01-03"], ["a", "2026-01-02"], ["c", "2026-01-01"]] as const) {
      await store.write({ ...SANDBOX, id, createdAt });
    }
    assertEquals(await store.ids(), ["a", "b", "c"]);
    assertEquals((await store.all()).map(({ id }) => id), ["c", "a", "b"]);
  }));

Deno.test("a name belongs to one sandbox of a namespace, until that is removed", () =>
  inStore(async (store) => {
    await store.write(SANDBOX);
    await store.reserve(SANDBOX);
    await store.reserve(SANDBOX).catch(() => {});
    const other = { ...SANDBOX, id: "c2" };
    await store.write(other);
    const error = await assertRejects(() => store.reserve(other), CniError);
    assertEquals([error.kind, error.msg], [
      "conflict",
      'the name "web" in namespace "default" is taken by sandbox c1',
    ]);
    await store.reserve({ ...other, namespace: "prod" });
    assertEquals([await store.ownerOf("default", "web"), await store.ownerOf("prod", "web")], ["c1", "c2"]);
    // One that does not own the name does not take it along.
    await store.remove(other);
    assertEquals(await store.ownerOf("default", "web"), "c1");
    await store.remove(SANDBOX);
    await store.remove(SANDBOX);
    assertEquals([await store.ownerOf("default", "web"), await store.ids()], [undefined, []]);
  }));

Deno.test("a name that a crash left to a sandbox without a record is free", () =>
  inStore(async (store, dir) => {
    await Deno.mkdir(`${dir}/names/default`, { recursive: true });
    for (const stale of ["gone", ""]) {
      await Deno.writeTextFile(`${dir}/names/default/web`, stale);
      await store.write(SANDBOX);
      await store.reserve(SANDBOX);
      assertEquals(await store.ownerOf("default", "web"), "c1");
    }
  }));

Deno.test("a file that is not as it was written is moved aside and reported", () =>
  inStore(async (store, dir, bad) => {
    await store.write(SANDBOX);
    await store.write({ ...SANDBOX, id: "c2" });
    const path = `${dir}/sandboxes/c1.json`;
    const whole = await Deno.readTextFile(path);
    const body = await unseal("podwire.sandbox.v1", whole);
    const resealed = (changes: Record<string, string>) => seal("podwire.sandbox.v1", { ...body, ...changes });
    const damaged = [
      "",
      whole.slice(0, -20),
      whole.replace("4711", "4712"),
      await resealed({ phase: "odd" }),
      await resealed({ id: "c2" }),
      await resealed({ netns: "path" }),
    ];
    for (const text of damaged) {
      await Deno.writeTextFile(path, text);
      assertEquals((await store.all()).map(({ id }) => id), ["c2"]);
      assertEquals(await Deno.readTextFile(bad.at(-1)?.movedTo ?? ""), text);
    }
    assertEquals(bad.length, damaged.length);
    assertEquals(await store.ids(), ["c2"]);
  }));

Deno.test("names, namespaces and IDs can stand in a path and in CNI_ARGS", () => {
  for (const good of ["a", "web-0", "A.b_c", "0", "x".repeat(253)]) validateName("sandbox name", good);
  for (const bad of ["", ".", "..", "-a", "_a", "a/b", "a;b", "a b", "a\n", "ä", "x".repeat(254)]) {
    const error = assertThrows(() => validateName("sandbox name", bad), CniError);
    assertEquals(error.kind, "usage", bad);
    assertStringIncludes(error.msg, "the sandbox name");
  }
});

Deno.test("a record that was moved aside is remembered by its ID, until there is another of that ID", () =>
  inStore(async (store, dir) => {
    assertEquals(await store.damaged(), []);
    await store.write(SANDBOX);
    await store.reserve(SANDBOX);
    for (const n of [1, 2]) {
      await Deno.writeTextFile(`${dir}/sandboxes/c1.json`, "no record");
      assertEquals(await store.read("c1"), undefined);
      const [damaged, ...others] = await store.damaged();
      assertEquals([damaged?.id, damaged?.file, others], ["c1", `${dir}/sandboxes/c1.json.bad-${n}`, []]);
      assertEquals(Math.abs(Date.parse(damaged?.since ?? "") - Date.now()) < 60_000, true);
    }
    assertEquals([await store.nameOf("c1"), await store.nameOf("c2")], [
      { name: "web", namespace: "default" },
      undefined,
    ]);
    await store.write(SANDBOX);
    assertEquals(await store.damaged(), []);
  }));
