// The work of `iptables_in_process_test.ts`, in a network namespace of its own.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { listIptables } from "../../lib/builtin/iptables.ts";
import { runCommand, runningAs, runOk } from "../../lib/host/command.ts";
import { openLibc } from "../../lib/host/libc.ts";
import { IptablesInProcess } from "../../lib/iptables/in_process.ts";
import { knownIptables } from "../../lib/iptables/host_iptables.ts";
import type { Family, RuleForm } from "../../lib/iptables/rule.ts";
import { formatRule } from "../../lib/iptables/rule_text.ts";
import type { IptablesTable } from "../../lib/iptables/table.ts";
import { NETLINK } from "../../lib/kernel/netlink_constants.ts";
import { NetlinkSocket } from "../../lib/kernel/netlink_socket.ts";
import { nftFamily } from "../../lib/kernel/nft_message.ts";
import { listNftTableChains, readNftTable } from "../../lib/kernel/nft_table.ts";
import { type Random, randomOf } from "../cni/random.ts";
import { FOREIGN } from "./foreign_rules.ts";
import { randomRule, type Targets } from "../iptables/random_rules.ts";

const PROGRAMS = { 4: "iptables", 6: "ip6tables" } as const;
const OWN = "CNI-";
const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));

async function program(name: string, args: readonly string[], stdin?: string): Promise<string> {
  return (await runOk(runCommand, { program: name, args, stdin, env: Deno.env.toObject() })).stdout;
}

async function flush(): Promise<void> {
  await program("nft", ["flush", "ruleset"]);
}

/** A table, with both ways to it. */
class Both {
  readonly #own: IptablesInProcess;

  private constructor(readonly family: Family, readonly table: IptablesTable, form: RuleForm) {
    this.#own = new IptablesInProcess(family, table, OWN, form);
  }

  static async of(family: Family, table: IptablesTable): Promise<Both> {
    const form = await knownIptables(runCommand, family);
    if (form === undefined) throw new Error("the release is not known");
    return new Both(family, table, form);
  }

  async restore(lines: readonly string[]): Promise<void> {
    const text = [`*${this.table}`, ...lines, "COMMIT", ""].join("\n");
    await program(`${PROGRAMS[this.family]}-restore`, ["-w", "--noflush"], text);
  }

  async change(lines: readonly string[]): Promise<void> {
    await this.#own.change(() => Promise.resolve(lines));
  }

  /** As iptables prints it. */
  async printed(): Promise<readonly string[]> {
    const text = await program(PROGRAMS[this.family], ["-w", "-t", this.table, "-S"]);
    return text.trimEnd().split("\n").filter((line) => !line.startsWith("#"));
  }

  async listed(): Promise<readonly string[]> {
    return await this.#own.list() ?? [];
  }

  /** Chains and rules as the kernel has them, without their numbers. */
  async raw(): Promise<unknown> {
    using socket = new NetlinkSocket(openLibc(), NETLINK.NETLINK_NETFILTER);
    const chains = await listNftTableChains(socket, nftFamily(this.family));
    const table = await readNftTable(
      socket,
      this.family,
      this.table,
      (steps) =>
        steps.map((
          { name, attributes },
        ) => [name, ...[...attributes].map(([type, bytes]) => `${type} ${bytes.toHex()}`)]),
    );
    return {
      chains: chains.toSorted((a, b) => a.name < b.name ? -1 : 1),
      rules: Map.groupBy(table?.rules ?? [], ({ chain }) => chain).entries().toArray()
        .map(([chain, rules]) => [chain, rules.map(({ content }) => content)] as const)
        .toSorted(([a], [b]) => a < b ? -1 : 1),
    };
  }
}

const CHAINS: Readonly<Record<IptablesTable, Readonly<Record<string, readonly [entry: string, Targets]>>>> = {
  nat: {
    "CNI-D": ["PREROUTING", { chains: ["CNI-X"], translates: true, masquerades: false, drops: false }],
    "CNI-M": ["POSTROUTING", { chains: ["CNI-X"], translates: false, masquerades: true, drops: false }],
  },
  filter: { "CNI-F": ["FORWARD", { chains: ["CNI-X"], translates: false, masquerades: false, drops: true }] },
};
const LEAF = "CNI-X";
const NOTHING: Targets = { chains: [], translates: false, masquerades: false, drops: false };

function randomLines(random: Random, { family, table }: Both): readonly string[] {
  const chains = Object.entries(CHAINS[table]);
  const rule = (targets: Targets) => formatRule(randomRule(random, family, targets));
  return [
    ...[LEAF, ...chains.map(([name]) => name)].map((name) => `:${name} - [0:0]`),
    ...random.list(4, () => `-A ${LEAF}${rule(NOTHING)}`),
    ...chains.flatMap(([name, [, targets]]) => random.list(8, () => `-A ${name}${rule(targets)}`)),
    ...chains.map(([name, [entry]]) =>
      `-${random.chance(50) ? "A" : "I"} ${entry}${random.chance(50) ? "" : " 1"} -j ${name}`
    )
      .map((line) => line.replace(/^-A (\S+) 1/, "-A $1").replace(/^-I (\S+) -j/, "-I $1 1 -j")),
  ];
}

/** Removes some of the rules that are printed, inserts others anywhere, and adds a chain. */
function randomEdits(random: Random, both: Both, printed: readonly string[]): readonly string[] {
  const chains = Object.entries(CHAINS[both.table]);
  const gone = printed.filter((line) => line.startsWith("-A CNI-") && random.chance(40));
  const lines = gone.map((line) => line.replace(/^-A /, "-D "));
  for (const [name, [, targets]] of chains) {
    let count = printed.filter((line) => line.startsWith(`-A ${name} `) && !gone.includes(line)).length;
    for (let number = random.below(5); number > 0; number--) {
      lines.push(
        `-I ${name} ${1 + random.below(++count)}${formatRule(randomRule(random, both.family, targets))}`,
      );
    }
    if (random.chance(20)) lines.push(`-F ${name}`, `-A ${name} -j RETURN`);
  }
  if (random.chance(50)) lines.push("-N CNI-NEW", `-A ${chains[0]![0]} -j CNI-NEW`);
  return lines;
}

async function compareRound(random: Random, both: Both): Promise<void> {
  const lines = randomLines(random, both);
  await flush();
  await both.restore(lines);
  const made = await both.raw();
  const printed = await both.printed();
  assertEquals(await both.listed(), printed);
  await flush();
  await both.change(lines);
  assertEquals(await both.raw(), made);
  // Equal rules would be ambiguous for a removal.
  if (new Set(printed).size < printed.length) return;
  const edits = randomEdits(random, both, printed);
  await both.change(edits);
  const edited = await both.raw();
  const after = await both.printed();
  await flush();
  await both.restore(lines);
  await both.restore(edits);
  assertEquals(await both.raw(), edited);
  assertEquals(await both.listed(), after);
  await flush();
  await both.change(lines);
  // iptables finds each rule that was made in this process.
  await both.restore(
    printed.filter((line) => line.startsWith("-A ")).map((line) => line.replace(/^-A /, "-D ")),
  );
  assertEquals((await both.printed()).filter((line) => line.startsWith("-A ")), []);
}

async function compare(rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const family of [4, 6] as const) {
      for (const table of ["nat", "filter"] as const) {
        try {
          await compareRound(randomOf(round), await Both.of(family, table));
        } catch (cause) {
          throw new Error(`round ${round} of IPv${family}, table ${table}: ${cause}`, { cause });
        }
      }
    }
  }
}

/** Makes a chain with two rules and a jump to it, again and again. */
async function write(name: string, count: number): Promise<void> {
  const both = await Both.of(4, "nat");
  for (let number = 0; number < count; number++) {
    const chain = `CNI-${name}-${number}`;
    await both.change([
      `:${chain} - [0:0]`,
      `-A ${chain} -d 10.0.0.0/8 -j ACCEPT`,
      `-A ${chain} -j RETURN`,
      `-A POSTROUTING -s 192.0.2.${number} -j ${chain}`,
    ]);
  }
}

/** As {@linkcode write}, by the program. */
const LOOP = `number=0
while [ $number -lt "$1" ]; do
  printf '*nat\\n:OTHER-%s - [0:0]\\n-A OTHER-%s -d 10.0.0.0/8 -j ACCEPT\\n-A OTHER-%s -j RETURN\\n-A POSTROUTING -s 192.0.2.%s -j OTHER-%s\\nCOMMIT\\n' \
    $number $number $number $number $number | iptables-restore -w --noflush || exit
  number=$((number + 1))
done`;

async function race(count: number): Promise<void> {
  const again = ["run", "-q", "--no-prompt", "--allow-all", import.meta.filename!, "write", "B", `${count}`];
  await Promise.all([
    program("sh", ["-c", LOOP, "sh", `${count}`]),
    program(DENOW, again),
    write("A", count),
    // Within one process, too.
    write("C", count),
  ]);
  const both = await Both.of(4, "nat");
  const printed = await both.printed();
  for (const begin of ["CNI-A", "CNI-B", "CNI-C", "OTHER"]) {
    for (let number = 0; number < count; number++) {
      const chain = `${begin}-${number}`;
      assertEquals(printed.filter((line) => line.includes(`${chain} `) || line.endsWith(chain)), [
        `-N ${chain}`,
        `-A POSTROUTING -s 192.0.2.${number}/32 -j ${chain}`,
        `-A ${chain} -d 10.0.0.0/8 -j ACCEPT`,
        `-A ${chain} -j RETURN`,
      ]);
    }
  }
  assert(printed.length > 4 * 4 * count);
}

/** The rules of other programs, beside which ours are made, and removed again. */
async function foreign(): Promise<void> {
  for (const [name, { table, lines }] of Object.entries(FOREIGN)) {
    const both = await Both.of(4, table);
    await flush();
    await both.restore(lines);
    const [printed, listed] = [await both.printed(), await both.listed()];
    assertEquals(listed.length, printed.length, name);
    for (const [index, line] of listed.entries()) {
      // What is not known here is in no word that iptables prints.
      const isKnown = !/ revision \d+ | (?:meta|payload) [\d,]+/.test(line) && !/ -p \d+/.test(line);
      if (isKnown) assertEquals(line, printed[index], name);
      else assertEquals(line.split(" ").slice(0, 2), printed[index]?.split(" ").slice(0, 2), name);
    }
    const entry = table === "nat" ? "POSTROUTING" : "FORWARD";
    const own = ["-N CNI-A", "-A CNI-A -s 10.1.2.3/32 -j ACCEPT", `-I ${entry} 2 -j CNI-A`];
    await both.change(own);
    const place = printed.findIndex((line) => line.startsWith(`-A ${entry} `)) + 1;
    const expected = [...printed.slice(0, place), `-A ${entry} -j CNI-A`, ...printed.slice(place)];
    const others = (list: readonly string[]) => list.filter((line) => !/^-[AN] CNI-A/.test(line));
    assertEquals(others(await both.printed()), expected, name);
    await both.change([`-D ${entry} -j CNI-A`, "-F CNI-A", "-X CNI-A"]);
    assertEquals(await both.printed(), printed, name);
    assertEquals(await both.listed(), listed, name);
  }
}

/** What has to be left to iptables, with the reason why. */
const LEFT: Readonly<Record<string, readonly string[]>> = {
  "an unknown part in a chain of ours": [
    "iptables -N CNI-FORWARD",
    "iptables -A CNI-FORWARD -m mac --mac-source 02:00:00:00:00:01 -j ACCEPT",
  ],
  "an unknown part in front of a chain of ours": [
    "iptables -N CNI-FORWARD",
    "iptables -A FORWARD -m iprange --src-range 10.0.0.1-10.0.0.9 -j CNI-FORWARD",
  ],
  "a rule that nft has made": [
    "iptables -A FORWARD -j ACCEPT",
    "nft add rule ip filter FORWARD ct state new accept",
  ],
  "a chain that nft has made": [
    "nft add table ip filter",
    "nft add chain ip filter forward '{ type filter hook forward priority -5 ; }'",
  ],
};

/** Prints what the plugins get to see of the table `filter`, on each of these machines. */
async function left(): Promise<void> {
  const seen: Record<string, unknown> = {};
  for (const [name, commands] of Object.entries(LEFT)) {
    await flush();
    for (const command of commands) await program("sh", ["-c", command]);
    const ran: string[] = [];
    const run = runningAs(runCommand, (request) => {
      ran.push([request.program, ...request.args ?? []].join(" "));
      return runCommand(request);
    });
    const host = { run, signal: new AbortController().signal };
    seen[name] = {
      lines: await listIptables(host, 4, "filter"),
      ran: ran.filter((line) => !line.includes("--version")),
    };
  }
  console.log(JSON.stringify(seen));
}

const [what, ...args] = Deno.args;
if (what === "compare") await compare(Number(args[0]));
else if (what === "race") await race(Number(args[0]));
else if (what === "foreign") await foreign();
else if (what === "left") await left();
else if (what === "write") await write(args[0] ?? "", Number(args[1]));
else throw new Error(`unknown work ${what}`);
