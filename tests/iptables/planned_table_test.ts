// What lines of iptables-restore make of a table, as changes of the kernel.
import { assertEquals, assertThrows } from "@std/assert";
import { Inexpressible } from "../../lib/iptables/inexpressible.ts";
import { PlannedTable } from "../../lib/iptables/planned_table.ts";
import { readSteps } from "../../lib/iptables/read_steps.ts";
import { type ListedRule, listTable, type TableContent } from "../../lib/iptables/table.ts";
import { formatRule } from "../../lib/iptables/rule_text.ts";
import { NetlinkReader } from "../../lib/kernel/netlink_reader.ts";
import { NetlinkWriter } from "../../lib/kernel/netlink_writer.ts";
import type { NftChange } from "../../lib/kernel/nft_change.ts";
import { readNftExpressions } from "../../lib/kernel/nft_table.ts";
import { property, type Random } from "../cni/random.ts";

const EMPTY: TableContent = { isThere: false, policies: new Map(), chains: new Map() };

function content(chains: Readonly<Record<string, readonly string[]>>): TableContent {
  let handle = 10;
  const listed = Object.entries(chains).map(([name, rules]) =>
    [name, rules.map((words): ListedRule => ({ handle: handle++, words }))] as const
  );
  return { isThere: true, policies: new Map([["FORWARD", "accept"]]), chains: new Map(listed) };
}

function changesOf(before: TableContent, lines: readonly string[]): readonly NftChange[] {
  const planned = new PlannedTable(4, "filter", before, "1.8.9");
  for (const line of lines) planned.take(line);
  return planned.changes();
}

/** What the kernel does: one change after another, and each must be possible when it comes. */
function carryOut(before: TableContent, changes: readonly NftChange[]): TableContent {
  const chains = new Map([...before.chains].map(([name, rules]) => [name, [...rules]]));
  let { isThere } = before;
  for (const change of changes) {
    if (change.kind === "add-table") {
      isThere = true;
      continue;
    }
    if (!isThere) throw new Error("the table is not there");
    const rules = chains.get(change.chain);
    if (change.kind === "add-chain") {
      if (rules === undefined) chains.set(change.chain, []);
      continue;
    }
    if (rules === undefined) throw new Error(`the chain ${change.chain} is not there`);
    const at = rules.findIndex(({ handle }) => handle === ("handle" in change ? change.handle : undefined));
    if (change.kind === "remove-chain") {
      const leads = [...chains.values()].flat().some(({ words }) => words.endsWith(` -j ${change.chain}`));
      if (rules.length > 0 || leads) throw new Error(`the chain ${change.chain} is in use`);
      chains.delete(change.chain);
    } else if (change.kind === "remove-rule") {
      if (at < 0) throw new Error("the rule is not there");
      rules.splice(at, 1);
    } else {
      const place = change.before === undefined
        ? rules.length
        : rules.findIndex(({ handle }) => handle === change.before);
      if (place < 0) throw new Error("the next rule is not there");
      rules.splice(place, 0, { handle: NaN, words: wordsOf(change) });
    }
  }
  return { isThere, policies: before.policies, chains };
}

function wordsOf({ write }: NftChange & { readonly kind: "add-rule" }): string {
  const writer = new NetlinkWriter(0, 0);
  write(writer);
  const reader = new NetlinkReader(writer.end().bytes);
  const expressions = [...reader.messages()].flatMap(({ start, end }) =>
    readNftExpressions(reader, start, end)
  );
  return formatRule(readSteps(expressions, 4));
}

/** What iptables does, on lines as it lists them. */
function restore(before: TableContent, lines: readonly string[]): readonly string[] {
  const chains = new Map([...before.chains].map(([name, rules]) => [name, rules.map(({ words }) => words)]));
  for (const line of lines) {
    const [, command = "", name = "", rest = ""] = /^(:|-[A-Z] )(\S+)(.*)$/.exec(line) ?? [];
    const rules = chains.get(name) ?? [];
    chains.set(name, rules);
    if (command === ":" || command === "-F ") rules.length = 0;
    else if (command === "-X ") chains.delete(name);
    else if (command === "-A ") rules.push(rest);
    else if (command === "-D ") rules.splice(rules.indexOf(rest), 1);
    else if (command === "-I ") {
      const [, place = "", words = ""] = /^ (\d+)(.*)$/.exec(rest) ?? [];
      rules.splice(Number(place) - 1, 0, words);
    }
  }
  const listed = [...chains].map(([name, rules]) =>
    [name, rules.map((words) => ({ handle: 0, words }))] as const
  );
  return listTable("filter", { ...before, chains: new Map(listed) });
}

const START = {
  FORWARD: [" -j CNI-A", " -s 10.0.0.1/32 -j ACCEPT", " -j CNI-B"],
  "CNI-A": [" -s 10.0.0.2/32 -j DROP"],
  "CNI-B": [" -j RETURN", " -s 10.0.0.3/32 -j DROP", " -j RETURN"],
  "CNI-C": [],
};

function randomLines(random: Random): readonly string[] {
  const chains = new Map(Object.entries(START).map(([name, rules]) => [name, [...rules]]));
  const lines: string[] = [];
  for (let number = random.below(12); number > 0; number--) {
    const name = random.one([...chains.keys(), "INPUT"]);
    const rules = chains.get(name) ?? [];
    chains.set(name, rules);
    const words = ` -s 10.1.${random.below(3)}.${random.below(3)}/32 -j DROP`;
    const kind = random.below(6);
    const at = random.below(rules.length + 1);
    if (kind === 0) {
      chains.set(`NEW-${number}`, []);
      lines.push(`-N NEW-${number}`, `-A FORWARD -j NEW-${number}`);
      chains.get("FORWARD")?.push(` -j NEW-${number}`);
    } else if (kind === 1 && name !== "INPUT") {
      lines.push(`-F ${name}`);
      rules.length = 0;
    } else if (kind === 2 && rules.length > 0) {
      const one = random.one(rules);
      lines.push(`-D ${name}${one}`);
      rules.splice(rules.indexOf(one), 1);
    } else if (kind === 3) {
      lines.push(`-I ${name} ${at + 1}${words}`);
      rules.splice(at, 0, words);
    } else {
      lines.push(`-A ${name}${words}`);
      rules.push(words);
    }
  }
  return lines;
}

property("the changes for lines make of a table what iptables makes of it", (random) => {
  const before = content(START);
  const lines = randomLines(random);
  const after = carryOut(before, changesOf(before, lines));
  assertEquals(listTable("filter", after), restore(before, lines), lines.join("\n"));
}, 3_000);

Deno.test("a table and its chains are made where they are missing, with the hooks that iptables gives them", () => {
  const changes = changesOf(EMPTY, ["-N CNI-A", "-A FORWARD -j CNI-A"]);
  assertEquals(changes.map((change) => ({ ...change, write: undefined })), [
    { kind: "add-table", write: undefined },
    { kind: "add-chain", chain: "CNI-A", hook: undefined, write: undefined },
    {
      kind: "add-chain",
      chain: "FORWARD",
      hook: { hook: 2, type: "filter", priority: 0, policy: "accept" },
      write: undefined,
    },
    { kind: "add-rule", chain: "FORWARD", before: undefined, protocol: undefined, write: undefined },
  ]);
});

Deno.test("a chain goes with the rules that led to it, and lines that change nothing are no change", () => {
  const before = content({ FORWARD: [" -j CNI-A"], "CNI-A": [" -j RETURN"] });
  const lines = ["-D FORWARD -j CNI-A", "-F CNI-A", "-X CNI-A"];
  assertEquals(listTable("filter", carryOut(before, changesOf(before, lines))), restore(before, lines));
  assertEquals(changesOf(before, []), []);
  assertEquals(changesOf(before, ["-N NEW", "-X NEW"]), []);
  assertEquals(
    changesOf(before, ["-A FORWARD -s 10.0.0.1/32 -j DROP", "-D FORWARD -s 10.0.0.1/32 -j DROP"]),
    [],
  );
});

Deno.test("what iptables would refuse, and what only it can do, is left to it", () => {
  const before = content(START);
  const lines = [
    "-N CNI-A",
    "-N FORWARD",
    `-N ${"A".repeat(29)}`,
    ":FORWARD DROP [0:0]",
    "-P FORWARD DROP",
    "-F MISSING",
    "-X CNI-A",
    "-X FORWARD",
    "-A MISSING -j ACCEPT",
    "-A FORWARD -j MISSING",
    "-A FORWARD -j FORWARD",
    "-A FORWARD -j REJECT",
    "-I FORWARD 5 -j ACCEPT",
    "-I FORWARD -j ACCEPT",
    "-D FORWARD 1",
    "-D FORWARD -s 10.0.0.9/32 -j ACCEPT",
    "-D FORWARD -s 10.0.0.1 -j ACCEPT",
    "-R FORWARD 1 -j ACCEPT",
    "COMMIT",
  ];
  for (const line of lines) {
    assertThrows(
      () => new PlannedTable(4, "filter", before, "1.8.9").take(line),
      Inexpressible,
      undefined,
      line,
    );
  }
  assertThrows(() => new PlannedTable(4, "nat", before, "1.8.9").take("-A CNI-A -j DROP"), Inexpressible);
});
