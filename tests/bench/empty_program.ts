import { fromFileUrl } from "@std/path";
import { compile } from "../../.ci/compile.ts";
import { memoryOf } from "./process_cost.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
const FOLDER = `${ROOT}dist/bench`;

/** A program that starts changes its memory all the time. */
const SETTLE_MS = 200;

let made: Promise<string> | undefined;

/** Compiles, once, a program that does nothing, as the binary is compiled. With an argument it never ends. */
export function emptyProgram(): Promise<string> {
  return made ??= make();
}

async function make(): Promise<string> {
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  await Deno.mkdir(FOLDER, { recursive: true });
  await Deno.writeTextFile(
    `${FOLDER}/empty.ts`,
    "if (Deno.args.length > 0) setInterval(() => {}, 2 ** 30);\n",
  );
  await compile(`${FOLDER}/empty.ts`, `${FOLDER}/empty`, config.permissions.podwire);
  return `${FOLDER}/empty`;
}

/** The resident memory of the empty program, at rest. */
export async function emptyMemory(): Promise<number> {
  const child = new Deno.Command(await emptyProgram(), {
    args: ["wait"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    let memory = await memoryOf(child.pid);
    for (let before = NaN; memory !== before;) {
      before = memory;
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      memory = await memoryOf(child.pid);
    }
    return memory;
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}
