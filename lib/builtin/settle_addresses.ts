import { delay } from "../async/wait.ts";
import { type Cidr, formatCidr, parseCidr } from "../cni/address.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import type { Host } from "./host.ts";

/** A search sends one question and waits a second for an answer, after a delay of up to a second (RFC 4862, section 5.4). */
const WAIT_MS = 50;
const LIMIT_MS = 10_000;

/**
 * Waits until the kernel has found no other owner of these addresses of an interface.
 *
 * @throws {Error} Naming the address that another machine has, or that is not usable in time.
 */
export async function settleAddresses(
  host: Host,
  netns: string,
  ifName: string,
  addresses: readonly Cidr[],
): Promise<void> {
  const wanted = new Set(addresses.map(formatCidr));
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const link = await findLink(kernelFor(host.run), ifName, { netns, signal: host.signal });
    const own = (link?.addresses ?? []).filter(({ address }) => {
      const cidr = parseCidr(address);
      return cidr !== undefined && wanted.has(formatCidr(cidr));
    });
    const duplicate = own.find(({ state }) => state === "duplicate");
    if (duplicate !== undefined) {
      throw new Error(`Cannot use the address ${duplicate.address}: another machine on the link has it`);
    }
    const waiting = own.find(({ state }) => state === "tentative");
    if (waiting === undefined) return;
    if (performance.now() > end) {
      throw new Error(
        `Cannot use the address ${waiting.address}: it is not usable after ${LIMIT_MS / 1_000} s`,
      );
    }
    await delay(WAIT_MS, host.signal);
  }
}
