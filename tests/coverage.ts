// What `./denow task coverage` runs: the tests of the engine in this process, and how many lines of each of
// its folders they ran. Programs that tests start are not counted.
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const ENGINE = ["async", "cni", "errors", "plugin", "state", "attachment", "catalog", "gc", "readiness"];
const FOLDERS = ENGINE.map((room) => `lib/${room}`);
const TESTS = ENGINE.map((room) => `tests/${room}`);
const LEAST_PERCENT = 95;

/** Lines that can run and lines that did. */
export interface LineCount {
  readonly found: number;
  readonly hit: number;
}

/** Sums up the files of each folder in an lcov report. */
export function linesByFolder(lcov: string, folders: readonly string[]): Record<string, LineCount> {
  const sums: Record<string, LineCount> = {};
  for (const record of lcov.split("end_of_record")) {
    const [, file = ""] = /^SF:(.+)$/m.exec(record) ?? [];
    const folder = folders.find((name) => file.includes(`/${name}/`));
    if (folder === undefined) continue;
    const number = (key: string) => Number(new RegExp(`^${key}:(\\d+)$`, "m").exec(record)?.[1] ?? 0);
    const { found, hit } = sums[folder] ?? { found: 0, hit: 0 };
    sums[folder] = { found: found + number("LF"), hit: hit + number("LH") };
  }
  return sums;
}

/**
 * A line for each folder, and those under the least percentage; a folder that no test touches has none of its
 * lines.
 */
export function coverageReport(
  sums: Readonly<Record<string, LineCount>>,
  folders: readonly string[],
  leastPercent: number,
): { lines: string[]; tooLow: string[] } {
  const percents = folders.map((folder) => {
    const { found = 0, hit = 0 } = sums[folder] ?? {};
    return [folder, found === 0 ? 0 : 100 * hit / found] as const;
  });
  return {
    lines: percents.map(([folder, percent]) => `${folder} ${percent.toFixed(1)} %`),
    tooLow: percents.filter(([, percent]) => percent < leastPercent).map(([folder]) => folder),
  };
}

async function denow(args: readonly string[], stdout: "inherit" | "piped"): Promise<string> {
  const env = { DENO_JOBS: Deno.env.get("DENO_JOBS") ?? "2" };
  const child = new Deno.Command(`${ROOT}denow`, { args: [...args], cwd: ROOT, env, stdin: "null", stdout });
  const output = await child.spawn().output();
  if (!output.success) throw new Error(`denow ${args[0]} ended with exit code ${output.code}`);
  return stdout === "piped" ? new TextDecoder().decode(output.stdout) : "";
}

async function main(): Promise<number> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-coverage-" });
  try {
    const collect = ["--parallel", `--coverage=${dir}`, "--coverage-raw-data-only"];
    await denow(["test", "-q", "-P=test", "--no-prompt", ...collect, ...TESTS], "inherit");
    const sums = linesByFolder(await denow(["coverage", "-q", "--lcov", dir], "piped"), FOLDERS);
    const { lines, tooLow } = coverageReport(sums, FOLDERS, LEAST_PERCENT);
    for (const line of lines) console.log(line);
    for (const folder of tooLow) console.error(`coverage: ${folder} is under ${LEAST_PERCENT} %`);
    return tooLow.length === 0 ? 0 : 1;
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main());
