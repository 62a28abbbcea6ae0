// Two processes want the same port of the host at the same moment, many times.
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { NetworkWorld, resultWith } from "../attachment/world.ts";

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));
const PROGRAM = fromFileUrl(new URL("port_process.ts", import.meta.url));
const ROUNDS = 50;

/** A process that runs the given calls, one after another. */
class Worker implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor(options: Record<string, unknown>) {
    const args = ["run", "-q", "-A", PROGRAM, JSON.stringify(options)];
    this.#child = new Deno.Command(DENOW, { args, stdin: "piped", stdout: "piped", stderr: "inherit" })
      .spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  async call(verb: "add" | "del", request: Record<string, unknown>): Promise<string> {
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify([verb, request])}\n`));
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return line;
      }
      const { value, done } = await this.#output.read();
      if (done) throw new Error("the process has ended");
      this.#rest += value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {});
    await this.#output.cancel();
    await this.#child.status;
  }
}

/** The addresses that two pods request: never can both have theirs. */
const CONFLICTS = [
  ["", ""],
  ["", "127.0.0.1"],
  ["0.0.0.0", "::ffff:10.0.0.1"],
  ["::", "::1"],
  ["fd00::1", "FD00:0::1"],
] as const;

const requestOf = (world: NetworkWorld, containerId: string, hostIP: string) => ({
  ...world.request({ containerId }),
  capabilityArgs: { portMappings: [{ hostPort: 9090 }, { hostPort: 8080, containerPort: 80, hostIP }] },
});

Deno.test("F67 if two processes want a port at once, one gets it, and no plugin of the other runs: 50 rounds", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  // Each pod uses the namespace of this process; the plugin does not look into it.
  const plugins = [{ type: "a", capabilities: { portMappings: true }, podwireExistingLink: true }];
  const file = JSON.stringify({ cniVersion: "1.1.0", name: "web", plugins });
  await Deno.writeTextFile(`${world.confDir}/web.conflist`, file);
  const { stateDir, cacheDir, confDir } = world;
  const options = {
    stateDir,
    cacheDir,
    confDir,
    runDir: `${world.dir}/run`,
    pluginDirs: [world.plugins.dir],
    environment: { CNI_NETNS_OVERRIDE: "1" },
  };
  await using one = new Worker(options);
  await using other = new Worker(options);
  for (let round = 0; round < ROUNDS; round++) {
    const wishes = CONFLICTS[round % CONFLICTS.length] ?? CONFLICTS[0];
    const requests = wishes.map((hostIP, index) => requestOf(world, `r${round}-${index}`, hostIP));
    const workers = [one, other];
    const answers = await Promise.all(workers.map((worker, index) => worker.call("add", requests[index]!)));
    const winner = answers.indexOf("done");
    const loser = 1 - winner;
    assertEquals(answers[winner], "done", `round ${round}: ${answers}`);
    assertMatch(
      answers[loser] ?? "",
      new RegExp(`^conflict the host port .* by container "r${round}-${winner}" `),
    );
    assertEquals((await world.plugins.log()).slice(2 * round), [`a ADD r${round}-${winner} eth0`]);
    assertEquals(await world.files(), [
      `r${round}-${winner}/eth0@web`,
      `results/web-r${round}-${winner}-eth0`,
    ]);
    // The process that did not attach detaches: the claims of another process are released as well.
    assertEquals(await workers[loser]?.call("del", requests[winner]!), "done");
    assertEquals(await Array.fromAsync(Deno.readDir(`${stateDir}/ports`)), []);
  }
  assertEquals({ files: await world.files(), bad: world.bad }, { files: [], bad: [] });
});
