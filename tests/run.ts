// What `./denow task test [--strict] [FILTER...]` runs: fetch what the tests need, compile the binary, run the tests and
// the examples of the documentation. A test that failed beside the others gets a second chance alone, unless --strict. The last line is `N passed, N failed` or `N passed, N failed, N skipped`.
import { fromFileUrl } from "@std/path";
import { prepareComponents } from "./components.ts";
import { ALL_COMPONENTS, missing } from "./root/need.ts";
import { afterSecondChance, secondChances } from "./second_chance.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

/** Folders whose examples are run. They are pure; running the other examples would change this machine's network. */
const RUN_EXAMPLES = ["lib/spec"];
/** What is only type-checked together with its examples. */
const CHECK_EXAMPLES = ["mod.ts", "lib"];

export interface Outcome {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Deno knows no limit for a test; without this one, in minutes, a test that hangs would hang CI. */
const LONGEST_RUN = 45;
/** Of tests that are named: they may be told to take long. */
const LONGEST_NAMED_RUN = 180;

const TEST = ["test", "-q", "-P=test", "--no-prompt"];
/** The argument for no second chance. */
const STRICT = "--strict";

const say = (line: string) => console.error(`test: ${line}`);

/** Runs denow, passes its output on, and returns what it said on stdout, without colours. */
async function denow(
  args: string[],
  env: Record<string, string> = {},
  longest = LONGEST_RUN,
): Promise<{ code: number; text: string }> {
  const signal = AbortSignal.timeout(longest * 60_000);
  signal.addEventListener("abort", () => say(`stopped: it took longer than ${longest} minutes`));
  const child = new Deno.Command(`${ROOT}denow`, {
    args,
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

/** Reads Deno's closing line, such as `FAILED | 3 passed (2 steps) | 1 failed | 2 ignored (5ms)`. */
export function countTests(text: string, code: number): Outcome {
  const lines = [...text.matchAll(/^(?:ok|FAILED) \| (\d+) passed.*$/gm)];
  const line = lines.at(-1)?.[0] ?? "";
  const number = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(line)?.[1] ?? 0);
  const failed = number("failed");
  // Failing without a failed test is a type error, a leak or a crash; it counts as a failure all the same.
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

async function runTests(args: string[]): Promise<Outcome> {
  const isNamed = args.some((argument) => !argument.startsWith("-"));
  const strict = args.includes(STRICT);
  const wanted = [...args.filter((argument) => argument !== STRICT), ...(isNamed ? [] : ["tests/"])];
  const longest = isNamed ? LONGEST_NAMED_RUN : LONGEST_RUN;
  const env = { DENO_JOBS: Deno.env.get("DENO_JOBS") ?? "2" };
  const { code, text } = await denow([...TEST, "--parallel", ...wanted], env, longest);
  const outcome = countTests(text, code);
  const failures = strict ? [] : secondChances(text, outcome);
  if (failures.length === 0) return outcome;
  const files = [...new Set(failures.map(({ file }) => file))];
  say(`once more, alone: ${files.join(", ")}`);
  const again = await denow([...TEST, ...files], {}, longest);
  const second = countTests(again.text, again.code);
  if (second.failed === 0) {
    for (const { name, file } of failures) say(`UNSTEADY, passed only alone: ${name} (${file})`);
  }
  return afterSecondChance(outcome, second);
}

async function runExamples(): Promise<Outcome> {
  const checked = await denow(["check", "-q", "--doc", ...CHECK_EXAMPLES.filter(exists)]);
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
  const { code, text } = await denow(examples);
  const ran = countTests(text, code);
  if (checked.code !== 0) say("the library and its examples do not type-check");
  return { ...ran, failed: ran.failed + (checked.code === 0 ? 0 : 1) };
}

async function compileBinary(): Promise<Outcome> {
  const none = { passed: 0, failed: 0, skipped: 0 };
  if (!exists("cli.ts")) return none;
  const { code } = await denow(["run", "-q", "--no-prompt", "-P=test", ".ci/compile.ts", "--if-older"]);
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

async function main(args: string[]): Promise<number> {
  for (const problem of await prepareComponents(say)) say(problem);
  const outcomes = [await compileBinary()];
  const lacking = missing(ALL_COMPONENTS);
  if (lacking.length > 0) say(`missing here: ${lacking.join(", ")}; the tests that need it are skipped`);

  outcomes.push(await runTests(args));
  if (args.every((argument) => argument === STRICT)) outcomes.push(await runExamples());

  const { line, code } = closing(outcomes);
  console.log(line);
  return code;
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args));
