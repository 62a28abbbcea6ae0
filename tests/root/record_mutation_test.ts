// Whatever becomes of the files of records: what is up stays up, and nothing is touched that podwire did not make.
import { assert, assertEquals } from "@std/assert";
import { netnsId } from "../../lib/host/netns.ts";
import { seal } from "../../lib/network/sealed.ts";
import { CniError } from "../../lib/spec/error.ts";
import { Random } from "../spec/random.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

/** The long form has 10,000: `PODWIRE_RECORD_MUTATIONS=10000`. */
const MUTATIONS = Number(Deno.env.get("PODWIRE_RECORD_MUTATIONS") ?? 24);
const SEED = Number(Deno.env.get("PODWIRE_RECORD_SEED") ?? 9);

const LIVE = ["one", "two", "hand"];
const PUBLISH = [{ hostIP: "", hostPort: 8099, containerPort: 80, protocol: "tcp" as const }];

/** Lets the plugin of a network publish ports. */
async function publishing(world: SandboxWorld, name: string): Promise<void> {
  const plugins = [{ type: name, capabilities: { portMappings: true } }];
  await Deno.writeTextFile(
    `${world.confDir}/${name}.conflist`,
    JSON.stringify({ cniVersion: "1.1.0", name, plugins }),
  );
}

/** A node with sandboxes, an attachment that was made by hand, and things of others beside them. */
class Node {
  private constructor(
    readonly world: SandboxWorld,
    readonly netns: ReadonlyMap<string, string | undefined>,
  ) {}

  static async make(world: SandboxWorld): Promise<Node> {
    await world.network("a", { GC: {} });
    await publishing(world, "a");
    const podwire = world.podwire();
    await podwire.sandboxes.run({ name: "one", id: world.id("one"), publish: PUBLISH });
    await podwire.sandboxes.run({ name: "two", id: world.id("two"), uid: "u", attempt: 1 });
    const foreign = `${world.netnsDir}/foreign`;
    await world.sh('touch "$1" && unshare --net="$1" true', foreign);
    const target = { containerId: world.id("hand"), netns: foreign, ifName: "eth0", owner: "cli" };
    await podwire.add("a", { ...target, args: [], capabilityArgs: {} });
    // What these remember is theirs to write.
    await podwire.networks();
    const places = [foreign, ...["one", "two"].map((name) => `${world.netnsDir}/podwire-${world.id(name)}`)];
    const ids = await Promise.all(places.map(async (path) => [path, await netnsId(path)] as const));
    await Deno.mkdir(`${world.dir}/saved`);
    await world.sh('cp -a "$1/state" "$1/cache" "$1/saved"', world.dir);
    return new Node(world, new Map(ids));
  }

  async files(): Promise<string[]> {
    const found = await this.world.sh('cd "$1" && find state cache -type f ! -name "*.lock"', this.world.dir);
    return found.trim().split("\n").sort().map((name) => `${this.world.dir}/${name}`);
  }

  async restore(): Promise<void> {
    await this.world.sh('rm -rf "$1/state" "$1/cache" && cp -a "$1/saved/." "$1"', this.world.dir);
  }

  /** All that a command could do to others: what it threw is a plain error, and no trace of the program's inside. */
  async use(): Promise<void> {
    const podwire = this.world.podwire();
    const victim = this.world.id("victim");
    for (
      const act of [
        () => podwire.sandboxes.list(),
        () => podwire.attachments(),
        () => podwire.sandboxes.run({ name: "victim", id: victim }),
        () => podwire.recover(),
        () => podwire.gc(),
        () => podwire.sandboxes.remove(victim, { force: true }),
      ]
    ) {
      try {
        const report = JSON.stringify(await act());
        assert(!/\bat .*\.ts:\d+/.test(report), report);
      } catch (error) {
        assert(error instanceof CniError, String(error instanceof Error ? error.stack : error));
        assert((error as CniError).kind !== "internal", String(error));
      }
    }
    for (const line of this.world.log.all) assert(!/\bat .*\.ts:\d+/.test(line), line);
  }

  async assertUp(what: string): Promise<void> {
    for (const [path, id] of this.netns) assertEquals(await netnsId(path), id, `${what}: ${path}`);
    const calls = await this.world.calls();
    const gone = calls.filter((call) => LIVE.some((name) => call.startsWith(`a DEL ${name} `)));
    assertEquals(gone, [], what);
  }
}

function mutated(random: Random, text: string, others: readonly string[]): string {
  const at = random.below(Math.max(1, text.length));
  const flip = () => {
    const code = text.charCodeAt(at) ^ (1 << random.below(7));
    return text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
  };
  return random.one([
    flip,
    flip,
    () => text.slice(0, at),
    () => "",
    () => text.replace(/podwire\.(\w+)\.v1/, "podwire.$1.v2").replace(/"(\w)/, '"x$1'),
    () => text.replace(/podwire\.(\w+)\.v1/, "podwire.sandbox.v1"),
    () => random.one(others),
    () => text.replace(/:\s*\d+/, `:${"9".repeat(400)}`),
    () =>
      random.one([
        "[]",
        "null",
        '{"kind":7}',
        '{"kind":"podwire.other.v7"}',
        '{"a":{}}',
        "\0\xff",
        "{".repeat(2_000),
      ]),
  ])();
}

sandboxTest(
  `after ${MUTATIONS} mutations of all files nothing that is up is torn down, and nothing foreign touched`,
  async (world) => {
    const node = await Node.make(world);
    const random = new Random(SEED);
    const texts = await Promise.all((await node.files()).map((file) => Deno.readTextFile(file)));
    for (let round = 0; round < MUTATIONS; round++) {
      const files = await node.files();
      // Each file in turn, so that none is left out of the short form.
      const file = files[round % files.length] ?? "";
      const before = await Deno.readTextFile(file);
      const text = mutated(random, before, texts);
      await Deno.writeTextFile(file, text);
      const what = `seed ${SEED}, round ${round}: ${world.plain(file.slice(world.dir.length))}: ${
        text.slice(0, 300)
      }`;
      await node.use();
      await node.assertUp(what);
      await node.restore();
    }
  },
);

sandboxTest(
  "podwire that is rolled back over the state of a newer version tears nothing down, and says what to do",
  async (world) => {
    const node = await Node.make(world);
    const files = (await node.files()).filter((file) => file.endsWith(".json"));
    const newer = new Map<string, string>();
    for (const file of files) {
      const { kind, ...body } = JSON.parse(await Deno.readTextFile(file));
      newer.set(file, await seal(String(kind).replace(".v1", ".v2"), { ...body, later: [1] }));
      await Deno.writeTextFile(file, newer.get(file)!);
    }
    const podwire = world.podwire();
    for (const { state, reason } of await podwire.sandboxes.list()) {
      assertEquals(state, "broken");
      assert(reason?.includes("is of a newer version of podwire"), reason);
    }
    for (const report of [await podwire.recover(), await podwire.gc({ all: true })]) {
      assertEquals([report.removed, report.failed], [[], []]);
      assert(report.kept.some(({ why }) => why.includes("upgrade podwire")));
    }
    const one = world.id("one");
    for (
      const act of [
        () => podwire.sandboxes.remove(one, { force: true }),
        () => podwire.sandboxes.stop("one"),
        () => podwire.sandboxes.run({ name: "one", replace: true }),
        () => podwire.sandboxes.run({ name: "three", publish: PUBLISH }),
        () => podwire.sandboxes.run({ name: "four", id: one }),
        () =>
          podwire.del("a", {
            containerId: world.id("hand"),
            netns: "",
            ifName: "eth0",
            args: [],
            capabilityArgs: {},
            owner: "cli",
          }),
      ]
    ) {
      const error = await act().then(() => undefined, (error) => error);
      assert(error instanceof CniError && error.kind === "conflict", String(error));
    }
    await podwire.sandboxes.repair();
    for (const [file, text] of newer) assertEquals(await Deno.readTextFile(file), text, file);
    await node.assertUp("rolled back");
    // Upgraded again, all is as it was.
    await node.restore();
    assertEquals((await podwire.sandboxes.list()).map(({ state }) => state), ["ready", "ready"]);
  },
);

sandboxTest(
  "commands that only read change nothing on disk, whatever the records are like",
  async (world) => {
    const node = await Node.make(world);
    const podwire = world.podwire();
    await podwire.status();
    const [one, two] = [world.id("one"), world.id("two")];
    await Deno.writeTextFile(`${world.stateDir}/sandboxes/${one}.json`, "{");
    await Deno.writeTextFile(
      `${world.stateDir}/attachments/${two}/eth0@a.json`,
      '{"kind":"podwire.attachment.v2"}',
    );
    await Deno.writeTextFile(`${world.stateDir}/names/default/two`, "?");
    await Deno.writeTextFile(`${world.stateDir}/ports/tcp-8099.json`, "");
    // A plugin that is asked for its status is noted in run/calls while it runs.
    const shown = () =>
      world.sh(
        'cd "$1" && find state cache run -path run/calls -prune -o -printf "%p %i %m %s %T@ %C@\\n" | sort',
        world.dir,
      );
    const before = await shown();
    for (
      const act of [
        () => podwire.sandboxes.list(),
        () => podwire.sandboxes.list({ state: "broken" }),
        () => podwire.sandboxes.get("one"),
        () => podwire.sandboxes.get("two"),
        () => podwire.sandboxes.get(one.slice(0, -2)),
        () => podwire.attachments(),
        () => podwire.attachments({ failed: true }),
        () => podwire.attachments({ containerId: two }),
        () => podwire.networks(),
        () => podwire.status(),
        () => podwire.gc({ dryRun: true }),
        () => podwire.gc({ dryRun: true, all: true }),
      ]
    ) {
      await act();
      assertEquals(await shown(), before, String(act));
    }
    await node.assertUp("reading");
  },
);

sandboxTest(
  "a damaged record is made anew: whole where one bit is wrong, else from what else is on record",
  async (world) => {
    await Node.make(world);
    const podwire = world.podwire();
    const id = world.id("two");
    const file = `${world.stateDir}/sandboxes/${id}.json`;
    const whole = await Deno.readFile(file);
    const before = await podwire.sandboxes.get("two");
    const random = new Random(SEED);
    for (let round = 0; round < 8; round++) {
      const bytes = whole.slice();
      const at = random.below(bytes.length - 1);
      bytes[at] = bytes[at]! ^ (1 << random.below(8));
      await Deno.writeFile(file, bytes);
      await podwire.sandboxes.repair();
      assertEquals(await podwire.sandboxes.get("two"), before, `byte ${at}`);
    }
    await Deno.writeTextFile(file, "{}");
    const dry = await podwire.sandboxes.repair({ sandbox: "two", dryRun: true });
    assertEquals(await Deno.readTextFile(file), "{}");
    const { repaired: [item], kept } = await podwire.sandboxes.repair({ sandbox: "two" });
    assertEquals([dry.repaired.length, kept], [1, []]);
    assertEquals(await Deno.readTextFile(item?.movedTo ?? ""), "{}");
    assert(item?.lost?.includes("labels") && item.lost[0]?.includes("attempt"), item?.lost?.join());
    const now = await podwire.sandboxes.get("two");
    assertEquals(
      [now.state, now.name, now.uid, now.netns, now.ips],
      ["ready", "two", "u", before.netns, before.ips],
    );
    await podwire.sandboxes.remove("two");
    assertEquals((await podwire.recover()).failed, []);
    assertEquals(await world.namespaces(), ["foreign", "podwire-one"]);
    assertEquals(
      (await world.sh('ls "$1"', `${world.stateDir}/sandboxes`)).trim(),
      `${world.id("one")}.json`,
    );
  },
);
