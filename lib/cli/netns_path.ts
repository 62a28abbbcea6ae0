import { resolve } from "@std/path";
import { CniError } from "../cni/error.ts";
import { DEFAULTS } from "../runtime/options.ts";
import type { CommandInput } from "./command.ts";

/**
 * Returns the path of a network namespace. A name without a slash is one of `ip netns`, in `--netns-dir`. It never
 * depends on the files in the working directory. Anything else is a path.
 *
 * @throws {CniError} kind `not-found` for an empty path
 */
export function netnsPath(input: CommandInput, given: string): string {
  if (given === "" || given === "." || given === "..") {
    throw new CniError("not-found", `"${given}" is not a network namespace`, {
      hint: "give a path, or a name that `ip netns list` shows",
    });
  }
  const dir = input.value("netns-dir") ?? DEFAULTS.netnsDir;
  return given.includes("/") ? resolve(given) : resolve(dir, given);
}
