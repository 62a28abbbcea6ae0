// The tests that a run on another Deno repeats: those in which the library runs under that Deno. Tests of the
// compiled binary, which always has the pinned one, and of this repository's own tools would only test the
// same again.
import { fromFileUrl, join } from "@std/path";

const ROOT = fromFileUrl(new URL("..", import.meta.url));
const IMPORT = /^(?:import|export)\b[^;]*?\bfrom "(\.{1,2}\/[^"]+\.ts)";/gm;
/** With one of these a test runs the engine itself, also where it compares it with the binary. */
const ENGINE = ["mod.ts", "lib/runtime/podwire.ts", "lib/runtime/pods.ts", "lib/runtime/live.ts"];
/** It only says what the machine has, and where the binary is. */
const NEEDS = "tests/root/need.ts";

/**
 * The files of tests, below the root of the repository, that run the library in the process of the test or
 * beside it.
 */
export async function libraryTests(): Promise<string[]> {
  const tests = await allTests();
  const isLibrary = await Promise.all(tests.map((path) => runsLibrary(path)));
  return tests.filter((_, index) => isLibrary[index]);
}

/** The files of all tests, below the root of the repository, in their order. */
export async function allTests(): Promise<string[]> {
  return (await testFiles("tests")).sort();
}

/** Those of {@linkcode allTests} that import a file of the tests, by others too. */
export async function testsThatImport(path: string): Promise<string[]> {
  const tests = await allTests();
  const imports = await Promise.all(tests.map(async (test) => {
    const reached = new Map<string, string>();
    await follow(test, reached);
    return reached.has(path);
  }));
  return tests.filter((_, index) => imports[index]);
}

async function testFiles(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(ROOT, dir))) {
    if (isDirectory) found.push(...await testFiles(`${dir}/${name}`));
    else if (name.endsWith("_test.ts")) found.push(`${dir}/${name}`);
  }
  return found;
}

async function runsLibrary(test: string): Promise<boolean> {
  const reached = new Map<string, string>();
  await follow(test, reached);
  if (ENGINE.some((path) => reached.has(path))) return true;
  const drivesBinary = [...reached].some(([path, text]) =>
    path.startsWith("tests/") && text.includes("PODWIRE_BINARY")
  );
  return !drivesBinary && [...reached.keys()].some((path) => path.startsWith("lib/"));
}

async function follow(path: string, reached: Map<string, string>): Promise<void> {
  if (reached.has(path) || path === NEEDS) return;
  const text = await Deno.readTextFile(join(ROOT, path));
  reached.set(path, text);
  for (const [, target = ""] of text.matchAll(IMPORT)) await follow(join(path, "..", target), reached);
}
