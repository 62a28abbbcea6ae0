import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { intendedLine } from "../../lib/state/attachment_lines.ts";
import type { AttachmentRecord, AttachmentStore } from "../../lib/state/attachment_store.ts";
import type { BadRecord } from "../../lib/state/checksummed.ts";
import { parseChecksummed, printChecksummed } from "../../lib/state/checksummed.ts";
import { parseLog } from "../../lib/state/record_log.ts";
import { Random } from "../cni/random.ts";
import { FileCalls } from "../file_calls.ts";
import { putRecord, recordFile, recordText, storesIn, writeLines } from "../stores.ts";
import { attachmentRecord } from "../attachment_record.ts";

async function inStore(
  fn: (store: AttachmentStore, fileOf: (containerId: string) => string, bad: BadRecord[]) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "podwire-record-" });
  const bad: BadRecord[] = [];
  try {
    const options = {
      boot: () => Promise.resolve("b1"),
      onBad: (record: BadRecord) => void bad.push(record),
    };
    await fn(storesIn(root, options).store, (id) => recordFile(root, id), bad);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const RECORD = attachmentRecord({
  netnsId: "4:4026531840",
  cniArgs: [["A", "1"], ["B", "2"]],
  capabilityArgs: { mac: "02:00:00:00:00:01" },
  result: { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] },
});

Deno.test("the records of a container are one file, readable only by its owner, with kind and checksum", () =>
  inStore(async (store, fileOf) => {
    await store.write(RECORD);
    const path = fileOf("c1");
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    const json = JSON.parse(await recordText(path, RECORD) ?? "");
    assertEquals({ kind: json.kind, state: json.state, checksumLength: json.checksum.length }, {
      kind: "podwire.attachment.v1",
      state: "attached",
      checksumLength: 64,
    });
    assertEquals(await store.read(RECORD), RECORD);
  }));

Deno.test("the attachments of a container are listed in the order in which they were made", () =>
  inStore(async (store) => {
    for (const [ifName, sequence] of [["eth1", 2], ["net0", 3], ["eth0", 1]] as const) {
      await store.write({ ...RECORD, ifName, sequence });
    }
    await store.write({ ...RECORD, containerId: "c0" });
    const names = (records: readonly AttachmentRecord[]) => records.map(({ ifName }) => ifName);
    assertEquals(names(await store.ofContainer("c1")), ["eth0", "eth1", "net0"]);
    assertEquals(await store.ofContainer("unknown"), []);
    assertEquals((await store.all()).length, 4);
    assertEquals(await store.containers(), ["c0", "c1"]);
  }));

Deno.test("E4 names that are ambiguous in libcni's cache are not ambiguous here", () =>
  inStore(async (store) => {
    await store.write({ ...RECORD, network: "a-b", containerId: "c" });
    await store.write({ ...RECORD, network: "a", containerId: "b-c" });
    await store.write({ ...RECORD, ifName: "x@y", network: "z" });
    assertEquals((await store.all()).length, 3);
    assertEquals((await store.read({ containerId: "c1", ifName: "x@y", network: "z" }))?.network, "z");
  }));

Deno.test("E36 reading one container reads only its own file, however many containers exist", () =>
  inStore(async (store, fileOf, bad) => {
    await store.write(RECORD);
    for (let n = 0; n < 20; n++) {
      await store.write({ ...RECORD, containerId: `other-${n}` });
      await putRecord(fileOf(`other-${n}`), RECORD, "damaged");
    }
    assertEquals((await store.ofContainer("c1")).length, 1);
    assertEquals((await store.read(RECORD))?.network, "web");
    assertEquals(bad, [], "the damaged ones were not looked at");
    assertEquals((await store.all()).length, 1);
    assertEquals(bad.length, 20);
  }));

Deno.test("hasNetwork() reads one file as long as the attachment found last exists", () =>
  inStore(async (store, fileOf) => {
    assertEquals(await store.hasNetwork("web"), false);
    for (let n = 0; n < 40; n++) await store.write({ ...RECORD, containerId: `c${n}` });
    await store.write({ ...RECORD, containerId: "late", network: "other" });
    await Deno.writeTextFile(`${fileOf("c1")}.README`, "");
    for (const network of ["web", "other"]) assertEquals(await store.hasNetwork(network), true);
    assertEquals(await store.hasNetwork("eb"), false);
    {
      using calls = new FileCalls();
      for (const network of ["web", "other"]) assertEquals(await store.hasNetwork(network), true);
      // Facts that the C library gives are not counted.
      const { readTextFile = 0, stat = 0, ...others } = calls.take();
      assertEquals({ isLittle: readTextFile <= 2 && stat <= 2, others }, { isLittle: true, others: {} });
    }
    await store.remove({ ...RECORD, containerId: "late", network: "other" });
    assertEquals(await store.hasNetwork("other"), false);
    // Whichever of them was found last.
    for (let n = 0; n < 39; n++) {
      await store.remove({ ...RECORD, containerId: `c${n}` });
      assertEquals(await store.hasNetwork("web"), true);
    }
    await store.remove({ ...RECORD, containerId: "c39" });
    assertEquals(await store.hasNetwork("web"), false);
  }));

Deno.test("a foreign file between the files of the containers is ignored", () =>
  inStore(async (store, fileOf) => {
    await store.write(RECORD);
    await Deno.writeTextFile(`${fileOf("c1")}.README`, "");
    assertEquals({ containers: await store.containers(), allCount: (await store.all()).length }, {
      containers: ["c1"],
      allCount: 1,
    });
  }));

Deno.test("the last record of a container takes its file with it, and removing twice is allowed", () =>
  inStore(async (store) => {
    await store.write(RECORD);
    await store.write({ ...RECORD, ifName: "eth1" });
    await store.remove(RECORD);
    assertEquals(await store.containers(), ["c1"]);
    await store.remove({ ...RECORD, ifName: "eth1" });
    await store.remove({ ...RECORD, ifName: "eth1" });
    assertEquals(await store.containers(), []);
  }));

Deno.test("a removal that a loss of power cut off is written again, and takes no other record with it", () =>
  inStore(async (store, fileOf) => {
    const other = { ...RECORD, ifName: "net1", bootId: "b0" };
    const lost = { ...RECORD, bootId: "b0" };
    await store.write(other);
    await store.write(lost);
    await store.remove(lost);
    const file = fileOf("c1");
    const whole = await Deno.readFile(file);
    const names = async () => (await store.ofContainer("c1")).map(({ ifName }) => ifName).sort();
    for (const zeros of [2, 40, 90]) {
      await Deno.writeFile(file, whole.slice().fill(0, whole.length - zeros));
      assertEquals(await names(), ["eth0", "net1"]);
      await store.remove(other);
      assertEquals(await names(), ["eth0"]);
      await store.remove(lost);
      assertEquals(await names(), []);
    }
  }));

Deno.test("an attachment of which a loss of power left only the intention is removed for good", () =>
  inStore(async (store, fileOf) => {
    await store.write({ ...RECORD, ifName: "net1" });
    const { lines } = parseLog(await Deno.readFile(fileOf("c1")));
    await writeLines(fileOf("c1"), [await intendedLine({ ...RECORD, bootId: "b0" }), ...lines]);
    assertEquals((await store.ofContainer("c1")).map(({ ifName }) => ifName).sort(), ["eth0", "net1"]);
    for (let time = 1; time <= 2; time++) {
      await store.remove(RECORD);
      assertEquals((await store.ofContainer("c1")).map(({ ifName }) => ifName), ["net1"]);
      assertEquals(parseLog(await Deno.readFile(fileOf("c1"))).lines.length, 3, "it is written once");
    }
  }));

Deno.test("a changed record is reported and left in place; one that is intact but not understood is of a newer version", () =>
  inStore(async (store, fileOf, bad) => {
    await store.write(RECORD);
    await store.write({ ...RECORD, ifName: "eth1" });
    const path = fileOf("c1");
    const whole = await recordText(path, RECORD) ?? "";
    const damaged = [
      ["", "JSON", false],
      [whole.slice(0, 100), "JSON", false],
      [whole.replace('"sequence":1', '"sequence":2'), "its checksum does not match", false],
      [
        await printChecksummed("podwire.sandbox.v1", { id: "c1" }),
        "its kind is not podwire.attachment.v1",
        false,
      ],
      ["[]", "it is not a JSON object", false],
      [await resealed(whole, { containerId: "other" }), "it is of another attachment", false],
      [
        await printChecksummed("podwire.attachment.v9", { x: 1 }),
        "its kind is not podwire.attachment.v1 but",
        true,
      ],
      [
        await printChecksummed("podwire.attachment.v1", { containerId: "c1" }),
        "network is missing",
        true,
      ],
      [
        await resealed(whole, { state: "odd" }),
        'state must be one of adding, attached, deleting, failed, not "odd"',
        true,
      ],
      [await resealed(whole, { cniArgs: [["A"]] }), "cniArgs[0] must be a key and a value", true],
    ] as const;
    for (const [text, reason, isNewer] of damaged) {
      await putRecord(path, RECORD, text);
      const content = await Deno.readTextFile(path);
      const { records, damaged: [found] } = await store.scan("c1");
      assertEquals(records.map(({ ifName }) => ifName), ["eth1"]);
      assertEquals({ file: found?.file, isNewer: found?.isNewer }, { file: path, isNewer });
      assertEquals({ ...bad.at(-1) }, { file: path, reason: found?.reason });
      if (reason !== "JSON") assertStringIncludes(found?.reason ?? "", reason);
      assertEquals(await Deno.readTextFile(path), content);
      if (!isNewer) {
        assertEquals(await store.read(RECORD), undefined);
        await store.requireUnderstood("c1");
        await store.requireReplaceable(RECORD);
        continue;
      }
      for (const act of ["read", "requireReplaceable"] as const) {
        const error = await assertRejects(() => store[act](RECORD), CniError);
        assertEquals({ kind: error.kind, file: error.context.file }, { kind: "conflict", file: path });
      }
      await assertRejects(() => store.requireUnderstood("c1"), CniError, "is of a newer version of podwire");
    }
    await store.write(RECORD);
    assertEquals((await store.ofContainer("c1")).length, 2);
  }));

Deno.test("members of a newer version are kept when a record is written again, at every level", () =>
  inStore(async (store, fileOf) => {
    const path = fileOf("c1");
    await store.write({ ...RECORD, error: { code: 1, later: 2 } });
    const whole = await recordText(path, RECORD) ?? "";
    await putRecord(path, RECORD, await resealed(whole, { later: { deep: [{ x: 1 }] } }));
    const read = await store.read(RECORD);
    await store.write({ ...read!, state: "deleting" });
    const again = await parseChecksummed("podwire.attachment.v1", await recordText(path, RECORD) ?? "");
    assertEquals({ later: again.later, error: again.error, result: again.result, state: again.state }, {
      later: { deep: [{ x: 1 }] },
      error: { code: 1, later: 2 },
      result: RECORD.result ?? null,
      state: "deleting",
    });
  }));

async function resealed(whole: string, changes: JsonObject): Promise<string> {
  const body = await parseChecksummed("podwire.attachment.v1", whole);
  return await printChecksummed("podwire.attachment.v1", { ...body, ...changes });
}

Deno.test("numbers in a record are kept unchanged, and the checksum still matches", () =>
  inStore(async (store) => {
    const result = parseJson('{"cniVersion": "1.1.0", "x": 9007199254740993, "y": 1.0}') as JsonObject;
    await store.write({ ...RECORD, result });
    assertEquals(JSON.stringify((await store.read(RECORD))?.result), JSON.stringify(result));
  }));

Deno.test("property: any change of one character of a record is detected", () =>
  inStore(async (store, fileOf, bad) => {
    const random = new Random(5);
    await store.write(RECORD);
    const path = fileOf("c1");
    const whole = await recordText(path, RECORD) ?? "";
    for (let round = 0; round < 60; round++) {
      const at = random.below(whole.length);
      const other = whole[at] === "7" ? "8" : "7";
      const text = whole.slice(0, at) + other + whole.slice(at + 1);
      await putRecord(path, RECORD, text);
      // Only a changed kind can be recognised.
      const isKind = text.replace(/"kind":"[^"]*"/, '"kind":"podwire.attachment.v1"') === whole;
      assertEquals(await store.read(RECORD), isKind ? RECORD : undefined, text);
      assertEquals(bad.splice(0).length, isKind ? 0 : 1);
    }
  }));
