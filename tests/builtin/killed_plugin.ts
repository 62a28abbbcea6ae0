/** Calls the built-in host-local in a process that ends with `kill -9` before its step with a number: directory, number, step. */
import { Addresses } from "./addresses.ts";

const [dir = "", number = "", step = ""] = Deno.args;
const STEPS = ["linkSync", "mkdirSync", "removeSync", "utimeSync", "writeTextFileSync"] as const;

let taken = 0;
const deno = Deno as unknown as Record<string, (...args: unknown[]) => unknown>;
for (const name of STEPS) {
  const before = deno[name]!;
  deno[name] = (...args) => {
    if (++taken === Number(number)) Deno.kill(Deno.pid, "SIGKILL");
    return before(...args);
  };
}
const addresses = new Addresses(dir);
await (step === "ADD" ? addresses.add("a") : addresses.done("DEL", "a"));
