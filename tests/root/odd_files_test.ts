// A file that is not a regular file in the place of any file of the state directory: each command ends,
// reports where it is, and does its work on all the others.
import { assert, assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

type Plant = (path: string, world: SandboxWorld) => Promise<unknown>;

const PLANTS: Readonly<Record<string, Plant>> = {
  "a directory": (path, world) => world.sh('mkdir "$1" && touch "$1/theirs"', path),
  "a FIFO": (path, world) => world.sh('mkfifo "$1"', path),
  "a socket": async (path, world) => {
    // The address of a socket is short.
    const short = `${world.dir}/s`;
    using _listener = Deno.listen({ transport: "unix", path: short });
    // The listener removes its own name with it.
    await Deno.link(short, path);
  },
};

const ROOTS = ["state", "cache", "run"];

/** One file of each kind that podwire keeps, as `KIND` and path. */
async function kinds(world: SandboxWorld): Promise<ReadonlyMap<string, string>> {
  const found = await world.sh('cd "$1" && shift && find "$@" -type f', world.dir, ...ROOTS);
  const files = found.trim().split("\n").sort();
  const ofVictim = (file: string) => file.includes(world.id("victim")) || !/[a-z]-[0-9a-f]{12}/.test(file);
  const chosen = files.filter((file) => ofVictim(file) || file.startsWith("run/calls/"));
  // The digests, numbers and names in the paths do not say what a file is.
  const kindOf = (file: string) => world.plain(file).replace(/[0-9a-f-]{16,}/g, "ID").replace(/\d{3,}/g, "N");
  return new Map(chosen.map((file) => [kindOf(file), `${world.dir}/${file}`]));
}

async function makeNode(world: SandboxWorld): Promise<void> {
  await world.network("a", { GC: {} });
  const plugins = [{ type: "a", capabilities: { portMappings: true } }];
  const list = { cniVersion: "1.1.0", name: "a", plugins };
  await Deno.writeTextFile(`${world.confDir}/a.conflist`, JSON.stringify(list));
  const podwire = world.podwire();
  const publish = [{ hostIP: "", hostPort: 8099, containerPort: 80, protocol: "tcp" as const }];
  await podwire.sandboxes.run({ name: "victim", id: world.id("victim"), publish });
  await podwire.sandboxes.run({ name: "other", id: world.id("other") });
  await podwire.status();
  await podwire.gc();
  await world.leaveLock(world.id("victim"));
  await Deno.mkdir(`${world.runDir}/calls`, { recursive: true });
  const note = `${JSON.stringify({ subject: world.id("unknown"), task: "GC" })}\n`;
  await Deno.writeTextFile(`${world.runDir}/calls/${crypto.randomUUID()}`, note);
  for (const dir of ["failed", "containers"]) {
    await Deno.mkdir(`${world.stateDir}/${dir}`, { recursive: true });
    await Deno.writeTextFile(`${world.stateDir}/${dir}/${world.id("victim")}`, "");
  }
}

/** podwire reads none of these, or makes them anew from its records: nothing to report; libcni skips folders, too. */
const SILENT =
  /^(state\/(inside|failed|containers|by-name|interfaces\/\.complete)|run\/)|^cache\/.*: a directory$/;
/** Without its lock a command does nothing, and reports why. */
const LOCK = /^run\/.*\.lock$/;

/** One of them for each file, as each takes its time. */
const MIXTURES = [["a directory"], ["a FIFO", "a socket"]];

for (const mixture of MIXTURES) {
  sandboxTest(
    `${
      mixture.join(" or ")
    } in the place of any kind of file keeps no command from ending or from what it does to the others`,
    async (world) => {
      await makeNode(world);
      await world.sh('cd "$1" && shift && mkdir saved && cp -a "$@" saved', world.dir, ...ROOTS);
      const found = await kinds(world);
      assert(found.size >= 12, [...found.keys()].join("\n"));
      const silent: string[] = [];
      const failures: string[] = [];
      for (const [index, [kind, file]] of [...found].entries()) {
        const what = mixture[index % mixture.length] ?? "";
        await Deno.remove(file);
        await PLANTS[what]?.(file, world);
        const said = await use(world, `${what} as ${kind}`).catch((error: Error) => {
          if (!LOCK.test(kind) || !error.message.includes(file)) failures.push(error.message);
          return file;
        });
        if (!SILENT.test(`${kind}: ${what}`) && !said.includes(file)) silent.push(kind);
        const stat = await Deno.stat(file).catch(() => undefined);
        // A directory could hold files of a user.
        if (what === "a directory") {
          const place = stat?.isDirectory ? file : `${file}.bad-1`;
          assertEquals(await Deno.readTextFile(`${place}/theirs`), "", kind);
        }
        const clean = 'cd "$1" && calls="$2" && shift 2 && rm -rf "$@" "$calls" && cp -a saved/. .';
        await world.sh(clean, world.dir, `${world.plugins.dir}/calls.log`, ...ROOTS);
      }
      assertEquals({ failures, silent }, { failures: [], silent: [] });
    },
  );
}

/** Does what an administrator would do, and returns the whole output. */
async function use(world: SandboxWorld, what: string): Promise<string> {
  const said: string[] = [];
  const say = (msg: string, fields: unknown = {}) => void said.push(`${msg} ${JSON.stringify(fields)}`);
  const podwire = world.podwire({ log: { debug: say, info: say, warn: say, error: say } });
  const { sandboxes } = podwire;
  const next = world.id("next");
  const acts: Readonly<Record<string, () => Promise<unknown>>> = {
    ps: () => sandboxes.list(),
    inspect: () => sandboxes.get("other"),
    attachments: () => podwire.attachments(),
    networks: () => podwire.networks(),
    status: () => podwire.status(),
    "gc --dry-run": () => podwire.gc({ dryRun: true }),
    recover: () => podwire.recover(),
    gc: () => podwire.gc(),
    run: () => sandboxes.run({ name: "next", id: next }),
    rm: () => sandboxes.remove(next, { force: true }),
  };
  for (const [command, act] of Object.entries(acts)) {
    try {
      said.push(JSON.stringify(await act()));
    } catch (cause) {
      throw new Error(`${what}: ${command}: ${cause instanceof CniError ? cause.message : cause}`, { cause });
    }
  }
  const other = await sandboxes.get("other");
  assertEquals({ what, state: other.state, ipsCount: other.ips.length }, {
    what,
    state: "ready",
    ipsCount: 2,
  });
  const torn = (await world.calls()).filter((call) => /^a DEL (other|victim) /.test(call));
  assertEquals(torn, [], what);
  return said.join("\n");
}
