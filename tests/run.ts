// What `./denow task test [--strict] [--deno VERSION]... [FILTER...]` runs: fetch what the tests need,
// compile the binary, run the tests and the examples of the documentation. As root they run on a machine of
// their own (machine.sh), and a comparison before and after shows that this one is unchanged. With --deno
// they run under that Deno (a version, `newest` or `pinned`, as denow has it; several run one after another);
// under another than the pinned one, only those in which the library runs. A test that failed beside the
// others gets a second chance alone, unless --strict. The last line is `N passed, N failed` or `N passed, N
// failed, N skipped`.
import { fromFileUrl } from "@std/path";
import { LONGEST_TEST } from "./bounded.ts";
import { prepareComponents } from "./components.ts";
import { differences, takeFootprint } from "./footprint.ts";
import { grouped } from "./groups.ts";
import { allTests, libraryTests } from "./library_tests.ts";
import { ALL_COMPONENTS, missing } from "./root/need.ts";
import { afterSecondChance, failedLines, secondChances } from "./second_chance.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/**
 * Folders whose examples are run. They are pure; running the other examples would change this machine's
 * network.
 */
const RUN_EXAMPLES = ["lib/cni"];
/** The files that are only type-checked together with their examples. */
const CHECK_EXAMPLES = ["mod.ts", "plugin.ts", "cni.ts", "client.ts", "testing.ts", "lib"];

export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Deno has no limit for a test; without these, in minutes, a test that hangs would hang CI. */
const LONGEST_RUN = 55;
/**
 * For all runs and what they need, downloads included: CI ends by itself after 90, and then no line reports
 * the result.
 */
const LONGEST_TASK = 82;
/**
 * The share of it that is kept for each later run: none takes longer on a machine with nothing else to do.
 */
const KEPT_FOR_A_RUN = 35;
/** One more than there are cores: many tests wait, for a plugin that hangs or a container that ends. */
const JOBS = navigator.hardwareConcurrency + 1;
/** For one test, in minutes: none takes longer than two. */
const LONGEST_ONE = 10;
/** For tests that are named: a variable may ask for their long form. */
const LONGEST_NAMED_RUN = 180;

const TEST = ["test", "-q", "-P=test", "--no-prompt"];
/** The argument for no second chance. */
const STRICT = "--strict";
/** What `--deno` and DENOW_VERSION call the Deno that the project is built with. */
const PINNED = "pinned";

const say = (line: string) => console.error(`test: ${line}`);

/** How denow is run. */
interface DenowOptions {
  readonly env?: Record<string, string>;
  /** In minutes. */
  readonly longest?: number;
  /** Whether it runs on the machine of the tests. */
  readonly onMachine?: boolean;
}

/** Runs denow, passes its output on, and returns its standard output, without colours. */
async function denow(
  args: string[],
  { env = {}, longest = minutesFor(0), onMachine = false }: DenowOptions = {},
): Promise<{ code: number; text: string }> {
  const signal = AbortSignal.timeout(longest * 60_000);
  signal.addEventListener("abort", () => say(`stopped: it took longer than ${Math.round(longest)} minutes`));
  const line = [...(onMachine && isRoot() ? ["sh", `${ROOT}tests/machine.sh`] : []), `${ROOT}denow`, ...args];
  const child = new Deno.Command(line[0] ?? "", {
    args: line.slice(1),
    cwd: ROOT,
    env,
    signal,
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    for (let done = 0; done < chunk.length;) done += Deno.stdout.writeSync(chunk.subarray(done));
  }
  const { code } = await child.status;
  // deno-lint-ignore no-control-regex
  return { code, text: text.replace(/\x1b\[[0-9;]*m/g, "") };
}

/**
 * How many minutes a run may take that begins `gone` minutes after the task did, when so many runs come after
 * it.
 */
export function minutesFor(later: number, gone: number = performance.now() / 60_000): number {
  return Math.max(0, Math.min(LONGEST_RUN, LONGEST_TASK - gone - later * KEPT_FOR_A_RUN));
}

/** Only root can make a machine, and only root's tests change the one that they run on. */
function isRoot(): boolean {
  return missing(["root"]).length === 0;
}

/** Reads Deno's closing line, such as `FAILED | 3 passed (2 steps) | 1 failed | 2 ignored (5ms)`. */
export function countTests(text: string, code: number): Outcome {
  const lines = [...text.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*$/gm)];
  const line = lines.at(-1)?.[0] ?? "";
  const number = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(line)?.[1] ?? 0);
  const failed = number("failed");
  // A failure without a failed test is a type error, a leak or a crash; it counts all the same.
  return {
    passed: number("passed"),
    failed: code === 0 ? failed : Math.max(failed, 1),
    skipped: number("ignored"),
  };
}

/** The last line and the exit code. Nothing passed is a failure: then nothing was tested. */
export function closing(outcomes: readonly Outcome[]): { line: string; code: number } {
  const sum = (key: keyof Outcome) => outcomes.reduce((total, outcome) => total + outcome[key], 0);
  const [passed, failed, skipped] = [sum("passed"), sum("failed"), sum("skipped")];
  const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  return { line, code: failed > 0 || passed === 0 ? 1 : 0 };
}

/** The arguments of a run. */
export interface RunArguments {
  /** The Deno of each run, as denow takes it. */
  readonly versions: readonly string[];
  readonly strict: boolean;
  /** The arguments for Deno: its flags, and the files or folders of the tests. */
  readonly rest: readonly string[];
}

/** Reads `--deno VERSION`, `--deno=VERSION` and `--strict`, wherever they stand. */
export function readArguments(args: readonly string[]): RunArguments {
  const versions: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const [, inline] = /^--deno(?:=(.*))?$/s.exec(args[i] ?? "") ?? [undefined, null];
    if (inline === null) rest.push(args[i] ?? "");
    else {
      const version = inline ?? args[++i];
      if (version === undefined || version === "") {
        throw new TypeError("--deno needs a version, such as newest");
      }
      versions.push(version);
    }
  }
  return {
    versions: versions.length > 0 ? versions : [PINNED],
    strict: rest.includes(STRICT),
    rest: rest.filter((argument) => argument !== STRICT),
  };
}

/**
 * Runs the tests under one Deno, after which as many other runs come as `later` says. Failures come as lines
 * for the end: a reader of a long log reads its last lines.
 */
async function runTests(
  { strict, rest }: RunArguments,
  version: string,
  later: number,
): Promise<Outcome & { readonly lines: readonly string[] }> {
  const isNamed = rest.some((argument) => !argument.startsWith("-"));
  const all = () => version === PINNED ? allTests() : libraryTests();
  const wanted = [...rest, ...(isNamed ? [] : await grouped(await all(), version))];
  const longest = () => isNamed ? LONGEST_NAMED_RUN : minutesFor(later);
  const own = { DENOW_VERSION: version, ...(isNamed ? {} : { [LONGEST_TEST]: `${LONGEST_ONE}` }) };
  const env = { ...own, DENO_JOBS: Deno.env.get("DENO_JOBS") ?? `${JOBS}` };
  const options = () => ({ longest: longest(), onMachine: true });
  const { code, text } = await denow([...TEST, "--parallel", ...wanted], { ...options(), env });
  const outcome = countTests(text, code);
  const failures = strict ? [] : secondChances(text, outcome);
  const marked = (word: string, found: readonly string[]) =>
    found.map((line) => `${word}, Deno ${version}: ${line}`);
  if (failures.length === 0) return { ...outcome, lines: marked("FAILED", failedLines(text, outcome)) };
  const files = [...new Set(failures.flatMap((failure) => failure.files))];
  say(`once more, alone: ${files.join(", ")}`);
  const again = await denow([...TEST, ...files], { ...options(), env: own });
  const second = countTests(again.text, again.code);
  const lines = second.failed === 0
    ? marked("UNSTEADY, passed only alone", failures.map(({ name, place }) => `${name} (${place})`))
    : marked("FAILED, also alone", failedLines(again.text, second));
  return { ...afterSecondChance(outcome, second), lines };
}

async function runExamples(version: string): Promise<Outcome> {
  const options = { env: { DENOW_VERSION: version }, onMachine: true };
  const checked = await denow(["check", "-q", "--doc", ...CHECK_EXAMPLES.filter(exists)], options);
  // No permission at all: an example of a pure folder that asks for one is wrong.
  const examples = [
    "test",
    "-q",
    "--doc",
    "--no-prompt",
    "--deny-run",
    "--permit-no-files",
    ...RUN_EXAMPLES.filter(exists),
  ];
  const { code, text } = await denow(examples, options);
  const ran = countTests(text, code);
  if (checked.code !== 0) say("the library and its examples do not type-check");
  return { ...ran, failed: ran.failed + (checked.code === 0 ? 0 : 1) };
}

async function compileBinary(): Promise<Outcome> {
  const none = { passed: 0, failed: 0, skipped: 0 };
  if (!exists("cli.ts")) return none;
  const args = ["run", "-q", "--no-prompt", "-P=test", ".ci/compile.ts", "--if-older"];
  const { code } = await denow(args, { env: { DENOW_VERSION: PINNED } });
  if (code === 0) return none;
  say("the binary cannot be compiled");
  return { ...none, failed: 1 };
}

function exists(path: string): boolean {
  try {
    Deno.statSync(`${ROOT}${path}`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Installs a Deno and what the tests import: there is no network where they run. */
async function prepareDeno(version: string): Promise<Outcome> {
  const modules = ["tests/run.ts", "tests/library_tests.ts", "tests/machine_test.ts", "lib/cri/serve_cri.ts"];
  const { code } = await denow(["cache", "-q", ...modules], { env: { DENOW_VERSION: version } });
  if (code !== 0) say(`the tests cannot run under Deno "${version}"`);
  return { passed: 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/**
 * Runs what may not change this machine, and compares. In CI a change is a failure; elsewhere others may work
 * at the same time, so that it is only shown.
 */
async function comparing(body: () => Promise<Outcome[]>): Promise<Outcome[]> {
  if (!isRoot()) return await body();
  const before = await takeFootprint(ROOT);
  const outcomes = await body();
  const changes = differences(before, await takeFootprint(ROOT));
  if (changes.length === 0) {
    say(
      "this machine is as it was: packages, files, links, rules, sysctls, mounts, control groups and processes",
    );
    return outcomes;
  }
  say(`this machine has changed since the tests began:\n  ${changes.join("\n  ")}`);
  const isFailure = Deno.env.get("CI") === "true";
  return [...outcomes, { passed: 0, failed: isFailure ? 1 : 0, skipped: 0 }];
}

async function main(args: string[]): Promise<number> {
  const wanted = readArguments(args);
  const last: string[] = [];
  const outcomes = await comparing(async () => {
    for (const problem of await prepareComponents(say)) say(problem);
    const outcomes = [await compileBinary()];
    for (const version of wanted.versions) outcomes.push(await prepareDeno(version));
    const lacking = missing(ALL_COMPONENTS);
    if (lacking.length > 0) say(`missing here: ${lacking.join(", ")}; the tests that need it are skipped`);
    for (const [index, version] of wanted.versions.entries()) {
      if (version !== PINNED) say(`under Deno "${version}":`);
      const outcome = await runTests(wanted, version, wanted.versions.length - index - 1);
      outcomes.push(outcome);
      last.push(...outcome.lines);
      if (wanted.rest.length === 0) outcomes.push(await runExamples(version));
    }
    return outcomes;
  });

  last.forEach(say);
  const { line, code } = closing(outcomes);
  console.log(line);
  return code;
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args));
