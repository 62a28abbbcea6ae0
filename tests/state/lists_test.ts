// What a list of all records reads, and that it finds the same as a look at each of them.
import { assertEquals, assertStrictEquals } from "@std/assert";
import { type JsonObject, parseJson, printJson } from "../../lib/cni/json.ts";
import { sha256 } from "../../lib/host/sha256.ts";
import { insidePaths } from "../../lib/inside/inside_paths.ts";
import { networksOf } from "../../lib/pod/pod_network.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { prepareView, type Sandbox } from "../../lib/sandbox/view.ts";
import { parseRecord, parseRecordNow, printRecord } from "../../lib/state/attachment_record.ts";
import type { FoundLog } from "../../lib/state/record_files.ts";
import { HEAD_LENGTH } from "../../lib/state/record_log.ts";
import { attachmentRecord } from "../attachment_record.ts";
import { FileCalls } from "../file_calls.ts";
import { HAS_LIBC } from "../open_libc.ts";
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
        const log = sandboxes.logOf(record);
        if (log === "changed") throw new Error("Cannot list: a file has changed");
        assertEquals(store.scanNow(record.id, log)?.records.length, 1);
      }
      return records.length;
    };
    await sandboxes.ids();
    using calls = new FileCalls();
    // The folder, and of the three files those that are known. Deno looks at a file before it opens it, the C library after.
    const looks = HAS_LIBC ? [1, 4] : [4, 4];
    for (const [round, reads] of [3, 0].entries()) {
      assertEquals(await list(), 3);
      const { stat = 0, readTextFile = 0, readDir = 0, open = 0 } = calls.take();
      assertEquals({ stat, readTextFile, readDir, open }, {
        stat: looks[round],
        readTextFile: reads,
        readDir: 0,
        open: 0,
      });
    }
    await fill(dir, ["c4"]);
    assertEquals(await list(), 4);
    await Deno.remove(recordFile(dir, "c1"));
    assertEquals(await list(), 3);
  }));

Deno.test("what is shown of a sandbox is made once, and its file is read again only for something else, if it did not change", () =>
  inTempDir(async (dir) => {
    await makeManyDigests();
    await fill(dir, ["c1", "c2"]);
    const { sandboxes, store } = storesIn(dir, BOOT);
    const networksNow = (id: string, log?: FoundLog) => networksOf(store.scanNow(id, log)?.records ?? []);
    const pods = { networks: () => Promise.resolve([]), networksNow };
    const inside = { paths: (id: string) => insidePaths(dir, id) };
    const views: (Sandbox | undefined)[] = [];
    const list = () =>
      sandboxes.scan(undefined, (record) => views.push(prepareView(record, { pods, sandboxes, inside })));
    using calls = new FileCalls();
    const { records: [record] } = await list();
    assertEquals(calls.take().readTextFile, 2);
    assertEquals((await list()).records[0], record);
    assertEquals(calls.take().readTextFile ?? 0, 0);
    const [first, , again] = views;
    assertStrictEquals(again, first);
    if (record === undefined) throw new Error("Cannot go on: nothing was read");
    const log = sandboxes.logOf(record);
    assertEquals(typeof log === "object" ? log.lines.length : log, 5);
    assertEquals(calls.take().readTextFile, 1);
    await sandboxes.write({ ...record, phase: "stopping" });
    assertEquals(sandboxes.logOf(record), "changed");
    await Deno.remove(recordFile(dir, "c1"));
    assertEquals(sandboxes.logOf(record), "changed");
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

Deno.test("a number in a record keeps its spelling, wherever it is and whatever is around it", async () => {
  await makeManyDigests();
  const spellings = [
    "0",
    "-0",
    "1",
    "-12",
    "0.5",
    "-0.5",
    "1.5",
    "1.50",
    "1.0",
    "0.0",
    "1e3",
    "1E-7",
    "0.0000001",
  ]
    .concat([
      "123456789012345",
      "1234567890123456",
      "9007199254740993",
      "12345678901.2345",
      "12345678901.23456",
    ])
    .concat(["1796034033.092", "0.1000", "-1.25e400", "0.30000000000000004", "100000000000000000000"]);
  for (const number of spellings) {
    const around = [
      number,
      `[${number}]`,
      `[1,${number},2]`,
      `{"a":${number}}`,
      `[[${number}],{"b":[${number}]}]`,
    ];
    for (const value of around) {
      const text = `{"cniVersion":"1.1.0","x":${value},"y":"z"}`;
      const result = parseJson(text) as JsonObject;
      const record = attachmentRecord({ containerId: "c1", state: "attached", bootId: "b1", result });
      const printed = await printRecord(record);
      const [now, later] = [parseRecordNow(printed), await parseRecord(printed)];
      assertEquals(printJson(later.result ?? null), text);
      assertEquals(now === undefined ? text : printJson(now.result ?? null), text, text);
    }
  }
});
