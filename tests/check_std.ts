// `./denow task check:std DIR`: type-checks the whole project against the real sources of @std in DIR, a copy
// of denoland/std with log/ in it. If JSR does not answer, @std comes from npm without types; this check
// finds what that hides.
import { fromFileUrl, resolve } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));

interface PackageConfig {
  readonly name: string;
  readonly exports: string | Readonly<Record<string, string>>;
}

/** Imports that map every package in `folder`, and every export of it, to its source. */
async function importsOf(folder: string): Promise<Record<string, string>> {
  const imports: Record<string, string> = {};
  for await (const { name: entry, isDirectory } of Deno.readDir(folder)) {
    if (!isDirectory) continue;
    const text = await Deno.readTextFile(`${folder}/${entry}/deno.json`).catch((error: unknown) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (text === undefined) continue;
    const { name, exports } = JSON.parse(text) as PackageConfig;
    const targets = typeof exports === "string" ? { ".": exports } : exports;
    for (const [key, target] of Object.entries(targets)) {
      imports[name + key.slice(1)] = new URL(target, `file://${folder}/${entry}/`).href;
    }
  }
  return imports;
}

async function main(argument: string | undefined): Promise<number> {
  if (argument === undefined) {
    console.error("usage: ./denow task check:std DIR");
    return 2;
  }
  const std = await importsOf(resolve(argument));
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const fromJsr = Object.entries<string>(config.imports).filter(([, target]) => target.startsWith("jsr:"));
  const absent = fromJsr.map(([name]) => name).filter((name) => !(name in std));
  if (absent.length > 0) {
    console.error(`Cannot check against "${argument}": no ${absent.join(", ")} in it`);
    return 1;
  }
  // The sources become local modules by this, and std is not written for this flag. The plain check applies
  // it.
  const compilerOptions = { ...config.compilerOptions, noImplicitReturns: false };
  const imports = { ...config.imports, ...std };
  // In the project's folder, because `exclude` and the module specifiers are relative to the configuration.
  const file = `${ROOT}.denow.json.std`;
  await Deno.writeTextFile(
    file,
    JSON.stringify({ ...config, imports, compilerOptions, lock: false }),
  );
  try {
    const args = ["check", "--config", file, ".", ".ci"];
    const { code } = await new Deno.Command(`${ROOT}denow`, { args, cwd: ROOT }).spawn().status;
    if (code === 0) console.log(`checked against the sources in ${argument}`);
    return code;
  } finally {
    await Deno.remove(file);
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args[0]));
