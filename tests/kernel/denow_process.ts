// Runs a module in a Deno of its own, on the first thread of the process.
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { runCommand } from "../../lib/host/command.ts";

const DENOW = fromFileUrl(new URL("../../denow", import.meta.url));
const LONGEST_MS = 300_000;

/** How {@linkcode printedBy} runs a module. */
export interface ProcessOptions {
  /** What it must exit with. @default {0} */
  readonly code?: number;
  /** The namespaces of its own, as options of `unshare`. @default {those of this process} */
  readonly namespaces?: readonly string[];
  /** A program, with arguments, that runs the module within those. @default {none} */
  readonly within?: readonly string[];
}

/**
 * Runs a module of this folder, or one with a URL, with these permissions; it must print nothing to standard error. Returns what
 * it prints.
 */
export async function printedBy(
  module: string,
  flags: readonly string[],
  args: readonly string[] = [],
  { code: expected = 0, namespaces = [], within = [] }: ProcessOptions = {},
): Promise<string> {
  const path = fromFileUrl(new URL(module, import.meta.url));
  const enter = namespaces.length === 0 ? [] : ["unshare", ...namespaces];
  const [program = "", ...rest] = [
    ...enter,
    ...within,
    DENOW,
    "run",
    "-q",
    "--no-prompt",
    ...flags,
    path,
    ...args,
  ];
  const { code, stdout, stderr } = await runCommand({
    ...{ program, args: rest, env: Deno.env.toObject() },
    signal: AbortSignal.timeout(LONGEST_MS),
  });
  assertEquals({ code, stderr }, { code: expected, stderr: "" });
  return stdout.trim();
}
