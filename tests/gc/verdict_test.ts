import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import {
  attachmentsNamed,
  attachmentVerdict,
  type GcFacts,
  validateSelection,
  validAttachmentsOf,
} from "../../lib/gc/verdict.ts";
import type { AttachmentRecord } from "../../lib/state/attachment_store.ts";
import { attachmentRecord } from "../attachment_record.ts";

const FACTS: GcFacts = { boot: "b1", hasSandbox: false, disableGC: false };

function recordOf(changes: Partial<AttachmentRecord>): AttachmentRecord {
  return attachmentRecord({ netnsId: "4:1", config: "{}", ...changes });
}

Deno.test("D55 whether an attachment is stale depends on its owner, on the selection, and on what was interrupted", () => {
  const here = { containerId: "c1", ifName: "eth0" };
  const other = { containerId: "c1", ifName: "eth1" };
  const cli = { owner: "cli" };
  const cases: readonly [Partial<AttachmentRecord>, Partial<GcFacts>, boolean, string][] = [
    [{}, { hasSandbox: true }, false, "its sandbox is there"],
    [{}, { hasSandbox: true, all: true }, false, "its sandbox is there"],
    [{}, { hasSandbox: true, valid: [other] }, false, "its sandbox is there"],
    [{}, {}, true, "its sandbox is gone"],
    [{}, { valid: [here] }, false, "it was named as valid"],
    [{}, { disableGC: true }, false, "its network says disableGC"],
    [cli, {}, false, 'it was made by hand (owner "cli"), which only its maker can judge'],
    [cli, { hasSandbox: true }, false, 'it was made by hand (owner "cli"), which only its maker can judge'],
    [cli, { valid: [here] }, false, "it was named as valid"],
    [cli, { valid: [other] }, true, "it was made by hand, and not named as valid"],
    [cli, { valid: [] }, true, "it was made by hand, and not named as valid"],
    [cli, { all: true }, true, "it was made by hand, and all such were to be removed"],
    [{ ...cli, state: "adding" }, {}, true, "its ADD was interrupted"],
    [{ state: "deleting" }, { hasSandbox: true }, true, "its DEL was interrupted"],
    [{ state: "failed" }, { hasSandbox: true }, true, "its DEL had failed"],
    [{ ...cli, state: "failed" }, { valid: [here] }, false, "it was named as valid"],
    [{ bootId: "b0" }, { hasSandbox: true }, true, "the machine was restarted"],
    [{ ...cli, bootId: "b0" }, { disableGC: true }, false, "its network says disableGC"],
  ];
  for (const [record, facts, stale, why] of cases) {
    const { undecided, ...verdict } = attachmentVerdict(recordOf(record), { ...FACTS, ...facts });
    assertEquals(verdict, { stale, why });
    assertEquals(undecided, why.includes("only its maker") ? true : undefined);
  }
});

Deno.test("a selection that contradicts itself or has an invalid name is refused", () => {
  const valid = (containerId: string, ifName: string) => ({ valid: [{ containerId, ifName }] });
  for (
    const selection of [
      { valid: [], all: true },
      valid("../x", "eth0"),
      valid("c1", "a/b"),
      valid("", "eth0"),
    ]
  ) {
    assertEquals((assertThrows(() => validateSelection(selection), CniError) as CniError).kind, "usage");
  }
  validateSelection({});
  validateSelection({ all: true });
  validateSelection({ ...valid("c1", "eth0"), all: false });
});

Deno.test("the plugins get each attachment once", () => {
  const [a, b] = [{ containerId: "c1", ifName: "eth0" }, { containerId: "c1", ifName: "eth1" }];
  assertEquals(validAttachmentsOf([a, b, { ...a }]), [
    { containerID: "c1", ifname: "eth0" },
    { containerID: "c1", ifname: "eth1" },
  ]);
});

Deno.test("E4 a file name of the cache stands for every attachment that it can be parsed as", () => {
  const named = (name: string, network = "web") =>
    attachmentsNamed(name, network).map(({ containerId, ifName }) => `${containerId} ${ifName}`);
  assertEquals(named("web-c1-eth0"), ["c1 eth0"]);
  assertEquals(named("web-c-1-eth-0"), ["c 1-eth-0", "c-1 eth-0", "c-1-eth 0"]);
  assertEquals(named("web-2-c1-eth0"), ["2 c1-eth0", "2-c1 eth0"]);
  assertEquals(named("web-2-c1-eth0", "web-2"), ["c1 eth0"]);
  // The interface name is too long; the container ID is empty.
  assertEquals(named("web-c1-a123456789012345"), []);
  assertEquals(named("web--c1-eth0"), []);
  for (const name of ["webc1-eth0", "web-c1", "web-", "other-c1-eth0"]) assertEquals(named(name), []);
});
