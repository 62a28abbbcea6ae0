// Runs a module in a Deno of its own, on the first thread of the process.
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));

/** Runs a module of this folder with these permissions; it must exit with this code. Returns what it prints. */
export async function printedBy(
  module: string,
  flags: readonly string[],
  args: readonly string[] = [],
  expected = 0,
): Promise<string> {
  const path = fromFileUrl(new URL(module, import.meta.url));
  const { code, stdout, stderr } = await runCommand({
    program: DENOW,
    args: ["run", "-q", "--no-prompt", ...flags, path, ...args],
    env: Deno.env.toObject(),
    signal: AbortSignal.timeout(120_000),
  });
  assertEquals({ code, stderr }, { code: expected, stderr: "" });
  return stdout.trim();
}
