// Compares `dist/podwire --version` with an empty program that is compiled in the same way; both alternate in
// the same minutes. A plugin call is a process start, so every pod pays for what podwire adds to it.
import { fromFileUrl } from "@std/path";
import { compile } from "../../.ci/compile.ts";
import { quantile } from "./quantile.ts";

const ROUNDS = 41;
const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const BINARY = `${ROOT}dist/podwire`;
const EMPTY = `${ROOT}dist/bench/empty`;

async function elapsed(program: string): Promise<number> {
  const start = performance.now();
  const { success } = await new Deno.Command(program, { args: ["--version"], stdout: "null" }).output();
  if (!success) throw new Error(`Cannot measure "${program}": it failed`);
  return performance.now() - start;
}

async function main(): Promise<void> {
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const source = `${ROOT}dist/bench/empty.ts`;
  await Deno.mkdir(`${ROOT}dist/bench`, { recursive: true });
  await Deno.writeTextFile(source, "export {};\n");
  await compile(source, EMPTY, config.permissions.podwire);

  const times = { podwire: [] as number[], empty: [] as number[] };
  // The first round fills the page cache.
  await elapsed(EMPTY);
  await elapsed(BINARY);
  for (let round = 0; round < ROUNDS; round++) {
    // Each runs first in every other round, so that neither profits from the order.
    for (const name of round % 2 === 0 ? ["podwire", "empty"] as const : ["empty", "podwire"] as const) {
      times[name].push(await elapsed(name === "empty" ? EMPTY : BINARY));
    }
  }

  for (const [name, values] of Object.entries(times)) {
    const [low, median, high] = [0.1, 0.5, 0.9].map((part) => quantile(values, part).toFixed(1));
    console.log(`${name.padEnd(8)} median ${median} ms (10 %: ${low}, 90 %: ${high}, ${ROUNDS} runs)`);
  }
  const ratio = quantile(times.podwire, 0.5) / quantile(times.empty, 0.5);
  console.log(`podwire --version / empty program: ${ratio.toFixed(2)}`);
}

if (import.meta.main) await main();
