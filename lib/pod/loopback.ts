import type { RunCommand } from "../host/command.ts";
import { ipBatch } from "../host/link.ts";
import { nsProblem } from "../host/netns.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { contains, parseCidr, parseIp } from "../cni/address.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";

/** Options of {@linkcode loopbackUp}. */
export interface LoopbackOptions {
  readonly run: RunCommand;
  readonly signal?: AbortSignal | undefined;
  /** Becomes the alias of `lo`; one word. @default it stays as it is */
  readonly alias?: string | undefined;
}

const LOOPBACK = ["127.0.0.0/8", "::1/128"].map(parseCidr);

/**
 * Brings up `lo` in a namespace that somebody else made, and refuses one where `lo` has an address that is not for
 * loopback: that namespace is in use for something that a pod could disturb.
 *
 * Requires root, `--allow-read`, `--allow-run=nsenter`.
 *
 * @throws {CniError} kind `not-found` if there is no such namespace, `conflict` naming the address
 */
export async function loopbackUp(netns: string, { run, signal, alias }: LoopbackOptions): Promise<void> {
  const refuse = (kind: "not-found" | "conflict", problem: string, code: number) =>
    new CniError(kind, `Cannot bring up lo in network namespace "${netns}": ${problem}`, { code });
  const problem = await nsProblem(netns);
  if (problem !== undefined) throw refuse("not-found", problem, ERROR_CODES.invalidNetns);
  let shown: unknown;
  try {
    const lines = [`link set dev lo up${alias === undefined ? "" : ` alias ${alias}`}`, "addr show dev lo"];
    shown = JSON.parse(await ipBatch(lines, { netns, run, json: true, signal }));
  } catch (error) {
    // The namespace may have gone in between, which `nsenter` tells in words of its own.
    const now = await nsProblem(netns);
    if (now !== undefined && !signal?.aborted) throw refuse("not-found", now, ERROR_CODES.invalidNetns);
    throw asCniError(error);
  }
  const foreign = foreignAddress(shown);
  if (foreign === undefined) return;
  throw refuse(
    "conflict",
    `it has the address ${foreign}, which is not for loopback`,
    ERROR_CODES.invalidNetns,
  );
}

/** What `ip` shows of a link, as far as it matters here. */
interface ShownLink {
  readonly addr_info?: readonly { readonly local?: string; readonly prefixlen?: number }[];
}

/** Links that are not asked for are shown as empty objects. */
function linksOf(shown: unknown): readonly ShownLink[] {
  return Array.isArray(shown) ? shown : [];
}

/** An address of `lo`, as `ip` shows it, that is not for loopback. */
export function foreignAddress(shown: unknown): string | undefined {
  const addresses = linksOf(shown).flatMap(({ addr_info = [] }) => addr_info);
  const foreign = addresses.find(({ local }) => local !== undefined && !isLoopback(local));
  return foreign && `${foreign.local}/${foreign.prefixlen}`;
}

function isLoopback(text: string): boolean {
  const ip = parseIp(text);
  return ip !== undefined && LOOPBACK.some((network) => network !== undefined && contains(network, ip));
}
