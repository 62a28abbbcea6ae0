import { CniError, ERROR_CODES } from "../cni/error.ts";
import { findForeignAddress } from "../cni/loopback_address.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunCommand } from "../host/command.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";

/** Options of {@linkcode loopbackUp}. */
export interface LoopbackOptions {
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
  /** The new alias of `lo`; one word. @default {the alias stays as it is} */
  readonly alias?: string | undefined;
}

/**
 * Brings up `lo` in a namespace that podwire did not make. Refuses a namespace whose `lo` has an address that is not for
 * loopback: it is in use for something that a pod could disturb.
 *
 * Requires root, `--allow-read`, and `--allow-run=ip,nsenter` or the whole `--allow-ffi`.
 *
 * @throws {CniError} kind `not-found` if there is no such namespace, `conflict` naming the address
 */
export async function loopbackUp(netns: string, { run, signal, alias }: LoopbackOptions): Promise<void> {
  const refuse = (kind: "not-found" | "conflict", problem: string, code: number) =>
    new CniError(kind, `Cannot bring up lo in network namespace "${netns}": ${problem}`, { code });
  const problem = await nsProblem(netns);
  if (problem !== undefined) throw refuse("not-found", problem, ERROR_CODES.invalidNetns);
  let lo: LinkInfo;
  try {
    const operations = [
      { kind: "set-link", name: "lo", up: true, alias },
      { kind: "show-link", name: "lo" },
    ] as const;
    [, lo] = await kernelFor(run).apply(operations, { netns, signal });
  } catch (error) {
    // The namespace may be gone by now, which `nsenter` reports in its own words.
    const now = await nsProblem(netns);
    if (now !== undefined && !signal?.aborted) throw refuse("not-found", now, ERROR_CODES.invalidNetns);
    throw asCniError(error);
  }
  const foreign = findForeignAddress(lo.addresses.map(({ address }) => address));
  if (foreign === undefined) return;
  throw refuse(
    "conflict",
    `it has the address ${foreign}, which is not for loopback`,
    ERROR_CODES.invalidNetns,
  );
}
