import { assert, assertEquals } from "@std/assert";
import { printChecksummed, printRemoval } from "../../lib/state/checksummed.ts";
import {
  compacted,
  HEAD_LENGTH,
  intendedKey,
  liveKeys,
  parseLineKey,
  parseLog,
  printHead,
  printLine,
  type RecordLine,
  SANDBOX_KEY,
  subjectsOf,
} from "../../lib/state/record_log.ts";
import { Random } from "../cni/random.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

function fileOf(lines: readonly RecordLine[], missing = 0): Uint8Array {
  const body = lines.map(printLine).join("");
  return bytesOf(`${printHead(HEAD_LENGTH + bytesOf(body).length + missing)}${body}`);
}

async function attachment(ifName: string, network: string, more = {}): Promise<RecordLine> {
  const text = await printChecksummed("podwire.attachment.v1", {
    containerId: "c",
    network,
    ifName,
    ...more,
  });
  return { key: `${ifName}@${network}`, text: text.trimEnd() };
}

async function sandbox(phase: string): Promise<RecordLine> {
  const text = await printChecksummed("podwire.sandbox.v1", { id: "c", phase, annotations: { ü: "}{" } });
  return { key: SANDBOX_KEY, text: text.trimEnd() };
}

Deno.test("lines are read as they were written", async () => {
  const lines = [await sandbox("creating"), await attachment("eth0", "web"), await sandbox("ready")];
  assertEquals(parseLog(fileOf(lines)), { lines, isCut: false, isNewer: false });
});

Deno.test("a file whose end is missing is known, wherever it was cut", async () => {
  const whole = fileOf([await sandbox("creating"), await attachment("eth0", "web"), await sandbox("ready")]);
  for (let end = 0; end < whole.length; end++) {
    const { isCut, lines } = parseLog(whole.subarray(0, end));
    // Without its last line feed alone, nothing is missing.
    assert(isCut || (end === whole.length - 1 && lines.length === 3), String(end));
  }
  assertEquals(parseLog(fileOf([], 1)).isCut, true);
});

Deno.test("what a killed process appended without the new length is read", async () => {
  const line = await attachment("eth0", "web");
  const file = fileOf([line]);
  const longer = new Uint8Array([...file, ...bytesOf(printLine(line)), ...bytesOf("eth0@we")]);
  const { lines, isCut } = parseLog(longer);
  assertEquals({ lines, isCut }, { lines: [line, line, { key: "", text: "eth0@we" }], isCut: false });
});

Deno.test("property: one wrong bit damages at most the two lines beside it, and no more", async () => {
  const lines = [await sandbox("creating"), await attachment("eth0", "web"), await sandbox("ready")];
  const whole = fileOf(lines);
  for (let bit = HEAD_LENGTH * 8; bit < whole.length * 8; bit++) {
    const bytes = whole.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    const found = parseLog(bytes);
    const texts = found.lines.map(({ text }) => text);
    assert(lines.filter(({ text }) => texts.includes(text)).length >= 2, `bit ${bit}`);
    assertEquals(found.isCut, false, `bit ${bit}`);
  }
});

Deno.test("one wrong bit in the first line does not look like a missing end", async () => {
  const whole = fileOf([await sandbox("ready")]);
  for (let bit = 0; bit < (HEAD_LENGTH - 1) * 8; bit++) {
    const bytes = whole.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    // A line feed there makes two lines of one.
    if (bytes[bit >> 3] === 10) continue;
    assertEquals(parseLog(bytes).isCut, false, `bit ${bit}`);
  }
});

Deno.test("a newer version is known by the first line", () => {
  const { isNewer, isCut } = parseLog(bytesOf("podwire.records.v3 {}\n"));
  assertEquals({ isNewer, isCut }, { isNewer: true, isCut: true });
  assertEquals(parseLog(bytesOf("podwire.records.v1 {}\n")).isNewer, false);
});

Deno.test("property: no bytes make the reading of a file throw", async () => {
  const random = new Random(3);
  const pieces = [
    "podwire.records.v2 ",
    "\n",
    "\0",
    "{",
    "}",
    '{"kind":"podwire.',
    "eth0@web ",
    "sandbox ",
    "ä",
    "0",
  ];
  for (let round = 0; round < 2_000; round++) {
    const text = Array.from({ length: random.below(12) }, () => random.one(pieces)).join("");
    const { lines } = parseLog(bytesOf(text));
    for (const line of lines) assert(subjectsOf(line).length > 0);
    await liveKeys(lines);
    compacted(lines);
  }
});

Deno.test("the key of an attachment is read from its end, whatever the interface is called", () => {
  assertEquals(parseLineKey("a@b@web"), { ifName: "a@b", network: "web" });
  for (const key of ["", "sandbox", "@web", "eth0@", intendedKey("eth0@web")]) {
    assertEquals(parseLineKey(key), undefined, key);
  }
});

Deno.test("what is removed or only intended does not live; what cannot be read does", async () => {
  const eth0 = await attachment("eth0", "web");
  const gone = { key: "eth0@web", text: (await printRemoval("eth0@web")).trimEnd() };
  const intended = { ...eth0, key: intendedKey("eth0@web") };
  assertEquals(await liveKeys([await sandbox("creating"), intended]), [SANDBOX_KEY]);
  assertEquals(await liveKeys([intended, eth0]), ["eth0@web"]);
  assertEquals(await liveKeys([eth0, gone]), []);
  assertEquals(await liveKeys([eth0, gone, eth0]), ["eth0@web"]);
  // The name of the network is wrong in one of the two places: either may be right.
  assertEquals((await liveKeys([{ ...eth0, key: "eth0@wxb" }])).toSorted(), ["eth0@web", "eth0@wxb"]);
  // A line that says nothing is about the sandbox.
  assertEquals(await liveKeys([{ key: "", text: "\0\0" }]), [SANDBOX_KEY]);
});

Deno.test("a file is made smaller by what two later lines replace", async () => {
  const states = await Promise.all([1, 2, 3, 4].map((n) => attachment("eth0", "web", { n })));
  const one = await sandbox("ready");
  assertEquals(compacted([one, ...states]), [one, states[2]!, states[3]!]);
});
