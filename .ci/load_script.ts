// Loads the script of the compiled program, and the code cache that was made with it.
import process from "node:process";
import { constants, Script } from "node:vm";

/** The file of the script, in the program. Deno takes no file for a module whose name ends like this. */
export const SCRIPT = "podwire.script";
/** The file of what V8 has made of the functions of the script that the warm-up called. */
export const CODE_CACHE = "podwire.code-cache";

type Program = typeof import("./program.ts");
type Wrapper = (require: (name: string) => unknown, module: { exports: unknown }) => void;

/** A script that has been run. */
export interface LoadedScript {
  /** What it exports. */
  readonly program: Program;
  readonly script: Script;
}

/** Runs the script in the folder `dir` of the program, with its code cache if that is there and V8 takes it. */
export function loadScript(dir: string): LoadedScript {
  const script = new Script(Deno.readTextFileSync(`${dir}/${SCRIPT}`), {
    // A name that is not an URL could import nothing.
    filename: `file://${dir}/podwire.js`,
    cachedData: codeCache(dir),
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const module = { exports: {} };
  const wrapper = script.runInThisContext() as Wrapper;
  wrapper((name) => process.getBuiltinModule(name), module);
  return { program: module.exports as Program, script };
}

function codeCache(dir: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Deno.readFileSync(`${dir}/${CODE_CACHE}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
