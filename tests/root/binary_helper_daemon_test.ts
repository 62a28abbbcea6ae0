// What recovery ends, and what it must not end: a daemon that a plugin starts serves the whole network,
// whichever container started it.
import { assert, assertEquals } from "@std/assert";
import { CALL_VARIABLE } from "../../lib/host/running_programs.ts";
import { findByEnvironment, isAlive, killAll } from "../processes.ts";
import { until } from "../until.ts";
import { binaryTest, type BinaryWorld } from "./binary_world.ts";

/**
 * The first ADD starts a daemon for all containers. While the file `hang` exists, verbs have a child and
 * never answer.
 */
const plugin = (dir: string) =>
  `#!/bin/sh
cat >/dev/null
if [ "$CNI_COMMAND" = ADD ] && [ ! -e ${dir}/daemon ]; then
  (setsid sh -c 'echo $$ >${dir}/daemon; exec sleep 600' >/dev/null 2>&1 </dev/null &)
  until [ -s ${dir}/daemon ]; do sleep 0.02; done
fi
if [ -e ${dir}/hang ]; then
  setsid sh -c 'trap "" TERM; echo $$ >${dir}/child; while :; do sleep 1; done' &
  wait
fi
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0"}'
`;

async function pidOf(path: string): Promise<number> {
  let text = "";
  await until(async () => (text = await Deno.readTextFile(path).catch(() => "")).endsWith("\n"));
  return Number(text);
}

/** Lets a verb hang, kills its podwire process, and returns the hanging child. */
async function killedIn(world: BinaryWorld, args: readonly string[]): Promise<number> {
  await Deno.writeTextFile(`${world.dir}/hang`, "");
  await Deno.remove(`${world.dir}/child`).catch(() => {});
  const child = world.start(args);
  const pid = await pidOf(`${world.dir}/child`);
  child.kill("SIGKILL");
  await child.output();
  await Deno.remove(`${world.dir}/hang`);
  return pid;
}

binaryTest(
  "a network's daemon that the first container's plugin has started outlives rm, gc, timeouts and recovery, and so does another user's copy of it",
  [],
  async (world) => {
    const { dir } = world;
    const [first, second] = [world.id("first"), world.id("second")];
    await world.plugin("serves", plugin(dir));
    await world.list([{ type: "serves" }]);
    await world.done(["run", "first", "--id", first]);
    const daemon = await pidOf(`${dir}/daemon`);
    const environment =
      (await new Deno.Command("cat", { args: [`/proc/${daemon}/environ`] }).output()).stdout;
    const env = Object.fromEntries(
      new TextDecoder().decode(environment).split("\0").filter((entry) => entry.includes("="))
        .map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
    );
    assertEquals({ CNI_CONTAINERID: env.CNI_CONTAINERID, envCount: env[CALL_VARIABLE]?.length }, {
      CNI_CONTAINERID: first,
      envCount: 36,
    });
    const copy = new Deno.Command("sleep", {
      args: ["600"],
      env,
      clearEnv: true,
      uid: 65534,
      gid: 65534,
      cwd: "/",
    });
    const restarted = copy.spawn();
    try {
      // The first container: DEL is killed, then ended by its timeout, then finished.
      const deaf = await killedIn(world, ["rm", "first"]);
      assert(await isAlive(deaf));
      const started = performance.now();
      assertEquals((await world.json(["recover"])).failed, []);
      assert(performance.now() - started < 25_000, "nothing waited for the copy");
      assertEquals([await isAlive(deaf), await isAlive(daemon), await isAlive(restarted.pid)], [
        false,
        true,
        true,
      ]);
      // The second container: ADD is killed, and the next run undoes it.
      const other = await killedIn(world, ["run", "second", "--id", second]);
      await world.done(["run", "second", "--id", world.id("third")]);
      assertEquals([await isAlive(other), await isAlive(daemon)], [false, true]);
      // An ADD that is ended by its timeout.
      await Deno.writeTextFile(`${dir}/hang`, "");
      await Deno.remove(`${dir}/child`);
      const args = ["run", "slow", "--id", world.id("slow"), "--timeout", "ADD=2s", "--timeout", "DEL=1s"];
      assertEquals((await world.podwire(args)).code, 5);
      await Deno.remove(`${dir}/hang`);
      assertEquals(await isAlive(await pidOf(`${dir}/child`)), false);
      await world.done(["rm", "second"]);
      await world.done(["rm", "-f", "first"]);
      await world.json(["gc", "--all"]);
      await world.json(["recover"]);
      assertEquals([await isAlive(daemon), await isAlive(restarted.pid)], [true, true]);
    } finally {
      restarted.kill("SIGKILL");
      await restarted.status;
      // The daemon starts one `sleep` after another.
      await killAll([daemon]);
      await killAll(await findByEnvironment(`CNI_CONTAINERID=${first}`));
    }
    assertEquals(await world.traces(), []);
  },
);
