/** Runs modules of the tests in network namespaces of their own, where no other test changes the rules. */
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));
const LONGEST_MS = 300_000;

/** Runs a module of this folder; it must print nothing to standard error and exit with 0. Returns what it prints. */
export async function printedInOwnNetns(module: string, args: readonly string[]): Promise<string> {
  const path = fromFileUrl(new URL(module, import.meta.url));
  const { code, stdout, stderr } = await runCommand({
    program: "unshare",
    args: ["--net", DENOW, "run", "-q", "--no-prompt", "--allow-all", path, ...args],
    env: Deno.env.toObject(),
    signal: AbortSignal.timeout(LONGEST_MS),
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  return stdout.trim();
}
