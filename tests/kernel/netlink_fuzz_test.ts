// Answers that were changed by chance. PODWIRE_FUZZ_ANSWERS says how many, PODWIRE_FUZZ_SEED with which the first one is made.
import { assert, assertEquals } from "@std/assert";
import { parseCidr, parseIp } from "../../lib/cni/address.ts";
import { readAddress } from "../../lib/kernel/address_answer.ts";
import { readLink } from "../../lib/kernel/link_answer.ts";
import { NetlinkFormatError } from "../../lib/kernel/netlink_reader.ts";
import { NetlinkError, NetlinkReply } from "../../lib/kernel/netlink_reply.ts";
import { type Random, randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { readRoute } from "../../lib/kernel/route_answer.ts";
import { readRule } from "../../lib/kernel/rule_answer.ts";
import { readVlans } from "../../lib/kernel/vlan_calls.ts";
import { acknowledgement, address, end, joined, link, route, rule, vlans } from "./netlink_answers.ts";

const ANSWERS = Number(Deno.env.get("PODWIRE_FUZZ_ANSWERS") ?? 20_000);
const SEQUENCE = 0x01020304;
/** Around each answer, so that a read beyond it is seen. */
const CANARY = "CANARYCANARY";
const MARGIN = new TextEncoder().encode(CANARY);

const ORIGINALS: readonly Uint8Array[] = [
  joined(link(SEQUENCE, "eth0"), link(SEQUENCE, "veth12345678"), end(SEQUENCE)),
  joined(address(SEQUENCE), link(SEQUENCE, "a"), address(SEQUENCE), end(SEQUENCE)),
  joined(route(SEQUENCE), address(SEQUENCE), route(SEQUENCE), end(SEQUENCE)),
  joined(vlans(SEQUENCE), vlans(SEQUENCE), end(SEQUENCE)),
  joined(rule(SEQUENCE), route(SEQUENCE), rule(SEQUENCE), end(SEQUENCE)),
  acknowledgement(SEQUENCE, 0),
  acknowledgement(SEQUENCE, -22, { text: "Invalid prefix for given prefix length" }),
  acknowledgement(SEQUENCE, -17, { text: "exists", capped: true }),
  joined(end(SEQUENCE, 0x210, -19)),
];
/** Where lengths and types have their limits. */
const NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff];

function mutated(random: Random): Uint8Array {
  let bytes = Uint8Array.from(random.one(ORIGINALS));
  for (let changes = 1 + random.below(4); changes > 0 && bytes.length > 4; changes--) {
    const view = new DataView(bytes.buffer);
    const at = random.below(bytes.length);
    const aligned = Math.min(at & ~1, bytes.length - 4);
    switch (random.below(6)) {
      case 0:
        view.setUint8(at, random.below(256));
        break;
      case 1:
        view.setUint16(aligned, random.one(NUMBERS), true);
        break;
      case 2:
        view.setUint32(
          aligned,
          random.one([...NUMBERS, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff]),
          true,
        );
        break;
      case 3:
        bytes = bytes.slice(0, at);
        break;
      case 4: {
        const other = random.one(ORIGINALS);
        bytes.set(other.subarray(0, Math.min(other.length, bytes.length - at)), at);
        break;
      }
      default:
        bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at & ~3)]);
    }
  }
  return bytes;
}

/** Reads an answer as each of the kinds; returns whether it could be read. */
function exercise(bytes: Uint8Array): boolean {
  const memory = new Uint8Array(bytes.length + 2 * MARGIN.length);
  memory.set(MARGIN);
  memory.set(bytes, MARGIN.length);
  memory.set(MARGIN, MARGIN.length + bytes.length);
  const answer = memory.subarray(MARGIN.length, MARGIN.length + bytes.length);
  const seen: unknown[] = [];
  try {
    for (const kind of ["acknowledgement", "message", "done"] as const) {
      new NetlinkReply(SEQUENCE, kind, (message, reader) => {
        seen.push(readLink(message, reader), readAddress(message, reader), readVlans(message, reader));
        // Large numbers are no JSON.
        seen.push(Deno.inspect([readRoute(message, reader), readRule(message, reader)], { depth: 9 }));
      }).read(answer);
    }
    return true;
  } catch (error) {
    if (!(error instanceof NetlinkError || error instanceof NetlinkFormatError)) throw error;
    seen.push(error.message);
    return false;
  } finally {
    assert(!JSON.stringify(seen).includes("CANARY"), `read beyond the end: ${JSON.stringify(seen)}`);
  }
}

Deno.test(`each of ${ANSWERS} answers that were changed by chance gives values or a clear error`, () => {
  const seed = seedFromEnvironment() ?? Date.now() % 1_000_000_000;
  let read = 0;
  for (let at = 0; at < ANSWERS; at++) {
    const bytes = mutated(randomOf(seed + at));
    try {
      if (exercise(bytes)) read++;
    } catch (cause) {
      throw new Error(`${SEED_VARIABLE}=${seed + at}: ${[...bytes]}`, { cause });
    }
  }
  // A run in which everything is refused, or nothing, would prove little.
  assert(read > ANSWERS / 10 && ANSWERS - read > ANSWERS / 10, `${read} of ${ANSWERS} were read`);
});

Deno.test("the VLANs of a port are read as ranges", () => {
  const ports: unknown[] = [];
  const reply = new NetlinkReply(SEQUENCE, "done", (message, reader) => {
    ports.push(readVlans(message, reader));
  });
  assertEquals(reply.read(joined(vlans(SEQUENCE), end(SEQUENCE))), true);
  const ranges = [
    { first: 5, last: 5, isNative: true, isUntagged: true },
    { first: 100, last: 200, isNative: false, isUntagged: false },
  ];
  assertEquals(ports, [{ index: 7, name: "veth0", vlans: ranges }]);
});

Deno.test("the answers before they are changed are read", () => {
  const links: unknown[] = [];
  const reply = new NetlinkReply(SEQUENCE, "done", (message, reader) => {
    links.push(
      readLink(message, reader) ?? readAddress(message, reader) ?? readRoute(message, reader) ??
        readRule(message, reader),
    );
  });
  const messages = [link(SEQUENCE, "eth0"), address(SEQUENCE), route(SEQUENCE), rule(SEQUENCE)];
  const answer = joined(...messages, end(SEQUENCE));
  assertEquals(reply.read(answer), true);
  assertEquals(links, [
    {
      name: "eth0",
      altNames: ["other", "third"],
      index: 7,
      peerIndex: 9,
      parentIndex: 0,
      mac: "02:00:00:00:00:0a",
      masterIndex: 3,
      port: undefined,
      kind: "veth",
      mode: "",
      vlanId: undefined,
      vrfTable: undefined,
      filtersVlans: false,
      type: "ether",
      mtu: 1400,
      isUp: true,
      isPromiscuous: true,
      isAllMulticast: false,
      txQueueLength: 1000,
      operState: "UP",
      alias: "an alias",
    },
    { index: 7, address: "10.1.2.3/24", scope: "global" },
    {
      family: 4,
      dst: parseCidr("10.2.0.0/16"),
      isUnicast: true,
      isAdvertised: false,
      isMain: false,
      table: 1000,
      metric: 7,
      protocol: 3,
      scope: 0,
      source: parseIp("10.1.0.3"),
      mtu: 1400,
      advmss: 1300,
      hops: [
        { index: 7, gateway: parseIp("10.1.0.9"), weight: 3 },
        { index: 8, gateway: parseIp("fd00::9"), weight: 1 },
      ],
    },
    { family: 4, priority: 77, source: parseCidr("10.1.0.0/24"), table: 1000, isBySource: true },
  ]);
});
