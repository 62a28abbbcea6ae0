// Rules of iptables as text and as steps of the kernel.
import { assertEquals, assertThrows } from "@std/assert";
import { Inexpressible } from "../../lib/iptables/inexpressible.ts";
import { readSteps } from "../../lib/iptables/read_steps.ts";
import { formatRule } from "../../lib/iptables/rule_text.ts";
import { readRule, wordsOf } from "../../lib/iptables/rule_words.ts";
import type { Family, Rule, RuleForm } from "../../lib/iptables/rule.ts";
import { writeSteps } from "../../lib/iptables/write_steps.ts";
import { NetlinkReader } from "../../lib/kernel/netlink_reader.ts";
import { NetlinkWriter } from "../../lib/kernel/netlink_writer.ts";
import { type NftExpression, readNftExpressions } from "../../lib/kernel/nft_table.ts";
import { property } from "../cni/random.ts";
import { randomRule } from "./random_rules.ts";

const TARGETS = { chains: ["CNI-A", "KUBE_B"], translates: true, masquerades: true, drops: true };
const CASES = 3_000;

function stepsOf(rule: Rule, family: Family, form: RuleForm): readonly NftExpression[] {
  const writer = new NetlinkWriter(0, 0);
  writeSteps(writer, rule, family, form);
  const { bytes } = writer.end();
  const reader = new NetlinkReader(bytes);
  return [...reader.messages()].flatMap(({ start, end }) => readNftExpressions(reader, start, end));
}

for (const family of [4, 6] as const) {
  property(`a rule of IPv${family} is read from its text, and from its steps, as it was`, (random) => {
    const rule = randomRule(random, family, TARGETS);
    const text = formatRule(rule);
    assertEquals(readRule(wordsOf(text), family), rule, text);
    for (const form of ["1.8.9", "1.8.10"] as const) {
      assertEquals(readSteps(stepsOf(rule, family, form), family), rule, `${text}: ${form}`);
    }
  }, CASES);
}

Deno.test("what the plugins write is read as iptables prints it", () => {
  const lines = {
    "-s 10.1.2.3/24": " -s 10.1.2.0/24",
    "-s 10.1.2.3 -j ACCEPT": " -s 10.1.2.3/32 -j ACCEPT",
    '! -d 224.0.0.0/4 -m comment --comment "name: \\"a\\" id: \\"b\\"" -j MASQUERADE':
      ' ! -d 224.0.0.0/4 -m comment --comment "name: \\"a\\" id: \\"b\\"" -j MASQUERADE',
    "-p tcp --dport 80 -s 127.0.0.1/32 -j MARKED": " -s 127.0.0.1/32 -p tcp -m tcp --dport 80 -j MARKED",
    "-p udp --dport 80:90 -j DNAT --to-destination 10.1.2.3:90-100/80":
      " -p udp -m udp --dport 80:90 -j DNAT --to-destination 10.1.2.3:90-100/80",
    "-m comment --comment x -m multiport -p sctp --destination-ports 80,81:90 -i eth0 -j DN":
      " -i eth0 -p sctp -m comment --comment x -m multiport --dports 80,81:90 -j DN",
    "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT":
      " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-m mark --mark 0x2000/0x2000 -j MASQUERADE": " -m mark --mark 0x2000/0x2000 -j MASQUERADE",
    "-i br0 ! -o br0 -j STAGE": " -i br0 ! -o br0 -j STAGE",
  };
  for (const [line, printed] of Object.entries(lines)) {
    assertEquals(formatRule(readRule(wordsOf(line), 4)), printed);
  }
});

Deno.test("what is not known is left to iptables, and nothing of it is left out", () => {
  const lines = [
    "-s example.com -j ACCEPT",
    "-s 10.0.0.0/255.0.0.0 -j ACCEPT",
    "-s 0.0.0.0/0 -j ACCEPT",
    "-s fd00::1 -j ACCEPT",
    "-s 10.0.0.1 -s 10.0.0.2 -j ACCEPT",
    "-s 10.0.0.1,10.0.0.2 -j ACCEPT",
    "-i sixteen-letters- -j ACCEPT",
    '-i "a b" -j ACCEPT',
    "-p icmp -j ACCEPT",
    "-p 6 -j ACCEPT",
    "--dport 80 -j ACCEPT",
    "! -p tcp --dport 80 -j ACCEPT",
    "-p tcp --dport 080 -j ACCEPT",
    "-p tcp --dport 90:80 -j ACCEPT",
    "-p tcp --dport 65536 -j ACCEPT",
    "-p tcp --dport http -j ACCEPT",
    "-p tcp -m udp --dport 80 -j ACCEPT",
    "-p tcp --dport 80 --sport 81 -j ACCEPT",
    "-m multiport --dports 80 -p tcp -j ACCEPT",
    "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 -j ACCEPT",
    "-p tcp -m multiport --dports 80:80 -j ACCEPT",
    "-m set --match-set s src -j ACCEPT",
    "-m comment -j ACCEPT",
    "-m comment --comment a --comment b -j ACCEPT",
    `-m comment --comment ${"a".repeat(256)} -j ACCEPT`,
    "-m comment --comment \u00e4 -j ACCEPT",
    "-m addrtype --dst-type BROADCAST -j ACCEPT",
    "-m addrtype --src-type LOCAL -j ACCEPT",
    "-m conntrack --ctstate NEW,OLD -j ACCEPT",
    "-m conntrack --ctproto tcp -j ACCEPT",
    "-m state --state DNAT -j ACCEPT",
    "-m mark --mark 16 -j ACCEPT",
    "-j DNAT",
    "-j DNAT --to-destination 10.0.0.1-10.0.0.2",
    "-p tcp -j DNAT --to-destination 10.0.0.1:80 --random",
    "-j MARK --set-mark 1",
    "-j ACCEPT -j DROP",
    "-g CHAIN",
    "-j",
    "--unknown",
    '-m comment --comment "a',
    "-m comment --comment a\\b -j ACCEPT",
    "-m comment --comment 'a b' -j ACCEPT",
  ];
  for (const line of lines) {
    assertThrows(() => readRule(wordsOf(line), 4), Inexpressible, undefined, line);
  }
});

const step = (name: string, attributes: Record<number, readonly number[]> = {}): NftExpression => ({
  name,
  attributes: new Map(
    Object.entries(attributes).map(([type, bytes]) => [Number(type), Uint8Array.from(bytes)]),
  ),
});

Deno.test("steps that iptables does not write are refused, and those that it may write have parts that are unknown", () => {
  const accept = stepsOf({ matches: [], target: { kind: "verdict", verdict: "ACCEPT" } }, 4, "1.8.9");
  for (const name of ["ct", "fib", "lookup", "masq", "nat", "socket"]) {
    assertThrows(() => readSteps([step(name), ...accept], 4), Inexpressible);
  }
  assertThrows(() => readSteps([...accept, ...accept], 4), Inexpressible);
  assertThrows(() => readSteps([step("cmp", { 1: [0, 0, 0, 1] }), ...accept], 4), Inexpressible);
  const byRevision = (revision: number) =>
    step("match", {
      1: [...new TextEncoder().encode("comment\0")],
      2: [0, 0, 0, revision],
      3: Array(256).fill(0),
    });
  for (const unknown of [step("limit", { 1: [1] }), step("log"), byRevision(1)]) {
    const { matches } = readSteps([unknown, ...accept], 4);
    assertEquals(matches.map(({ kind }) => kind), ["unknown"]);
  }
});
