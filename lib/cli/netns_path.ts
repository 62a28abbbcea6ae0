import { resolve } from "@std/path";
import { DEFAULTS } from "../runtime/podwire.ts";
import { CniError } from "../cni/error.ts";
import type { CommandInput } from "./command.ts";

/**
 * The path of a network namespace: a name without a slash is one of `ip netns`, below `--netns-dir`, whatever lies in
 * the working directory, so that it means the same on every day; all else is a path.
 *
 * @throws {CniError} kind `not-found` for an empty one
 */
export function netnsPath(input: CommandInput, given: string): string {
  if (given === "" || given === "." || given === "..") {
    throw new CniError("not-found", `"${given}" is no network namespace`, {
      hint: "it is a path, or a name that `ip netns list` shows",
    });
  }
  const dir = input.value("netns-dir") ?? DEFAULTS.netnsDir;
  return given.includes("/") ? resolve(given) : resolve(dir, given);
}
