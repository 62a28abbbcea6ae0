// The built-in host-local and the original in turn, on one directory, with operators and losses of power between them: each
// answer and each file is compared with a model that reads all files.
import { assert, assertEquals } from "@std/assert";
import { Addresses } from "../builtin/addresses.ts";
import { type Random, randomOf, SEED_VARIABLE, seedFromEnvironment } from "../cni/random.ts";
import { inTempDir } from "../temp_dir.ts";
import { type Answer, callBinary, callBuiltin } from "./builtin_call.ts";
import { CNI_1_1_1, CNI_1_9_1, need } from "./need.ts";

/** Few, so that they meet often. */
const OWNERS = ["a eth0", "a eth1", "b eth0", "c eth0", "d eth0", "e eth0"] as const;
const VERBS = ["ADD", "ADD", "DEL", "CHECK"] as const;
const STEPS_OF_MANY = 40;

type Files = Readonly<Record<string, string>>;

/** One directory, and what must be in it. */
class Alternation {
  readonly #addresses: Addresses;
  /** Files that the built-in plugin has made, and that have lost their text, with their owners. */
  readonly #lost = new Map<string, string>();
  /** Files of the built-in plugin. */
  readonly #own = new Set<string>();

  constructor(
    readonly dir: string,
    readonly random: Random,
    readonly size: { readonly first: number; readonly last: number },
  ) {
    this.#addresses = new Addresses(dir);
  }

  #text(address: string, files: Files): string | undefined {
    return this.#lost.get(address) ?? files[address];
  }

  async step(): Promise<string> {
    const dice = this.random.below(100);
    const files = this.#addresses.reserved();
    const names = Object.keys(files).filter((name) => !/x\d/.test(files[name]!));
    const address = this.random.one(names);
    if (dice < 4 && address !== undefined) return await this.#removed(address);
    if (dice < 8) return await this.#blocked(files);
    if (dice < 14 && address !== undefined) return await this.#loses(address);
    return await this.#called(files);
  }

  async #removed(address: string): Promise<string> {
    await Deno.remove(this.#addresses.path(address));
    this.#forget(address);
    return `an operator removed ${address}`;
  }

  async #blocked(files: Files): Promise<string> {
    const address = ip(this.random.below(this.size.last - this.size.first) + this.size.first);
    if (files[address] === undefined) await Deno.writeTextFile(this.#addresses.path(address), "");
    return `an operator blocked ${address}`;
  }

  async #loses(address: string): Promise<string> {
    if (!this.#own.has(address)) return "nothing";
    const text = await Deno.readTextFile(this.#addresses.path(address));
    if (text !== "") this.#lost.set(address, text);
    await Deno.truncate(this.#addresses.path(address));
    return `${address} lost its text`;
  }

  #forget(address: string): void {
    this.#lost.delete(address);
    this.#own.delete(address);
  }

  async #called(before: Files): Promise<string> {
    const [id = "", ifName = ""] = this.random.one(OWNERS).split(" ");
    const verb = this.random.one(VERBS);
    const who = this.random.one(["built-in", "built-in", CNI_1_1_1, CNI_1_9_1]);
    const isOurs = who === "built-in";
    const last = await Deno.readTextFile(this.#addresses.path("last_reserved_ip.0")).catch(() => "");
    const call = {
      verb,
      containerId: id,
      netns: "/run/netns/none",
      ifName,
      config: {
        cniVersion: "1.0.0",
        name: "web",
        type: "bridge",
        ipam: {
          type: "host-local",
          dataDir: this.dir,
          subnet: "10.1.0.0/16",
          rangeStart: ip(this.size.first),
          rangeEnd: ip(this.size.last),
        },
      },
    };
    const answer = await (isOurs ? callBuiltin("host-local", call) : callBinary(who, "host-local", call));
    const what = `${verb} of ${id} ${ifName} by ${who.replace(/^.*(cni-[^/]+).*$/, "$1")}`;
    const after = this.#addresses.reserved();
    const held = this.#heldBy(`${id}\r\n${ifName}`, before, isOurs);
    if (verb === "ADD") {
      this.#checkAdd({ what, before, after, answer, held, last, text: `${id}\r\n${ifName}`, isOurs });
    } else if (verb === "DEL") {
      assertEquals(answer.code, 0, `${what}: ${JSON.stringify(answer.document)}`);
      const left = Object.entries(before).filter(([name]) => !held.includes(name));
      assertFiles(after, Object.fromEntries(left), what);
      for (const name of held) this.#forget(name);
    } else {
      assertEquals(answer.code === 0, held.length > 0, what);
      assertFiles(after, before, what);
    }
    return what;
  }

  #heldBy(text: string, files: Files, isOurs: boolean): string[] {
    return Object.keys(files).filter((name) => (isOurs ? this.#text(name, files) : files[name]) === text);
  }

  #checkAdd(
    { what, before, after, answer, held, last, text, isOurs }: {
      readonly what: string;
      readonly before: Files;
      readonly after: Files;
      readonly answer: Answer;
      readonly held: readonly string[];
      readonly last: string;
      readonly text: string;
      readonly isOurs: boolean;
    },
  ): void {
    const wanted = held.length > 0 ? undefined : this.#next(before, last);
    if (wanted === undefined) {
      assert(answer.code !== 0, `${what}: ${JSON.stringify(answer.document)}`);
      return assertFiles(after, before, what);
    }
    assertEquals(
      answer.document.ips?.[0]?.address,
      `${wanted}/16`,
      `${what}: ${JSON.stringify(answer.document)}`,
    );
    assertFiles(after, { ...before, [wanted]: text }, what);
    if (isOurs) this.#own.add(wanted);
  }

  /** The first free address after the last one. */
  #next(files: Files, last: string): string | undefined {
    const { first, last: end } = this.size;
    const count = end - first + 1;
    const from = last === "" ? first : numberOf(last) + 1;
    const order = Array.from({ length: count }, (_, n) => ip(first + (from - first + n) % count));
    return order.find((address) => files[address] === undefined);
  }
}

/** Compares what differs only: most of 10,000 files never change. */
function assertFiles(files: Files, expected: Files, what: string): void {
  const names = new Set([...Object.keys(files), ...Object.keys(expected)]);
  const changed = [...names].filter((name) => files[name] !== expected[name]);
  const of = (some: Files) => Object.fromEntries(changed.map((name) => [name, some[name]]));
  assertEquals(of(files), of(expected), what);
}

function ip(number: number): string {
  return `10.1.${number >> 8}.${number & 255}`;
}

function numberOf(address: string): number {
  const [, , high = 0, low = 0] = address.split(".").map(Number);
  return high * 256 + low;
}

async function inTurns(
  seed: number,
  steps: number,
  size: { first: number; last: number },
  taken = 0,
): Promise<void> {
  await inTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/web`);
    for (let n = 0; n < taken; n++) {
      await Deno.writeTextFile(`${dir}/web/${ip(size.first + n)}`, `x${n}\r\neth0`);
    }
    const both = new Alternation(dir, randomOf(seed), size);
    const done: string[] = [];
    try {
      for (let step = 0; step < steps; step++) done.push(await both.step());
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`after ${done.join(", ")}; to repeat: ${SEED_VARIABLE}=${seed}; ${what}`, { cause });
    }
  });
}

Deno.test({
  name:
    "both host-locals in turn do what a plugin does that reads all files, whatever operators do and the power loses",
  ...need("cni-1.1.1", "cni-1.9.1"),
  fn: async () => {
    const first = seedFromEnvironment() ?? 1;
    for (let seed = first; seed < first + 12; seed++) await inTurns(seed, 80, { first: 2, last: 9 });
  },
});

Deno.test({
  name: "both host-locals in turn do so beside 10,000 addresses",
  ...need("cni-1.1.1", "cni-1.9.1"),
  fn: () => inTurns(seedFromEnvironment() ?? 1, STEPS_OF_MANY, { first: 2, last: 10_020 }, 10_000),
});
