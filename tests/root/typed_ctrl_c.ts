import { assertMatch } from "@std/assert";
import { shellWord } from "../../lib/host/shell_word.ts";
import { type BinaryWorld, sh } from "./binary_world.ts";

/** Types Ctrl-C on a terminal of its own while `exec` runs a command in the sandbox "box", which decides about it by itself. */
export async function assertLeavesCtrlC(world: BinaryWorld): Promise<void> {
  const script =
    `trap 'echo caught; echo >${world.dir}/heard; exit 7' INT; echo >${world.dir}/mark; while :; do sleep 0.02; done`;
  const words = [...world.dirs, "exec", "box", "--", "sh", "-c", script].map(shellWord);
  // The whole foreground group gets the signal.
  const waits = (file: string) => `until [ -e ${world.dir}/${file} ]; do sleep 0.02; done`;
  const typed = `(${waits("mark")}; sleep 0.1; printf '\\003'; ${waits("heard")}; sleep 1)`;
  await Deno.writeTextFile(
    `${world.dir}/call`,
    `exec ${Deno.realPathSync(new URL("../../dist/podwire", import.meta.url))} ${words.join(" ")}\n`,
  );
  const out = await sh(`${typed} | script -qec 'exec sh ${world.dir}/call' /dev/null; echo "code $?"`);
  assertMatch(out, /caught/);
  assertMatch(out, /code 7/);
}
