// What `./denow task test:kernel [FILTER...]` runs: the tests that need links which not every kernel makes, under a kernel
// of Debian in an emulator, on the machine of the tests (machine.sh) there. Without arguments these are all that ask for
// such links (root/need_links.ts), each file on a machine of its own. It needs root and some 600 MB in .components/, and
// takes an hour or two. The last line is that of `./denow task test`.
import { fromFileUrl } from "@std/path";
import { prepareComponents } from "./components.ts";
import {
  type Emulator,
  emulator,
  type KernelFiles,
  kernelFiles,
  prepareKernel,
} from "./kernel_components.ts";
import { type KernelMachine, runKernelMachine } from "./kernel_machine.ts";
import { testsThatImport } from "./library_tests.ts";
import { BUSYBOX, missing } from "./root/need.ts";
import { UNDER_TEST_KERNEL } from "./root/need_links.ts";
import { closing, countTests, type Outcome } from "./run.ts";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
/** With it tests ask for links that not every kernel makes. */
const NEED_LINKS = "tests/root/need_links.ts";
/** Of a machine, in minutes: emulated, a test takes twenty times as long. */
const LONGEST = 45;
/** The variables that reach the tests. */
const PASSED_ON = /^(DENOW?_\w+|PODWIRE_TEST_\w+|CI|HOME|LANG|LC_\w+|TERM|NO_COLOR)$/;
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const say = (line: string) => console.error(`test:kernel: ${line}`);

/** The variables of the tests, out of this process's own. */
export function variablesForKernel(env: Readonly<Record<string, string>>): Record<string, string> {
  const passed = Object.entries(env).filter(([name]) => PASSED_ON.test(name));
  return { ...Object.fromEntries(passed), PATH, [UNDER_TEST_KERNEL]: "1" };
}

/** Why no test can run here; undefined if they can. */
async function problem(): Promise<string | undefined> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    return "it is a kernel for x86-64, and runs the programs of such a machine";
  }
  if (missing(["root"]).length > 0) return "only root may read all files of this machine";
  const problems = [...await prepareComponents(say), ...await prepareKernel(say)];
  problems.forEach(say);
  const lacking: string[] = missing(["busybox"]);
  if (kernelFiles() === undefined) lacking.push("the kernel");
  if (emulator() === undefined) lacking.push("qemu-system-x86_64");
  return lacking.length === 0 ? undefined : `${lacking.join(", ")} missing`;
}

/** Types and what the tests import: there is no network where they run, and they would take minutes to check. */
async function isChecked(tests: readonly string[]): Promise<boolean> {
  const args = ["check", "-q", ...tests];
  const child = new Deno.Command(`${ROOT}denow`, { args, cwd: ROOT, stdin: "null", stdout: "inherit" })
    .spawn();
  return (await child.status).success;
}

async function run(args: readonly string[], stopped: AbortSignal): Promise<number> {
  const reason = await problem();
  const [kernel, found] = [kernelFiles(), emulator()];
  if (reason !== undefined || kernel === undefined || found === undefined) {
    say(`Cannot run tests under another kernel: ${reason}`);
    return 1;
  }
  const named = args.filter((argument) => !argument.startsWith("-"));
  const tests = named.length > 0 ? [] : await testsThatImport(NEED_LINKS);
  if (!await isChecked([...tests, ...named.filter((name) => /\.ts$/.test(name))])) return 1;
  const machines = named.length > 0 ? [args] : tests.map((test) => [...args, test]);
  say(`under Linux ${kernel.release}, emulated, for at most ${LONGEST} minutes a machine`);
  const outcomes: Outcome[] = [];
  for (const [index, words] of machines.entries()) {
    say(`machine ${index + 1} of ${machines.length}: ${words.join(" ")}`);
    outcomes.push(await runOnMachine({ kernel, emulator: found, words }, stopped));
    if (stopped.aborted) break;
  }
  const result = closing(outcomes);
  console.log(result.line);
  return result.code;
}

/** What the tests came to that these arguments of `deno test` name; one failure if the machine ended before them. */
async function runOnMachine(
  { kernel, emulator, words }: { kernel: KernelFiles; emulator: Emulator; words: readonly string[] },
  stopped: AbortSignal,
): Promise<Outcome> {
  const deno = ["./denow", "test", "-q", "-P=test", "--no-prompt", "--no-check", ...words];
  const machine: KernelMachine = {
    kernel,
    emulator,
    busybox: BUSYBOX,
    init: `${ROOT}tests/kernel_init.sh`,
    checkout: ROOT,
    env: variablesForKernel(Deno.env.toObject()),
    command: ["sh", "tests/machine.sh", ...deno],
  };
  const dir = await Deno.makeTempDir({ prefix: "podwire-kernel-" });
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(`it took longer than ${LONGEST} minutes`), LONGEST * 60_000);
  const signal = AbortSignal.any([stopped, late.signal]);
  try {
    const { code, text } = await runKernelMachine(machine, dir, signal);
    // deno-lint-ignore no-control-regex
    return countTests(text.replace(/\x1b\[[0-9;]*m/g, ""), code);
  } catch (error) {
    say(signal.aborted ? `stopped: ${signal.reason}` : `Cannot run the tests: ${(error as Error).message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  } finally {
    clearTimeout(timer);
    await Deno.remove(dir, { recursive: true });
  }
}

async function main(args: readonly string[]): Promise<number> {
  const stopped = new AbortController();
  const names = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of names) Deno.addSignalListener(name, () => stopped.abort(name));
  return await run(args, stopped.signal);
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] === "--" ? Deno.args.slice(1) : Deno.args));
