// Whatever happens to the files of records: what is up stays up, and nothing foreign is changed.
//
// The long form is `PODWIRE_RECORD_MUTATIONS=10000 PODWIRE_RECORD_SECONDS=3600 ./denow task test
// tests/root/record_mutation_test.ts`; `PODWIRE_RECORD_SEED` chooses other mutations.
import { assert, assertEquals } from "@std/assert";
import { main } from "../../lib/cli/main.ts";
import { CniError } from "../../lib/cni/error.ts";
import { readTextIfThere } from "../../lib/host/file.ts";
import { netnsId } from "../../lib/host/netns.ts";
import { printChecksummed } from "../../lib/state/checksummed.ts";
import { FakeIo } from "../cli/fake_io.ts";
import { Random } from "../cni/random.ts";
import { logProgress } from "../progress.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";
import { parseLog } from "../../lib/state/record_log.ts";
import { putRecord, recordFile, writeLines } from "../stores.ts";

/** How many mutations there are at least. */
const MUTATIONS = Number(Deno.env.get("PODWIRE_RECORD_MUTATIONS") ?? 120);
const SEED = Number(Deno.env.get("PODWIRE_RECORD_SEED") ?? 9);
/** After so many seconds no further round begins, and the test fails and says how far it came. */
const LIMIT_S = Number(Deno.env.get("PODWIRE_RECORD_SECONDS") ?? 600);

const FEW = ["one", "two", "three", "four"];
/** The long form has more files in each round. */
const SANDBOXES = MUTATIONS < 1_000 ? FEW : [...FEW, ...Array.from({ length: 12 }, (_, n) => `more${n}`)];
const LIVE = [...SANDBOXES, "hand"];
const PUBLISH = [{ hostIP: "", hostPort: 8099, containerPort: 80, protocol: "tcp" as const }];
/** What podwire reads again. */
const ROOTS = ["state", "cache", "run"];

/** Lets the plugin of a network publish ports. */
async function publishing(world: SandboxWorld, name: string): Promise<void> {
  const plugins = [{ type: name, capabilities: { portMappings: true } }];
  await Deno.writeTextFile(
    `${world.confDir}/${name}.conflist`,
    JSON.stringify({ cniVersion: "1.1.0", name, plugins }),
  );
}

/** A node with sandboxes, an attachment that was made by hand, and foreign things beside them. */
class Node implements AsyncDisposable {
  #foreignEnded = false;

  private constructor(
    readonly world: SandboxWorld,
    readonly netns: ReadonlyMap<string, string | undefined>,
    /** The text of each file, by its path. */
    readonly saved: ReadonlyMap<string, string>,
    readonly foreign: Deno.ChildProcess,
  ) {
    foreign.status.then(() => this.#foreignEnded = true);
  }

  static async make(world: SandboxWorld): Promise<Node> {
    await world.network("a", { GC: {} });
    await publishing(world, "a");
    const podwire = world.podwire();
    for (const name of SANDBOXES) {
      const more = name === "one" ? { publish: PUBLISH } : name === "two" ? { uid: "u", attempt: 1 } : {};
      await podwire.sandboxes.run({ name, id: world.id(name), labels: { app: name }, ...more });
    }
    const place = `${world.netnsDir}/foreign`;
    await world.sh('touch "$1" && unshare --net="$1" true', place);
    const target = { containerId: world.id("hand"), netns: place, ifName: "eth0", owner: "cli" };
    await podwire.add("a", { ...target, args: [], capabilityArgs: {} });
    await podwire.status();
    await podwire.gc();
    const foreign = new Deno.Command("sleep", { args: ["infinity"] }).spawn();
    // What killed processes leave.
    await world.leaveLock(world.id("one"));
    await world.leaveLock(world.id("unknown"));
    await Deno.mkdir(`${world.runDir}/calls`, { recursive: true });
    const note = `${JSON.stringify({ subject: world.id("one"), task: "GC" })}\n${foreign.pid}\n`;
    await Deno.writeTextFile(`${world.runDir}/calls/${crypto.randomUUID()}`, note);
    const places = [place, ...SANDBOXES.map((name) => `${world.netnsDir}/podwire-${world.id(name)}`)];
    const ids = await Promise.all(places.map(async (path) => [path, await netnsId(path)] as const));
    const saved = new Map<string, string>();
    const node = new Node(world, new Map(ids), saved, foreign);
    for (const file of await node.files()) saved.set(file, await Deno.readTextFile(file));
    await Deno.mkdir(`${world.dir}/saved`);
    await world.sh('cd "$1" && shift && cp -a "$@" saved', world.dir, ...ROOTS);
    return node;
  }

  async files(): Promise<string[]> {
    const found = await this.world.sh('cd "$1" && shift && find "$@" -type f', this.world.dir, ...ROOTS);
    return found.trim().split("\n").sort().map((name) => `${this.world.dir}/${name}`);
  }

  /**
   * For what was made by hand one file must name the namespace: libcni's has no checksum, and no other file
   * does.
   */
  async keepOneWitness(): Promise<void> {
    const id = this.world.id("hand");
    const record = await readTextIfThere(recordFile(this.world.stateDir, id)) ?? "";
    const place = `"netns":"${this.world.netnsDir}/foreign"`;
    if (record.includes(place) && record.includes(`"containerId":"${id}"`)) return;
    const file = `${this.world.dir}/cache/results/a-${id}-eth0`;
    await Deno.writeTextFile(file, this.saved.get(file) ?? "");
  }

  async restore(): Promise<void> {
    const script = 'cd "$1" && calls="$2" && shift 2 && rm -rf "$@" "$calls" && cp -a saved/. .';
    await this.world.sh(script, this.world.dir, `${this.world.plugins.dir}/calls.log`, ...ROOTS);
    this.world.log.all.length = 0;
  }

  /**
   * Everything that a command could do to others: its error is a plain one, without internals of the program.
   */
  async use({ mayRefuse }: { readonly mayRefuse: boolean }): Promise<void> {
    const podwire = this.world.podwire();
    const victim = this.world.id("victim");
    for (
      const act of [
        () => podwire.sandboxes.list(),
        () => podwire.attachments(),
        () => podwire.sandboxes.run({ name: "victim", id: victim }),
        () => podwire.recover(),
        () => podwire.gc(),
        () => podwire.sandboxes.remove(victim, { force: true, missingOk: true }),
      ]
    ) {
      try {
        const outcome = await act();
        const report = JSON.stringify(outcome);
        assert(!/\bat .*\.ts:\d+/.test(report), report);
        if (!mayRefuse && "failed" in outcome) assertEquals(outcome.failed, []);
      } catch (error) {
        if (!mayRefuse) throw error;
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
    assert(!this.#foreignEnded, `${what}: a foreign process has ended`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#foreignEnded) this.foreign.kill("SIGKILL");
    await this.foreign.status;
  }
}

/**
 * Other knowledge of an attachment, without its claims or the entry in the cache, keeps it up.
 */
const MAY_BE_LOST = /\/(interfaces|ports|names|results)\//;

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
    () => {
      const lines = text.split("\n");
      return lines.toSpliced(random.below(lines.length), 1).join("\n");
    },
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
  `after ${MUTATIONS} mutations of all files nothing that is up is torn down, and nothing foreign is changed`,
  async (world) => {
    await using node = await Node.make(world);
    const files = [...node.saved.keys()];
    const texts = [...node.saved.values()];
    // As it was made, the node allows all of this: what is refused below is refused because of a file.
    await node.restore();
    await node.use({ mayRefuse: false });
    await node.assertUp("nothing is changed");
    await node.restore();
    const random = new Random(SEED);
    const end = performance.now() + LIMIT_S * 1_000;
    let done = 0;
    for (let round = 0; done < MUTATIONS && performance.now() < end; round++) {
      // One alone, a few, or nearly all of them: the repair of one record from others meets each case.
      const percent = random.one([0, 20, 60, 95]);
      const chosen = files.filter((_, index) => index === round % files.length || random.chance(percent));
      const what = [`seed ${SEED}, round ${round}`];
      for (const file of chosen) {
        if (MAY_BE_LOST.test(file) && random.chance(8)) {
          await Deno.remove(file);
          what.push(`${world.plain(file.slice(world.dir.length))} is removed`);
          continue;
        }
        const text = mutated(random, node.saved.get(file) ?? "", texts);
        await Deno.writeTextFile(file, text);
        what.push(`${world.plain(file.slice(world.dir.length))}: ${text.slice(0, 300)}`);
      }
      done += chosen.length;
      await node.keepOneWitness();
      try {
        await node.use({ mayRefuse: true });
        await node.assertUp("mutated");
      } catch (cause) {
        throw new Error(`${what.join("\n")}\n${cause instanceof Error ? cause.message : cause}`, { cause });
      }
      await node.restore();
    }
    logProgress(`${done} mutations of ${files.length} files`);
    assert(done >= MUTATIONS, `only ${done} of ${MUTATIONS} mutations within ${LIMIT_S} s`);
  },
);

/** Returns a record as a version that has more to say would write it. */
async function ofNewerVersion(text: string): Promise<string> {
  const { kind, ...body } = JSON.parse(text);
  return await printChecksummed(String(kind).replace(".v1", ".v2"), { ...body, later: [1] });
}

sandboxTest(
  "an older podwire over the state of a newer version tears nothing down, and says what to do",
  async (world) => {
    await using node = await Node.make(world);
    // A directory with a newer layout is refused as a whole, before any record is read.
    const isRecord = (file: string) =>
      !file.endsWith("/format") && !file.includes("/inside/") &&
      /^(?:\{"kind":")?podwire\./.test(node.saved.get(file) ?? "");
    const files = (await node.files()).filter(isRecord);
    assert(files.some((file) => file.includes("/interfaces/")), files.join("\n"));
    const newer = new Map<string, string>();
    for (const file of files) {
      if (file.endsWith(".rec")) {
        const { lines } = parseLog(await Deno.readFile(file));
        const texts = await Promise.all(lines.map(({ text }) => ofNewerVersion(text)));
        await writeLines(file, lines.map(({ key }, index) => ({ key, text: texts[index] ?? "" })));
      } else await Deno.writeTextFile(file, await ofNewerVersion(await Deno.readTextFile(file)));
      newer.set(file, await Deno.readTextFile(file));
    }
    const podwire = world.podwire();
    for (const { state, reason } of await podwire.sandboxes.list()) {
      assertEquals(state, "broken");
      assert(reason?.includes("is of a newer version of podwire"), reason);
    }
    for (const report of [await podwire.recover(), await podwire.gc({ all: true })]) {
      assertEquals({ removed: report.removed, failed: report.failed }, { removed: [], failed: [] });
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
    await world.network("b");
    const place = { netns: `${world.netnsDir}/foreign`, ifName: "eth0", owner: "cli" };
    const wanted = { containerId: world.id("late"), ...place, args: [], capabilityArgs: {} };
    const claimed = await podwire.add("b", wanted).catch((error) => error);
    assert(claimed instanceof CniError && claimed.kind === "conflict", String(claimed));
    assert(claimed.message.includes("/state/interfaces/"), claimed.message);
    for (const [file, text] of newer) assertEquals(await Deno.readTextFile(file), text, file);
    await node.assertUp("rolled back");
    // Upgraded again, everything is as it was.
    await node.restore();
    assertEquals((await podwire.sandboxes.list()).map(({ state }) => state), SANDBOXES.map(() => "ready"));
  },
);

sandboxTest(
  "commands that only read change nothing on disk, whatever the records are like",
  async (world) => {
    await using node = await Node.make(world);
    const podwire = world.podwire();
    const dirs = ["conf", "state", "cache", "netns"].map((name) => `--${name}-dir=${world.dir}/${name}`);
    const dirOptions = [...dirs, `--plugin-dir=${world.plugins.dir}`];
    const command = async (args: readonly string[]) => {
      const io = new FakeIo([...dirOptions, ...args], { env: { PATH: Deno.env.get("PATH") ?? "" } });
      return { code: await main(io), output: io.stdout + io.stderr };
    };
    // Running plugins are noted there.
    await command(["status"]);
    const [one, two] = [world.id("one"), world.id("two")];
    await Deno.writeTextFile(recordFile(world.stateDir, one), "{");
    const later = '{"kind":"podwire.attachment.v2"}';
    await putRecord(recordFile(world.stateDir, two), { ifName: "eth0", network: "a" }, later);
    await Deno.writeTextFile(`${world.stateDir}/names/default/two`, "?");
    await Deno.writeTextFile(`${world.stateDir}/ports/tcp-8064-8127.json`, "");
    // A plugin that is asked for its status is noted in run/calls while it runs.
    const shown = () =>
      world.sh(
        'cd "$1" && find state cache run \\( -path run/calls -o -path state/run/calls \\) -prune -o -printf "%p %i %m %s %T@ %C@\\n" | sort',
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
    for (
      const args of [
        ["ps"],
        ["ps", "--filter", "state=broken", "--json"],
        ["inspect", "one"],
        ["inspect", "three"],
        ["attachments", "--failed"],
        ["networks"],
        ["networks", "--json"],
        ["status"],
        ["status", "a"],
        ["gc", "--dry-run"],
        ["gc", "--dry-run", "--all"],
        ["completion", "bash"],
        ["run", "--help"],
      ]
    ) {
      const { code, output } = await command(args);
      assert(code <= 1 && (output !== "" || args[0] === "status"), `${args.join(" ")}: ${output}`);
      assertEquals(await shown(), before, args.join(" "));
    }
    await node.assertUp("reading");
  },
);

sandboxTest(
  "a damaged record is made anew: complete if one bit is wrong, otherwise from the other records",
  async (world) => {
    await using _node = await Node.make(world);
    const podwire = world.podwire();
    const id = world.id("two");
    const file = recordFile(world.stateDir, id);
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
    await Deno.writeFile(file, whole);
    await putRecord(file, "sandbox", "{}");
    const damaged = await Deno.readTextFile(file);
    const dry = await podwire.sandboxes.repair({ sandbox: "two", dryRun: true });
    assertEquals(await Deno.readTextFile(file), damaged);
    const { repaired: [item], kept } = await podwire.sandboxes.repair({ sandbox: "two" });
    assertEquals({ repairedCount: dry.repaired.length, kept }, { repairedCount: 1, kept: [] });
    assert(item?.lost?.includes("labels") && item.lost[0]?.includes("attempt"), item?.lost?.join());
    const now = await podwire.sandboxes.get("two");
    assertEquals(
      { state: now.state, name: now.name, uid: now.uid, netns: now.netns, ips: now.ips },
      { state: "ready", name: "two", uid: "u", netns: before.netns, ips: before.ips },
    );
    await podwire.sandboxes.remove("two");
    assertEquals((await podwire.recover()).failed, []);
    assertEquals(await world.namespaces(), [
      "foreign",
      ...SANDBOXES.filter((name) => name !== "two").map((name) => `podwire-${name}`).sort(),
    ]);
    const records = (await world.sh('ls "$1"', `${world.stateDir}/records`)).trim().split("\n");
    assertEquals(
      records.sort(),
      LIVE.filter((name) => name !== "two").map((name) => `${world.id(name)}.rec`).sort(),
    );
  },
);
