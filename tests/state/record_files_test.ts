import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { parseSandbox, printSandbox, repairSandbox, type SandboxRecord } from "../../lib/sandbox/record.ts";
import { printRecord, repairAttachment } from "../../lib/state/attachment_record.ts";
import { HEAD_LENGTH, parseLog, printHead, SANDBOX_KEY } from "../../lib/state/record_log.ts";
import { Random } from "../cni/random.ts";
import { FileCalls } from "../file_calls.ts";
import { putRecord, recordFile, storesIn } from "../stores.ts";
import { inTempDir } from "../temp_dir.ts";
import { Syncs } from "../syncs.ts";
import { RecordFiles } from "../../lib/state/record_files.ts";
import { attachmentRecord } from "../attachment_record.ts";

const BOOT = "b2";
const SANDBOX: SandboxRecord = {
  id: "c1",
  name: "web",
  namespace: "default",
  uid: "u1",
  phase: "creating",
  createdAt: "2026-01-02T03:04:05.678Z",
  bootId: "b1",
  netns: { path: "/run/netns/c1", owned: true, id: undefined },
  pid: undefined,
  infra: undefined,
  annotations: {},
};
const RECORD = attachmentRecord({ state: "adding" });

function storesTest(
  name: string,
  fn: (stores: ReturnType<typeof storesIn>, dir: string, boot: { id: string }) => Promise<void>,
): void {
  const boot = { id: "b1" };
  Deno.test(
    name,
    () => inTempDir((dir) => fn(storesIn(dir, { boot: () => Promise.resolve(boot.id) }), dir, boot)),
  );
}

storesTest("a sandbox and its attachments are one file, which is read once", async (stores, dir) => {
  const { sandboxes, store } = stores;
  await sandboxes.write(SANDBOX);
  await store.write(RECORD);
  await store.write({ ...RECORD, state: "attached" });
  await sandboxes.write({ ...SANDBOX, phase: "ready" });
  assertEquals(Array.from(Deno.readDirSync(`${dir}/records`), ({ name }) => name), ["c1.rec"]);
  const past = new Date(Date.now() - 10_000);
  await Deno.utime(recordFile(dir, "c1"), past, past);
  using calls = new FileCalls();
  for (const reads of [1, 0]) {
    assertEquals((await store.ofContainer("c1")).map(({ state }) => state), ["attached"]);
    assertEquals((await sandboxes.read("c1"))?.phase, "ready");
    assertEquals(calls.take().readTextFile ?? 0, reads);
  }
  await store.write({ ...RECORD, state: "deleting" });
  assertEquals((await store.ofContainer("c1")).map(({ state }) => state), ["deleting"]);
});

storesTest(
  "the ADD of an attachment that was intended does not wait for the disk, and another one does",
  async ({ sandboxes, store }) => {
    const intention = await store.intend([RECORD]);
    using syncs = new Syncs();
    await (await sandboxes.begin(SANDBOX, intention)).onDisk;
    assertEquals(syncs.take(), 2);
    await sandboxes.write({ ...SANDBOX, pid: 1 }, { durable: "text" });
    await store.write(RECORD);
    assertEquals(syncs.take(), 0);
    await store.write({ ...RECORD, state: "attached" });
    await store.write({ ...RECORD, ifName: "eth1", state: "attached" });
    assertEquals(syncs.take(), 0);
    for (const other of [{ ifName: "eth1" }, { config: '{"name": "web", "x": 1}' }, {}]) {
      await store.write({ ...RECORD, ...other });
      assertEquals(syncs.take(), 1, JSON.stringify(other));
    }
  },
);

storesTest("an intention counts only after a loss of power", async (stores, dir, boot) => {
  await (await stores.sandboxes.begin(SANDBOX, await stores.store.intend([RECORD]))).onDisk;
  for (const _again of [1, 2]) assertEquals(await stores.store.ofContainer("c1"), []);
  assertEquals((await stores.store.index()).count, 0);
  boot.id = BOOT;
  const { store, sandboxes } = storesIn(dir, { boot: () => Promise.resolve(boot.id) });
  assertEquals(await store.ofContainer("c1"), [RECORD]);
  await store.write({ ...RECORD, state: "deleting" });
  assertEquals((await store.ofContainer("c1")).map(({ state }) => state), ["deleting"]);
  await store.remove(RECORD);
  assertEquals(await store.ofContainer("c1"), []);
  assertEquals((await sandboxes.read("c1"))?.phase, "creating");
  await sandboxes.remove(SANDBOX);
  assertEquals(await sandboxes.ids(), []);
  boot.id = "b1";
});

storesTest(
  "a line that a loss of power cut off leaves the one before it; in the same boot it is damage",
  async ({ sandboxes, store }, dir, boot) => {
    const attached = { ...RECORD, state: "attached" as const };
    await (await sandboxes.begin(SANDBOX, await store.intend([RECORD]))).onDisk;
    await store.write(attached);
    const file = recordFile(dir, "c1");
    for (
      const tail of [
        "eth",
        "eth0@web {",
        `eth0@web ${(await printRecord(RECORD)).slice(0, 90)}`,
        "\0".repeat(99),
      ]
    ) {
      const whole = await Deno.readFile(file);
      await Deno.writeTextFile(file, tail, { append: true });
      boot.id = BOOT;
      assertEquals(await store.scan("c1"), { records: [attached], damaged: [] }, tail);
      assertEquals(await sandboxes.read("c1"), SANDBOX, tail);
      boot.id = "b1";
      const damaged = (await store.scan("c1")).damaged.length +
        (await sandboxes.damagedOf("c1") === undefined ? 0 : 1);
      assertEquals(damaged, 1, tail);
      await Deno.writeFile(file, whole);
    }
  },
);

storesTest(
  "a file without its end does not undo what may have become ready",
  async ({ sandboxes, store }, dir, boot) => {
    await (await sandboxes.begin(SANDBOX, await store.intend([RECORD]))).onDisk;
    await store.write(RECORD);
    const file = recordFile(dir, "c1");
    const { size } = await Deno.stat(file);
    await store.write({ ...RECORD, state: "attached" });
    await sandboxes.write({ ...SANDBOX, phase: "ready" });
    await Deno.truncate(file, size);
    assertEquals((await store.scan("c1")).damaged.map(({ reason }) => reason), [
      "the end of its file is missing",
    ]);
    assertEquals((await sandboxes.damagedOf("c1"))?.reason, "the end of its file is missing");
    // Whatever is written next, the end stays missing.
    await store.write({ ...RECORD, ifName: "eth1" });
    assertEquals((await store.scan("c1")).damaged.length, 2);
    boot.id = BOOT;
    assertEquals((await store.scan("c1")).records.length, 2);
    assertEquals((await sandboxes.read("c1"))?.phase, "creating");
    boot.id = "b1";
  },
);

storesTest(
  "what is not a file of records is not written to, and what a newer version wrote neither",
  async (stores, dir) => {
    const { store, sandboxes } = stores;
    const file = recordFile(dir, "c1");
    await Deno.mkdir(file, { recursive: true });
    for (const act of [() => store.write(RECORD), () => sandboxes.write(SANDBOX)]) {
      assertEquals((await assertRejects(act, CniError)).kind, "conflict");
    }
    assertEquals((await sandboxes.damagedOf("c1"))?.reason, "it is a directory, not a regular file");
    await Deno.remove(file);
    const newer = "podwire.records.v3 {}\nwhatever\n";
    await Deno.writeTextFile(file, newer);
    for (
      const act of [() => store.write(RECORD), () => sandboxes.remove(SANDBOX), () => sandboxes.read("c1")]
    ) {
      assertEquals((await assertRejects(act, CniError)).kind, "conflict");
    }
    assertEquals(await Deno.readTextFile(file), newer);
  },
);

storesTest("a file does not grow without end", async ({ store }, dir) => {
  const config = JSON.stringify({ name: "web", x: "x".repeat(5_000) });
  for (let attempts = 0; attempts < 100; attempts++) {
    await store.write({ ...RECORD, config, attempts, state: "failed" });
  }
  assertEquals((await store.read(RECORD))?.attempts, 99);
  assertEquals((await Deno.stat(recordFile(dir, "c1"))).size < 100_000, true);
});

storesTest("all that wait for the disk at once share the wait for the directory", async ({ sandboxes }) => {
  await sandboxes.write({ ...SANDBOX, id: "first" });
  using syncs = new Syncs();
  const ids = Array.from({ length: 16 }, (_, n) => `c${n}`);
  await Promise.all(ids.map((id) => sandboxes.write({ ...SANDBOX, id })));
  const sync = syncs.take();
  assertEquals(sync < 16 + 8, true, `${sync} syncs`);
});

/** Writes the records of `c1` as podwire 0.1.0 did. */
async function writeOld(dir: string, attachmentText: string): Promise<void> {
  await Deno.mkdir(`${dir}/sandboxes`, { recursive: true });
  await Deno.mkdir(`${dir}/attachments/c1`, { recursive: true });
  await Deno.writeTextFile(`${dir}/sandboxes/c1.json`, await printSandbox({ ...SANDBOX, phase: "ready" }));
  await Deno.writeTextFile(`${dir}/attachments/c1/eth0@web.json`, attachmentText);
}

storesTest(
  "records of podwire 0.1.0 are read where they are, and moved by the first write",
  async (stores, dir) => {
    const { sandboxes, store } = stores;
    const attached = { ...RECORD, state: "attached" as const };
    await writeOld(dir, await printRecord(attached));
    const shown = async () => ({
      ids: await sandboxes.ids(),
      phase: (await sandboxes.read("c1"))?.phase,
      records: await store.ofContainer("c1"),
      web: await store.ofNetwork("web"),
    });
    const before = await shown();
    assertEquals({ phase: before.phase, records: before.records }, { phase: "ready", records: [attached] });
    await Deno.stat(`${dir}/sandboxes/c1.json`);
    await sandboxes.write({ ...SANDBOX, phase: "stopping" });
    assertEquals(await shown(), { ...before, phase: "stopping" });
    for (const name of ["sandboxes/c1.json", "attachments/c1"]) {
      await assertRejects(() => Deno.stat(`${dir}/${name}`), Deno.errors.NotFound);
    }
    // A process that was killed in between has left both: the new one counts.
    await writeOld(dir, "{");
    assertEquals(await shown(), { ...before, phase: "stopping" });
    await store.remove(RECORD);
    await sandboxes.remove(SANDBOX);
    assertEquals(await shown(), { ids: [], phase: undefined, records: [], web: [] });
  },
);

storesTest(
  "a damaged record of podwire 0.1.0 stays damaged when it is moved",
  async ({ sandboxes, store }, dir) => {
    const text = await printRecord(RECORD);
    for (const damaged of ["{", "{\n\n}", text.replace("adding", "xdding"), ""]) {
      await writeOld(dir, damaged);
      const reasons = async () =>
        (await store.damaged("c1")).map(({ ifName, network }) => `${ifName}@${network}`);
      assertEquals(await reasons(), ["eth0@web"], damaged);
      assertEquals((await store.damaged("c1"))[0]?.file, `${dir}/attachments/c1/eth0@web.json`);
      await sandboxes.write({ ...SANDBOX, phase: "stopping" });
      assertEquals(await reasons(), ["eth0@web"], damaged);
      assertEquals((await store.damaged("c1"))[0]?.file, recordFile(dir, "c1"));
      await store.remove(RECORD);
      await sandboxes.remove(SANDBOX);
      assertEquals(await sandboxes.ids(), []);
    }
  },
);

storesTest("property: any one wrong bit of a record is repaired", async ({ sandboxes, store }, dir) => {
  await sandboxes.write(SANDBOX);
  await store.write(RECORD);
  await sandboxes.write({ ...SANDBOX, phase: "ready" });
  const file = recordFile(dir, "c1");
  const whole = await Deno.readFile(file);
  const random = new Random(7);
  for (let round = 0; round < 60; round++) {
    const bytes = whole.slice();
    const at = HEAD_LENGTH + random.below(whole.length - HEAD_LENGTH);
    bytes[at]! ^= 1 << random.below(8);
    await Deno.writeFile(file, bytes);
    const isDamaged = await sandboxes.damagedOf("c1") !== undefined;
    const sandbox = isDamaged ? await repairSandbox(bytes) : await sandboxes.read("c1");
    assertEquals(sandbox, { ...SANDBOX, phase: "ready" }, `byte ${at}`);
    const [damaged] = (await store.damaged("c1")).filter(({ ifName }) => ifName === "eth0");
    const record = damaged === undefined ? await store.read(RECORD) : await repairAttachment(bytes, RECORD);
    assertEquals(record, RECORD, `byte ${at}`);
  }
});

storesTest("a record in the place of another container's is damaged", async ({ sandboxes, store }, dir) => {
  await sandboxes.write(SANDBOX);
  await store.write(RECORD);
  await Deno.copyFile(recordFile(dir, "c1"), recordFile(dir, "c2"));
  assertEquals((await store.scan("c2")).damaged.map(({ ifName }) => ifName), ["eth0"]);
  assertEquals((await sandboxes.damagedOf("c2"))?.reason, "it belongs to another sandbox");
  const { lines } = parseLog(await Deno.readFile(recordFile(dir, "c1")));
  assertEquals((await parseSandbox(lines[0]?.text ?? "")).id, "c1");
  await putRecord(recordFile(dir, "c1"), SANDBOX_KEY, undefined);
  assertEquals(await sandboxes.readAny("c1"), undefined);
  await Deno.writeTextFile(recordFile(dir, "c3"), printHead(HEAD_LENGTH));
  assertEquals(await sandboxes.readAny("c3"), undefined);
});

async function inFiles(fn: (files: RecordFiles, dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-records-" });
  try {
    for (const id of ["c1", "c2"]) {
      await Deno.mkdir(`${dir}/attachments/${id}`, { recursive: true });
      await Deno.writeTextFile(`${dir}/attachments/${id}/eth0@web.json`, "{}\n");
    }
    await fn(new RecordFiles(dir), dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const namesIn = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();

Deno.test("records of podwire 0.1.0 whose removal a loss of power took back go with the unfinished writes", () =>
  inFiles(async (files, dir) => {
    const lines = [{ key: "sandbox", text: '{"kind":"podwire.sandbox.v1"}' }];
    await files.append("c1", lines);
    await Deno.mkdir(`${dir}/attachments/c1`);
    await Deno.writeTextFile(`${dir}/attachments/c1/eth0@web.json`, "{}\n");
    await files.removeUnfinished();
    assertEquals(namesIn(`${dir}/attachments`), ["c2"]);
    assertEquals((await files.read("c1"))?.lines.map(({ key }) => key), ["eth0@web", "sandbox"]);
    assertEquals((await files.read("c2"))?.lines.map(({ key }) => key), ["eth0@web"]);
  }));

storesTest(
  "in a file that was replaced by that of another container there may be a sandbox",
  async ({ sandboxes, store }, dir) => {
    await store.write({ ...RECORD, containerId: "c2" });
    await sandboxes.write(SANDBOX);
    await Deno.copyFile(recordFile(dir, "c2"), recordFile(dir, "c1"));
    assertEquals((await sandboxes.damagedOf("c1"))?.reason, "its file is that of another container");
    assertEquals((await sandboxes.scan()).damaged.map(({ id }) => id), ["c1"]);
    assertEquals(await sandboxes.has("c2"), false);
    assertEquals((await store.ofContainer("c2")).length, 1);
  },
);
