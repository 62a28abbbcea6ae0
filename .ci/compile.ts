// Makes dist/podwire (`./denow task compile`): bundled modules, compiled with the permissions of the set
// "podwire" in deno.json. With `--if-older` only if a source is newer than the binary; with `--otel` it makes
// dist/podwire-otel, which sends spans where OpenTelemetry's variables say.
import { ensureDir } from "@std/fs";
import { fromFileUrl } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const CACHE = `${ROOT}.denow`;
const SOURCES = ["cli.ts", "lib", "deno.json", ".ci/compile.ts", ".ci/npm"];

/**
 * The base that a program is appended to is Deno's `denort`. If Deno's download site cannot be reached, its
 * bytes are taken from a published program that was compiled with the very same Deno: everything in front of
 * the program.
 */
const BASE_ON_NPM = {
  package: "@stdy/cli-linux-x64@0.22.2",
  file: "package/bin/steady",
  triple: "x86_64-unknown-linux-gnu",
  deno: "2.7.11",
  size: 97_076_048,
  sha256: "f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6",
};

/**
 * The engine lets its space for new objects grow to four times this many MiB when thousands of records are read, and a daemon
 * that has read them keeps it: a third of its memory, for a tenth of the time.
 */
const YOUNG = "--v8-flags=--max-semi-space-size=8";

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

/** Compiles the module `entry` into the program `output`, with Deno's OpenTelemetry or without. */
export async function compile(
  entry: string,
  output: string,
  permissions: PermissionSet,
  { otel = false }: { readonly otel?: boolean } = {},
): Promise<void> {
  const folder = output.slice(0, output.lastIndexOf("/"));
  await ensureDir(folder);
  const start = new Date();
  const work = await Deno.makeTempDir({ dir: folder, prefix: ".new-" });
  try {
    // In pieces, so that `--version`, or a run as a plugin, does not read the code of every other command.
    await denow(["bundle", "-q", "--code-splitting", "--outdir", `${work}/bundle`, entry]);
    const bundle = `${work}/bundle/${entry.slice(entry.lastIndexOf("/") + 1).replace(/\.ts$/, ".js")}`;
    const base = await denortVariable();
    // The code cache is a file of a known name in /tmp, where any user could put one for root's program to
    // run.
    const flags = [
      "-q",
      "--no-config",
      "--no-lock",
      "--no-code-cache",
      YOUNG,
      ...permissionFlags(permissions),
    ];
    // Deno 2.7.11 decides that here, by its own environment: when the program runs, the variable changes
    // nothing.
    const env = { ...base, OTEL_DENO: String(otel) };
    await denow(["compile", ...flags, "-o", `${work}/program`, bundle], env);
    // A source that changed meanwhile must count as newer.
    await Deno.utime(`${work}/program`, start, start);
    await Deno.rename(`${work}/program`, output);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** The variable that names the base binary; none if Deno can fetch its own. */
async function denortVariable(): Promise<Record<string, string>> {
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined) {
    if (!await isFile(named)) {
      throw new Error(`Cannot compile: there is no "${named}", which DENORT_BIN names`);
    }
    return {};
  }
  const kept = `${CACHE}/denort-${Deno.version.deno}`;
  if (await isFile(kept)) return { DENORT_BIN: kept };
  const official = `https://dl.deno.land/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`;
  const isReachable = await fetch(official, { method: "HEAD", signal: AbortSignal.timeout(5000) })
    .then((response) => response.ok, () => false);
  if (isReachable) return {};
  if (Deno.build.target !== BASE_ON_NPM.triple || Deno.version.deno !== BASE_ON_NPM.deno) {
    throw new Error(
      `Cannot compile with Deno ${Deno.version.deno} for ${Deno.build.target}: ${official} does not answer, and npm ` +
        `has a base for Deno ${BASE_ON_NPM.deno} on ${BASE_ON_NPM.triple} only; name the denort of that release in DENORT_BIN`,
    );
  }
  console.error(`compile: taking the base binary from the npm package ${BASE_ON_NPM.package}`);
  await takeBaseFromNpm(kept);
  return { DENORT_BIN: kept };
}

async function takeBaseFromNpm(target: string): Promise<void> {
  await ensureDir(CACHE);
  const work = await Deno.makeTempDir({ dir: CACHE, prefix: "new." });
  try {
    await run("npm", ["pack", "--loglevel=error", "--ignore-scripts", BASE_ON_NPM.package], {
      cwd: work,
      env: { npm_config_cache: `${work}/npm`, npm_config_update_notifier: "false" },
    });
    const archive = [...Deno.readDirSync(work)].find(({ name }) => name.endsWith(".tgz"))?.name;
    await run("tar", ["-xzf", `${work}/${archive}`, "-C", work, BASE_ON_NPM.file]);
    const program = `${work}/${BASE_ON_NPM.file}`;
    using file = await Deno.open(program, { read: true, write: true });
    await file.truncate(BASE_ON_NPM.size);
    const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(program));
    if (new Uint8Array(digest).toHex() !== BASE_ON_NPM.sha256) {
      throw new Error(`Cannot compile: the base in ${BASE_ON_NPM.package} has the wrong SHA-256`);
    }
    await Deno.chmod(program, 0o755);
    await Deno.rename(program, target);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

function denow(args: string[], env: Record<string, string> = {}): Promise<void> {
  return run(`${ROOT}denow`, args, { cwd: ROOT, env });
}

async function run(
  program: string,
  args: string[],
  options: { cwd: string; env: Record<string, string> } = { cwd: ROOT, env: {} },
): Promise<void> {
  // Nothing but errors may reach readers of standard output: npm prints the archive's name there.
  const child = new Deno.Command(program, { args, ...options, stdin: "null", stdout: "null" }).spawn();
  const { code } = await child.status;
  if (code !== 0) throw new Error(`Cannot compile: ${program} ${args[0]} exited with ${code}`);
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
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
  await compile(`${ROOT}cli.ts`, output, config.permissions.podwire, { otel });
  const { size } = await Deno.stat(output);
  console.error(`compile: ${name}, ${(size / 1e6).toFixed(1)} MB`);
}

if (import.meta.main) await main(Deno.args);
