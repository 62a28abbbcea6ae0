// What a list of all records reads, and that it finds the same as a look at each of them.
import { assertEquals } from "@std/assert";
import { factsLibrary } from "../../lib/host/file_facts.ts";
import { sha256 } from "../../lib/host/sha256.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { HEAD_LENGTH } from "../../lib/state/record_log.ts";
import { attachmentRecord } from "../attachment_record.ts";
import { FileCalls } from "../file_calls.ts";
import { recordFile, storesIn } from "../stores.ts";
import { inTempDir } from "../temp_dir.ts";

const BOOT = { boot: () => Promise.resolve("b1") };

function sandbox(id: string): SandboxRecord {
  return {
    ...{ id, name: id, namespace: "default", uid: id, phase: "ready", createdAt: "2026-01-02", bootId: "b1" },
    ...{ netns: { path: `/run/netns/${id}`, owned: true, id: "4:1" }, pid: undefined, infra: undefined },
    annotations: {},
  };
}

async function fill(dir: string, ids: readonly string[]): Promise<void> {
  const { sandboxes, store } = storesIn(dir, BOOT);
  const past = new Date(Date.now() - 10_000);
  for (const id of ids) {
    const record = attachmentRecord({ containerId: id, state: "attached", bootId: "b1" });
    const intention = await store.intend([record]);
    const begun = await sandboxes.begin({ ...sandbox(id), phase: "creating" }, intention);
    await begun.onDisk;
    await store.write({ ...record, state: "adding" });
    await store.write(record);
    await sandboxes.write(sandbox(id));
    await Deno.utime(recordFile(dir, id), past, past);
  }
  await Deno.utime(`${dir}/records`, past, past);
}

/** From then on digests are made in the same turn. */
async function makeManyDigests(): Promise<void> {
  for (let made = 0; made < 100; made++) await sha256("");
}

Deno.test("a list inspects each file of records once and reads it once, and the next one reads none and lists no folder", () =>
  inTempDir(async (dir) => {
    await makeManyDigests();
    await fill(dir, ["c1", "c2", "c3"]);
    const { sandboxes, store } = storesIn(dir, BOOT);
    const list = async () => {
      const { records } = await sandboxes.scan();
      for (const record of records) {
        assertEquals(store.scanNow(record.id, sandboxes.logOf(record))?.records.length, 1);
      }
      return records.length;
    };
    await sandboxes.ids();
    using calls = new FileCalls();
    // The folder, and the three files.
    for (const readTextFile of [3, 0]) {
      assertEquals(await list(), 3);
      const { stat = 0, readTextFile: read = 0, readDir = 0, open = 0 } = calls.take();
      // The C library, once it is open, is asked for facts instead.
      const isAsked = factsLibrary() !== undefined;
      assertEquals({ stat, readTextFile: read, readDir, open }, {
        stat: isAsked ? 0 : 4,
        readTextFile,
        readDir: 0,
        open: 0,
      });
    }
    await fill(dir, ["c4"]);
    assertEquals(await list(), 4);
    await Deno.remove(recordFile(dir, "c1"));
    assertEquals(await list(), 3);
  }));

Deno.test("whatever byte of a file of records is damaged, and wherever it is cut, a list finds what a look at the container finds", () =>
  inTempDir(async (dir) => {
    await makeManyDigests();
    await fill(dir, ["c1"]);
    const file = recordFile(dir, "c1");
    const whole = await Deno.readFile(file);
    const check = async (bytes: Uint8Array, what: string) => {
      await Deno.writeFile(file, bytes);
      const [all, one] = [storesIn(dir, BOOT), storesIn(dir, BOOT)];
      const { records, damaged } = await all.sandboxes.scan();
      const found = await one.sandboxes.readAny("c1");
      assertEquals([...records, ...damaged], found === undefined ? [] : [found], what);
      assertEquals(await all.store.scanAll(), await one.store.scan("c1"), what);
    };
    await check(whole, "whole");
    for (let at = 0; at < whole.length; at += at < HEAD_LENGTH ? 1 : 7) {
      for (const bit of [0, 3, 6]) {
        const bytes = whole.slice();
        bytes[at] = (bytes[at] ?? 0) ^ 1 << bit;
        await check(bytes, `bit ${bit} of byte ${at}`);
      }
      await check(whole.subarray(0, at), `cut at ${at}`);
    }
  }));
