// `./denow task fuzz [SECONDS]` runs this: for that time, random documents made of those in tests/testdata/fuzz, then
// large documents, for the time that they need. The last line is `N cases in N s, N findings`.
import process from "node:process";
import { type Random, randomOf, SEED_VARIABLE, seedFromEnvironment } from "./cni/random.ts";
import { mutate } from "./fuzz/mutation.ts";
import { SHAPES } from "./fuzz/shapes.ts";
import { checkPrototypes, type DocumentKind, exercise, type Tally } from "./fuzz/target.ts";

const CORPUS = new URL("./testdata/fuzz/", import.meta.url);
const DEFAULT_SECONDS = 60;

/** The longest time of a case, and of each of its characters. */
const ALLOWED_MS = 250;
const ALLOWED_MS_PER_CHARACTER = 0.02;

/** Four times the size: linear time is 4 times as long, quadratic time 16 times. */
const SIZES = [256 * 1024, 1024 * 1024] as const;
const ALLOWED_RATIO = 11;
const MEASUREMENTS = 3;
/** Enough for conversions within a family and between families; large documents need not use all 42 pairs. */
const FEW_VERSIONS = ["0.2.0", "1.1.0"] as const;

/** Accepted documents are kept and changed further, up to this number of each kind and up to this length. */
const MOST_KEPT = 400;
const LONGEST_KEPT = 6_000;

/** A violation. */
export interface Finding {
  readonly what: string;
  readonly text: string;
}

/** Result of a run. */
export interface Report extends Tally {
  cases: number;
  readonly findings: Finding[];
}

const KINDS: readonly (readonly [ending: string, kind: DocumentKind])[] = [
  [".conflist", "config"],
  [".conf", "config"],
  [".result.json", "result"],
  [".error.json", "error"],
];

/** The hand-made documents of a kind. */
export async function readCorpus(): Promise<ReadonlyMap<DocumentKind, string[]>> {
  const corpus = new Map<DocumentKind, string[]>();
  for (const name of [...Deno.readDirSync(CORPUS)].map(({ name }) => name).sort()) {
    const kind = KINDS.find(([ending]) => name.endsWith(ending))?.[1];
    if (kind === undefined) throw new Error(`tests/testdata/fuzz/${name} has no known ending`);
    corpus.set(kind, [...corpus.get(kind) ?? [], await Deno.readTextFile(new URL(name, CORPUS))]);
  }
  return corpus;
}

/** Runs cases, beginning with a seed, until the time is over. */
export async function fuzz(seed: number, milliseconds: number): Promise<Report> {
  const pools = [...await readCorpus()];
  const report: Report = { cases: 0, values: 0, errors: 0, findings: [] };
  for (const [kind, pool] of pools) for (const text of pool) runCase(kind, text, "the corpus", report);
  const end = performance.now() + milliseconds;
  const originals = pools.map(([, pool]) => pool.length);
  for (let at = seed; performance.now() < end && report.findings.length < 20; at++) {
    const random = randomOf(at);
    const chosen = random.below(pools.length);
    const [kind, pool] = pools[chosen]!;
    const text = mutate(random.one(pool), random.one(random.one(pools)[1]), random);
    const errors = report.errors;
    runCase(kind, text, `seed ${at}`, report);
    if (report.errors - errors < 3) keep(pool, text, originals[chosen]!, random);
    // The kept documents depend on earlier cases, so a case is repeated from its text, not from its seed
    // alone.
    if (report.cases % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return report;
}

function keep(pool: string[], text: string, originals: number, random: Random): void {
  if (text.length > LONGEST_KEPT) return;
  if (pool.length < MOST_KEPT) pool.push(text);
  else pool[originals + random.below(MOST_KEPT - originals)] = text;
}

function runCase(kind: DocumentKind, text: string, origin: string, report: Report): void {
  report.cases++;
  const find = (what: string) => report.findings.push({ what: `${kind}, ${origin}: ${what}`, text });
  const allowed = ALLOWED_MS + ALLOWED_MS_PER_CHARACTER * text.length;
  const start = performance.now();
  try {
    exercise(kind, text, report);
    checkPrototypes();
  } catch (error) {
    find(error instanceof Error ? error.stack ?? error.message : String(error));
    return;
  }
  if (performance.now() - start <= allowed) return;
  // Another process may have used the processor.
  const milliseconds = fastest(kind, text);
  if (milliseconds > allowed) {
    find(`it took ${milliseconds.toFixed(0)} ms, allowed are ${allowed.toFixed(0)} ms`);
  }
}

/** Returns the shortest of several measurements, in wall-clock or processor time: the least disturbed one. */
function fastest(kind: DocumentKind, text: string, times = MEASUREMENTS): number {
  let best = Infinity;
  for (let time = 0; time < times; time++) {
    const [start, busy] = [performance.now(), process.cpuUsage()];
    exercise(kind, text, { values: 0, errors: 0 }, FEW_VERSIONS);
    const { user, system } = process.cpuUsage(busy);
    best = Math.min(best, performance.now() - start, (user + system) / 1000);
  }
  return best;
}

/**
 * Reads every large shape in both sizes, and reports those whose time grows faster than their size.
 */
export function measureShapes(report: Report, onShape: (line: string) => void = () => {}): void {
  for (const { name, kind, make } of SHAPES) {
    const [small, large] = SIZES.map(make) as [string, string];
    let [short, long] = [0, Infinity];
    try {
      for (let round = 0; round < 3 && long > ALLOWED_RATIO * Math.max(short, 5); round++) {
        [short, long] = [fastest(kind, small), Math.min(long, fastest(kind, large, 1))];
      }
    } catch (error) {
      report.findings.push({ what: `${name}: ${error}`, text: large.slice(0, 200) });
      continue;
    }
    report.cases++;
    const ratio = `${(long / Math.max(short, 0.1)).toFixed(1)} times`;
    onShape(`${name}: ${short.toFixed(0)} ms, 1 MiB: ${long.toFixed(0)} ms, ${ratio}`);
    // A time of a few milliseconds is not accurate enough.
    if (long > ALLOWED_RATIO * Math.max(short, 5)) {
      report.findings.push({
        what: `${name}: 4 times the size took ${ratio} the time`,
        text: large.slice(0, 200),
      });
    }
  }
}

async function main(args: readonly string[]): Promise<number> {
  const seconds = Number(args[0] ?? DEFAULT_SECONDS);
  if (args.length > 1 || !(seconds > 0)) {
    console.error(`fuzz: usage: fuzz [SECONDS], not ${args.join(" ")}`);
    return 2;
  }
  const seed = seedFromEnvironment() ?? Date.now() % 1_000_000_000;
  console.error(`fuzz: ${SEED_VARIABLE}=${seed}`);
  const start = performance.now();
  const report = await fuzz(seed, 1000 * seconds);
  console.error(
    `fuzz: ${report.cases} cases: ${report.values} values, ${report.errors} errors; now the large ones`,
  );
  measureShapes(report, (line) => console.error(`fuzz: ${line}`));
  for (const { what, text } of report.findings) console.log(`${what}\n${JSON.stringify(text)}\n`);
  const elapsed = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`${report.cases} cases in ${elapsed} s, ${report.findings.length} findings`);
  return report.findings.length === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args));
