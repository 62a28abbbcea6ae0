// Locks that other processes hold: an unprivileged neighbour, and podwire processes that are stopped.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { until } from "../until.ts";
import { binaryTest, SYSTEM_PATH } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";

/** A process that holds the lock of a file; the program that it runs holds no other. */
class Holder implements AsyncDisposable {
  private constructor(readonly child: Deno.ChildProcess) {}

  static async of(path: string, { user }: { user?: number } = {}): Promise<Holder> {
    const flock = ["flock", "--no-fork", "-x", path, "sh", "-c", "echo held; exec sleep 1000"];
    const [program = "", ...args] = user === undefined
      ? flock
      : ["setpriv", `--reuid=${user}`, "--clear-groups", ...flock];
    const child = new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "inherit" })
      .spawn();
    const reader = child.stdout.getReader();
    assertEquals(new TextDecoder().decode((await reader.read()).value), "held\n");
    await reader.cancel();
    return new Holder(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGKILL");
    await this.child.status;
  }
}

const SHORT = { lockTimeoutMs: 1_500 };

/** The locks that a run takes, and how messages name each. */
const LOCKS: readonly (readonly [string, string, RegExp])[] = [
  ["the container", "containers/ID.lock", /the lock of container "held-/],
  ["the names", "names.lock", /the lock of the names of sandboxes/],
  ["the ports", "ports.lock", /the lock of the ports of the host/],
  ["the boot", "boot.lock", /the clean-up after another boot/],
  ["the network", "gc/a.lock", /the plugins of network "a" to clean up/],
];

for (const [whose, file, words] of LOCKS) {
  sandboxTest(
    `D80 F52 a stopped process that holds the lock of ${whose} is named, and the wait for it is bounded`,
    async (world) => {
      await portNetwork(world);
      const id = world.id("held");
      const path = `${world.runDir}/${file.replace("ID", id)}`;
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
      await using holder = await Holder.of(path);
      holder.child.kill("SIGSTOP");
      const request = {
        id,
        publish: [{ hostIP: "", hostPort: 38_080, containerPort: 80, protocol: "tcp" as const }],
      };
      const run = world.podwire(SHORT).sandboxes.run(request);
      const error = await assertRejects(() => run, CniError) as CniError;
      assertEquals(error.kind, "timeout", error.message);
      assertMatch(error.message, words);
      const named = new RegExp(`process ${holder.child.pid} \\(.*sleep 1000\\), which is stopped`);
      assertMatch(error.message, named);
      const said = world.log.all.filter((line) => line.startsWith("warn still waiting for"));
      assert(said.some((line) => words.test(line) && named.test(line)), said.join("\n"));
    },
  );
}

sandboxTest("F52 a wait for a lock ends at once with its signal", async (world) => {
  await world.network("a");
  const id = world.id("held");
  await Deno.mkdir(`${world.runDir}/containers`, { recursive: true });
  await using _holder = await Holder.of(`${world.runDir}/containers/${id}.lock`);
  const stop = new AbortController();
  const run = world.podwire().sandboxes.run({ id }, { signal: stop.signal });
  await until(() => world.log.all.some((line) => line.includes("still waiting for")));
  stop.abort(new CniError("cancelled", "enough"));
  assertEquals((await assertRejects(() => run, CniError) as CniError).msg, "enough");
});

sandboxTest(
  "an unprivileged user who holds the lock of the directory of namespaces blocks no sandbox",
  async (world) => {
    await world.network("a");
    await Deno.chmod(world.dir, 0o755);
    await Deno.mkdir(world.netnsDir, { mode: 0o755 });
    await using _first = await Holder.of(world.netnsDir, { user: 65_534 });
    // Not a mount point yet: the wait for it is bounded, then the run goes on without it.
    await world.podwire().sandboxes.run({ id: world.id("one") });
    // From now on no wait is needed: the lock is not taken.
    await world.podwire().sandboxes.run({ id: world.id("two") });
    assertEquals(await world.namespaces(), ["podwire-one", "podwire-two"]);
    await world.podwire().sandboxes.remove(world.id("one"));
    await world.podwire().sandboxes.remove(world.id("two"));
    assertEquals(await world.left(), []);
  },
);

/** What each command waits for, and the file that is held. */
const COMMANDS: readonly (readonly [readonly string[], string])[] = [
  [["run", "--id", "ID"], "containers/ID.lock"],
  [["stop", "ID"], "containers/ID.lock"],
  [["rm", "-f", "ID"], "containers/ID.lock"],
  [["add", "NETWORK", "NETNS", "--id", "ID"], "containers/ID.lock"],
  [["del", "NETWORK", "NETNS", "--id", "ID"], "containers/ID.lock"],
  [["check", "NETWORK", "NETNS", "--id", "ID"], "containers/ID.lock"],
  [["run", "--id", "other-ID"], "names.lock"],
  [["add", "NETWORK", "NETNS", "--id", "other-ID", "--ifname", "eth1"], "gc/NETWORK.lock"],
  [["gc", "NETWORK"], "gc/NETWORK.lock"],
  [["recover"], "names.lock"],
];

binaryTest("F52 SIGTERM ends each command that waits for a lock", [], async (world) => {
  await world.list([world.bridgePlugin()], { cniVersion: "1.1.0" });
  const id = world.id("held");
  const { netns } = await world.json(["run", "--id", id]);
  try {
    const words: Readonly<Record<string, string>> = { ID: id, NETWORK: world.network, NETNS: netns };
    const filled = (text: string) => text.replace(/ID|NETWORK|NETNS/g, (word) => words[word] ?? word);
    for (const [args, file] of COMMANDS) {
      const path = `${world.stateDir}/run/${filled(file)}`;
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o700 });
      await using _holder = await Holder.of(path);
      const child = new Deno.Command(PODWIRE_BINARY, {
        args: [...world.dirs, ...args.map(filled)],
        env: { PATH: SYSTEM_PATH },
        clearEnv: true,
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      }).spawn();
      const said = await readUntil(child.stderr, "still waiting for");
      child.kill("SIGTERM");
      const { code } = await child.status;
      assert(said.includes("still waiting for"), `${args.join(" ")}: it ended with ${code}: ${said}`);
      assert([130, 143].includes(code), `${args.join(" ")}: ${code}`);
    }
  } finally {
    await world.podwire(["rm", "-f", id]);
  }
});

/** The output until it holds this, or its end. */
async function readUntil(stream: ReadableStream<Uint8Array>, wanted: string): Promise<string> {
  let text = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  while (!text.includes(wanted)) {
    const { done, value } = await reader.read();
    if (done) break;
    text += value;
  }
  await reader.cancel();
  return text;
}

/** A network whose plugin publishes ports. */
async function portNetwork(world: SandboxWorld): Promise<void> {
  await world.network("a");
  const plugins = [{ type: "a", capabilities: { portMappings: true } }];
  const list = { cniVersion: "1.1.0", name: "a", plugins };
  await Deno.writeTextFile(`${world.confDir}/a.conflist`, JSON.stringify(list));
}
