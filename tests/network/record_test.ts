import { assertEquals, assertStringIncludes } from "@std/assert";
import { type AttachmentRecord, AttachmentStore, type BadRecord } from "../../lib/network/record.ts";
import { seal, unseal } from "../../lib/network/sealed.ts";
import { type JsonObject, parseJson } from "../../lib/spec/json.ts";
import { FileCalls } from "../file_calls.ts";
import { Random } from "../spec/random.ts";

async function inStore(
  fn: (store: AttachmentStore, dir: string, bad: BadRecord[]) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "podwire-record-" });
  const bad: BadRecord[] = [];
  try {
    await fn(new AttachmentStore(root, (record) => bad.push(record)), `${root}/attachments`, bad);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const RECORD: AttachmentRecord = {
  containerId: "c1",
  network: "web",
  ifName: "eth0",
  state: "attached",
  netns: "/run/netns/c1",
  netnsId: "4:4026531840",
  owner: "sandbox:c1",
  since: "2026-01-02T03:04:05.678Z",
  bootId: "b1",
  sequence: 1,
  attempts: 0,
  nextTry: undefined,
  error: undefined,
  config: '{"name": "web"}',
  cniArgs: [["A", "1"], ["B", "2"]],
  capabilityArgs: { mac: "02:00:00:00:00:01" },
  result: { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] },
};

Deno.test("a record is one file in the container's own folder, for nobody else to read, with kind and checksum", () =>
  inStore(async (store, dir) => {
    await store.write(RECORD);
    const path = `${dir}/c1/eth0@web.json`;
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    const json = JSON.parse(await Deno.readTextFile(path));
    assertEquals([json.kind, json.state, json.checksum.length], ["podwire.attachment.v1", "attached", 64]);
    assertEquals(await store.read(RECORD), RECORD);
  }));

Deno.test("the attachments of a container come in the order in which they were made", () =>
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

Deno.test("E4 names that run together elsewhere stay apart here", () =>
  inStore(async (store) => {
    await store.write({ ...RECORD, network: "a-b", containerId: "c" });
    await store.write({ ...RECORD, network: "a", containerId: "b-c" });
    await store.write({ ...RECORD, ifName: "x@y", network: "z" });
    assertEquals((await store.all()).length, 3);
    assertEquals((await store.read({ containerId: "c1", ifName: "x@y", network: "z" }))?.network, "z");
  }));

Deno.test("E36 looking at one container reads its own folder alone, however many there are", () =>
  inStore(async (store, dir, bad) => {
    await store.write(RECORD);
    for (let n = 0; n < 20; n++) {
      await store.write({ ...RECORD, containerId: `other-${n}` });
      await Deno.writeTextFile(`${dir}/other-${n}/eth0@web.json`, "damaged");
    }
    assertEquals((await store.ofContainer("c1")).length, 1);
    assertEquals((await store.read(RECORD))?.network, "web");
    assertEquals(bad, [], "the damaged ones were not looked at");
    assertEquals((await store.all()).length, 1);
    assertEquals(bad.length, 20);
  }));

Deno.test("whether anything is attached to a network is known by one look, as long as what was found last is there", () =>
  inStore(async (store, dir) => {
    assertEquals(await store.hasNetwork("web"), false);
    for (let n = 0; n < 40; n++) await store.write({ ...RECORD, containerId: `c${n}` });
    await store.write({ ...RECORD, containerId: "late", network: "other" });
    await Deno.writeTextFile(`${dir}/README`, "");
    for (const network of ["web", "other"]) assertEquals(await store.hasNetwork(network), true);
    assertEquals(await store.hasNetwork("eb"), false);
    {
      using calls = new FileCalls();
      for (const network of ["web", "other"]) assertEquals(await store.hasNetwork(network), true);
      assertEquals(calls.take(), { stat: 2 });
    }
    await store.remove({ ...RECORD, containerId: "late", network: "other" });
    assertEquals(await store.hasNetwork("other"), false);
    // Whichever it was that was found.
    for (let n = 0; n < 39; n++) {
      await store.remove({ ...RECORD, containerId: `c${n}` });
      assertEquals(await store.hasNetwork("web"), true);
    }
    await store.remove({ ...RECORD, containerId: "c39" });
    assertEquals(await store.hasNetwork("web"), false);
  }));

Deno.test("a file that somebody left among the folders of the containers is none", () =>
  inStore(async (store, dir) => {
    await store.write(RECORD);
    await Deno.writeTextFile(`${dir}/README`, "");
    assertEquals([await store.containers(), (await store.all()).length], [["c1"], 1]);
  }));

Deno.test("with its last record a container is forgotten, and removing twice is fine", () =>
  inStore(async (store) => {
    await store.write(RECORD);
    await store.write({ ...RECORD, ifName: "eth1" });
    await store.remove(RECORD);
    assertEquals(await store.containers(), ["c1"]);
    await store.remove({ ...RECORD, ifName: "eth1" });
    await store.remove({ ...RECORD, ifName: "eth1" });
    assertEquals(await store.containers(), []);
  }));

Deno.test("a file that is not as it was written is moved aside and reported, and the others stay", () =>
  inStore(async (store, dir, bad) => {
    await store.write(RECORD);
    await store.write({ ...RECORD, ifName: "eth1" });
    const path = `${dir}/c1/eth0@web.json`;
    const whole = await Deno.readTextFile(path);
    const damaged = [
      ["", "JSON"],
      [whole.slice(0, 100), "JSON"],
      [whole.replace('"sequence":1', '"sequence":2'), "its checksum does not match"],
      [whole.replace("attachment.v1", "attachment.v9"), "its kind is not podwire.attachment.v1"],
      ["[]", "it is not a JSON object"],
      [await seal("podwire.attachment.v1", { containerId: "c1" }), 'its "network" is not a string'],
      [await resealed(whole, { state: "odd" }), 'its "state" is unknown: "odd"'],
      [await resealed(whole, { cniArgs: [["A"]] }), '"cniArgs"'],
      [await resealed(whole, { network: "other" }), "it is of another attachment"],
    ] as const;
    for (const [index, [text, reason]] of damaged.entries()) {
      await Deno.writeTextFile(path, text);
      assertEquals((await store.ofContainer("c1")).map(({ ifName }) => ifName), ["eth1"]);
      const found = bad[index];
      assertEquals([found?.file, found?.movedTo], [path, `${path}.bad-${index + 1}`]);
      if (reason !== "JSON") assertStringIncludes(found?.reason ?? "", reason);
      assertEquals(await Deno.readTextFile(found?.movedTo ?? ""), text);
    }
    assertEquals(bad.length, damaged.length);
    await store.write(RECORD);
    assertEquals((await store.ofContainer("c1")).length, 2);
  }));

async function resealed(whole: string, changes: JsonObject): Promise<string> {
  const body = await unseal("podwire.attachment.v1", whole);
  return await seal("podwire.attachment.v1", { ...body, ...changes });
}

Deno.test("numbers in a record pass through unchanged, and do not disturb its checksum", () =>
  inStore(async (store) => {
    const result = parseJson('{"cniVersion": "1.1.0", "x": 9007199254740993, "y": 1.0}') as JsonObject;
    await store.write({ ...RECORD, result });
    assertEquals(JSON.stringify((await store.read(RECORD))?.result), JSON.stringify(result));
  }));

Deno.test("property: any change of one character of a record is noticed", () =>
  inStore(async (store, dir, bad) => {
    const random = new Random(5);
    await store.write(RECORD);
    const path = `${dir}/c1/eth0@web.json`;
    const whole = (await Deno.readTextFile(path)).trimEnd();
    for (let round = 0; round < 60; round++) {
      const at = random.below(whole.length);
      const other = whole[at] === "7" ? "8" : "7";
      await Deno.writeTextFile(path, whole.slice(0, at) + other + whole.slice(at + 1));
      assertEquals(await store.read(RECORD), undefined);
      assertEquals(bad.length, round + 1);
      await Deno.remove(bad.at(-1)?.movedTo ?? "");
    }
  }));
