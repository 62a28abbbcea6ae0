/**
 * Measures podwire, and prints the goals of its speed with what was measured: `./denow task bench`, which `--help` describes.
 * Nothing that is measured is kept.
 *
 * @module
 */
import { unmountBelow } from "../root/unmount.ts";
import { type Bench, measureRows, type Measures, selectRows } from "./bench.ts";
import { measureChain } from "./chain.ts";
import { chart } from "./chart.ts";
import { measureCri } from "./cri.ts";
import { measureDaemon } from "./daemon.ts";
import { measureEngine } from "./engine.ts";
import { type BenchOptions, HELP, OptionsError, parseOptions } from "./options.ts";
import { measureOriginals } from "./originals.ts";
import { Peer, PeerError } from "./peer.ts";
import { measurePods } from "./pods.ts";
import { measurePrograms } from "./programs.ts";
import { measureHundredThousand, measureTenThousand } from "./records.ts";
import { measureRepair } from "./repair.ts";
import { reportJson, reportTable } from "./report.ts";

const MEASURES: Measures = {
  pods: measurePods,
  engine: measureEngine,
  originals: measureOriginals,
  chain: measureChain,
  repair: measureRepair,
  programs: measurePrograms,
  daemon: measureDaemon,
  cri: measureCri,
  tenThousand: measureTenThousand,
  hundredThousand: measureHundredThousand,
};

/** Runs the bench. Returns the exit code: 1 if something could not be measured, whatever the figures are. */
async function main(options: BenchOptions): Promise<number> {
  const selected = selectRows(options.rows);
  if (selected.size === 0) throw new OptionsError("no row has a title that --rows matches");
  // What it makes there disappears with the machine.
  if (Deno.env.get("PODWIRE_TEST_MACHINE") !== "inside") {
    throw new OptionsError("it needs the machine of the tests: use ./denow task bench");
  }
  const program = Deno.env.get("PODWIRE_BENCH_OCICNI");
  await using peer = program ? Peer.start(program) : undefined;
  const disk = await Deno.makeTempDir({ prefix: "podwire-bench-" });
  const memory = await Deno.makeTempDir({ dir: "/run", prefix: "podwire-bench-" });
  try {
    const bench: Bench = { rounds: options.rounds, disk, memory, peer, say: (line) => console.error(line) };
    const rows = await measureRows(selected, MEASURES, bench);
    console.log(reportTable(rows));
    if (options.json !== undefined) await Deno.writeTextFile(options.json, reportJson(rows));
    if (options.svg !== undefined) await Deno.writeTextFile(options.svg, chart(rows));
    return rows.some(({ verdict }) => verdict === "failed") ? 1 : 0;
  } finally {
    for (const dir of [disk, memory]) {
      await unmountBelow(dir);
      await Deno.remove(dir, { recursive: true });
    }
  }
}

if (import.meta.main) {
  try {
    const options = parseOptions(Deno.args);
    if (options.help) console.log(HELP);
    else Deno.exitCode = await main(options);
  } catch (error) {
    if (!(error instanceof OptionsError || error instanceof PeerError)) throw error;
    console.error(error.message);
    Deno.exitCode = 2;
  }
}
