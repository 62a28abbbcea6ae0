// Makes dist/podwire (`./denow task compile`): a script with its code cache, compiled with the permissions of the set
// "podwire" in deno.json. With `--if-older` only if a source is newer than the binary; with `--otel` it makes
// dist/podwire-otel, which sends spans where OpenTelemetry's variables say.
import { ensureDir } from "@std/fs";
import { denortVariable } from "./denort.ts";
import { CODE_CACHE, SCRIPT } from "./load_script.ts";
import { denow, isFile, ROOT, run } from "./programs.ts";

const SOURCES = ["lib", "deno.json", ".ci"];
/** What the daemon alone imports, and late: it needs no script, see start.ts, which this would make a third longer. */
const DAEMON_ONLY = "../cri/serve_cri.ts";

/**
 * The engine's space for new objects has this many MiB, from the start: so a one-shot command has ended before the first
 * collection. If it may grow, it does when thousands of records are read, and a daemon that has read them keeps it. Its space
 * for the others may grow by a fifth before it is cleared, and not to several times of what is in use: that takes a quarter
 * of a daemon's memory, and no time that could be measured.
 */
const MEMORY = "--v8-flags=--max-semi-space-size=4,--min-semi-space-size=4,--heap-growing-percent=20";

/** A permission set as deno.json writes it. */
export type PermissionSet = Record<string, boolean | readonly string[] | { readonly deny: boolean }>;

/** The flags that grant exactly what `set` grants, and never prompt for more. */
export function permissionFlags(set: PermissionSet): string[] {
  const flags = Object.entries(set).map(([name, value]) => {
    if (value === true) return `--allow-${name}`;
    if (Array.isArray(value)) return `--allow-${name}=${value.join(",")}`;
    if (typeof value === "object" && "deny" in value && value.deny) return `--deny-${name}`;
    throw new TypeError(`Cannot turn the permission "${name}" into a flag: ${JSON.stringify(value)}`);
  });
  return [...flags, "--no-prompt"];
}

/** How a program is compiled. */
export interface CompileOptions {
  /** Whether it has Deno's OpenTelemetry. @default {false} */
  readonly otel?: boolean | undefined;
  /** The module whose exports the entry loads as a script: see load_script.ts. @default {none} */
  readonly script?: string | undefined;
}

/** Compiles the module `entry` into the program `output`. */
export async function compile(
  entry: string,
  output: string,
  permissions: PermissionSet,
  { otel = false, script }: CompileOptions = {},
): Promise<void> {
  const folder = output.slice(0, output.lastIndexOf("/"));
  await ensureDir(folder);
  const start = new Date();
  const work = await Deno.makeTempDir({ dir: folder, prefix: ".new-" });
  try {
    const appended = (name: string, entry: string, included: readonly string[]) =>
      append({ entry, program: `${work}/${name}`, included, permissions, otel });
    const included: string[] = [];
    if (script !== undefined) {
      included.push(await makeScript(script, work));
      await appended("warm-up", `${ROOT}.ci/warm_up.ts`, included);
      included.push(await makeCodeCache(`${work}/warm-up`, work));
    }
    await appended("program", entry, included);
    // A source that changed meanwhile must count as newer.
    await Deno.utime(`${work}/program`, start, start);
    await Deno.rename(`${work}/program`, output);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Appends the module `entry` and the included files, which lie beside it then, to the base binary. */
async function append({ entry, program, included, permissions, otel }: {
  entry: string;
  program: string;
  included: readonly string[];
  permissions: PermissionSet;
  otel: boolean;
}): Promise<void> {
  const modules = `${program}.modules`;
  // In pieces, so that a module that is imported late is not read before.
  await denow(["bundle", "-q", "--code-splitting", "--outdir", modules, entry]);
  const files = included.map((file) => `${modules}/${fileName(file)}`);
  for (const [place, file] of included.entries()) await Deno.copyFile(file, files[place] ?? "");
  const flags = [
    "-q",
    "--no-config",
    "--no-lock",
    // It is a file of a known name in /tmp, where any user could put one for root's program to run.
    "--no-code-cache",
    MEMORY,
    ...permissionFlags(permissions),
    ...files.map((file) => `--include=${file}`),
  ];
  // Deno 2.7.11 decides that here, by its own environment: when the program runs, the variable changes
  // nothing.
  const env = { ...await denortVariable(), OTEL_DENO: String(otel) };
  const bundle = `${modules}/${fileName(entry).replace(/\.ts$/, ".js")}`;
  await denow(["compile", ...flags, "-o", program, bundle], env);
}

/** Makes the script of the exports of the module `entry`, in the folder `dir`, and returns its path. */
async function makeScript(entry: string, dir: string): Promise<string> {
  await denow([
    "bundle",
    "-q",
    "--format",
    "cjs",
    "--external",
    DAEMON_ONLY,
    "--outdir",
    `${dir}/script`,
    entry,
  ]);
  const text = await Deno.readTextFile(`${dir}/script/${fileName(entry).replace(/\.ts$/, ".js")}`);
  // On one line, so that the lines in messages are those of the text.
  await Deno.writeTextFile(`${dir}/${SCRIPT}`, `(function (require, module) {${text}\n})`);
  return `${dir}/${SCRIPT}`;
}

/** Makes the code cache of the script that is in the program `warmUp`, in the folder `dir`, and returns its path. */
async function makeCodeCache(warmUp: string, dir: string): Promise<string> {
  const codeCache = `${dir}/${CODE_CACHE}`;
  // Not in `dir`: podwire works below no directory that a group may write.
  const site = await Deno.makeTempDir({ prefix: "podwire-warm-up-" });
  try {
    // The first process recovers what an earlier boot left, as the first of a boot always does. Most commands do not.
    for (let process = 1; process <= 2; process++) await run(warmUp, [site, codeCache]);
  } finally {
    await Deno.remove(site, { recursive: true });
  }
  return codeCache;
}

function fileName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The time of the newest source, in milliseconds. */
async function newest(path: string): Promise<number> {
  const { isDirectory, mtime } = await Deno.stat(path);
  if (!isDirectory) return mtime?.getTime() ?? Infinity;
  const entries = await Array.fromAsync(Deno.readDir(path));
  // The folder's own time counts: it changes when a file is removed.
  return Math.max(
    mtime?.getTime() ?? 0,
    ...await Promise.all(entries.map(({ name }) => newest(`${path}/${name}`))),
  );
}

async function main(args: string[]): Promise<void> {
  const otel = args.includes("--otel");
  const name = otel ? "dist/podwire-otel" : "dist/podwire";
  const output = `${ROOT}${name}`;
  await ensureDir(`${ROOT}dist`);
  // Two test runs at once would both compile; the second finds the first one's binary.
  using lock = await Deno.open(`${ROOT}dist/.lock`, { create: true, write: true });
  await lock.lock(true);
  if (args.includes("--if-older") && await isFile(output)) {
    const made = (await Deno.stat(output)).mtime?.getTime() ?? 0;
    if (made > Math.max(...await Promise.all(SOURCES.map((source) => newest(`${ROOT}${source}`))))) return;
  }
  // Left by a run that was killed; the holder of the lock is alone here.
  for await (const { name } of Deno.readDir(`${ROOT}dist`)) {
    if (name.startsWith(".new-")) await Deno.remove(`${ROOT}dist/${name}`, { recursive: true });
  }
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const script = `${ROOT}.ci/program.ts`;
  await compile(`${ROOT}.ci/start.ts`, output, config.permissions.podwire, { otel, script });
  const { size } = await Deno.stat(output);
  console.error(`compile: ${name}, ${(size / 1e6).toFixed(1)} MB`);
}

if (import.meta.main) await main(Deno.args);
