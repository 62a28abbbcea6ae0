// One-shot programs: the binary against an empty program that is compiled in the same way.
import { createNetns } from "../../lib/host/netns.ts";
import { PODWIRE_BINARY } from "../root/need.ts";
import type { Bench, Measure } from "./bench.ts";
import { emptyProgram } from "./empty_program.ts";
import { inTurn, type Way } from "./in_turn.ts";
import { bareStart, startThroughSetsid } from "./least.ts";
import { median, medianRatio } from "./median.ts";
import { NETWORK, nothingDir, Site } from "./site.ts";

/** A program that is only started. */
export function startWay(program: string, args: readonly string[]): Way {
  return { up: () => bareStart(program, args), down: () => Promise.resolve() };
}

/** Measures the rows of one-shot programs. */
export const measurePrograms: Measure<"programs"> = async (bench, wanted) => {
  const empty = startWay(await emptyProgram(), []);
  const turns = { rounds: bench.rounds, atOnce: 1 };
  const figures: Awaited<ReturnType<typeof measurePrograms>> = {};
  if (wanted.has("version")) {
    const { version, least } = await inTurn({
      version: startWay(PODWIRE_BINARY, ["--version"]),
      least: empty,
    }, turns);
    figures.version = medianRatio(version.up, least.up);
  }
  if (wanted.has("add")) {
    const { add, least, plugin } = await inTurn({ ...await addWays(bench), least: empty }, turns);
    const rest = add.up.map((ms, round) => ms - (least.up[round] ?? NaN) - (plugin.up[round] ?? NaN));
    figures.add = median(rest);
  }
  return figures;
};

async function addWays(bench: Bench): Promise<{ readonly add: Way; readonly plugin: Way }> {
  const dir = await nothingDir(bench);
  const site = await Site.make(bench, { plugins: () => [{ type: "nothing" }], pluginDirs: [dir] });
  const netns = `${site.netnsDir}/add`;
  await createNetns(netns);
  const of = (verb: string) => async (pod: string) => {
    await bareStart(PODWIRE_BINARY, [...site.flags, verb, NETWORK, netns, "--id", pod]);
  };
  return {
    add: { up: of("add"), down: of("del") },
    plugin: {
      up: () => startThroughSetsid(`${dir}/nothing`, { stdin: "{}" }),
      down: () => Promise.resolve(),
    },
  };
}
