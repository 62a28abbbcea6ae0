import { longestBurst, type RateLimit } from "../kernel/shaping.ts";
import type { Bandwidth } from "./bandwidth_config.ts";

/** In bits: what container engines fill in for a pod that names a rate and no burst. */
const FILLED_IN = 2 ** 31 - 1;
const MOST = 2 ** 32 - 1;

/**
 * Returns what the kernel is to be asked for. A burst that cannot have been meant is cut to one second of the rate: with the
 * one that container engines fill in, a limit of 10 Mbit/s begins after more than three minutes.
 */
export function rateLimit(bandwidth: Bandwidth, latencyMs: number, mtu: number): RateLimit {
  return isAbsurd(bandwidth)
    // Less than a packet would let none through.
    ? limitOf(bandwidth.rate, Math.max(Math.floor(bandwidth.rate / 8), 2 * mtu), latencyMs)
    : uncutLimit(bandwidth, latencyMs);
}

/** Returns what the plugin of the CNI project asks for, which cuts nothing. */
export function uncutLimit({ rate, burst }: Bandwidth, latencyMs: number): RateLimit {
  return limitOf(rate, Math.floor(burst / 8), latencyMs);
}

/** Whether {@linkcode rateLimit} cuts the burst. */
export function isAbsurd({ rate, burst }: Bandwidth): boolean {
  const isLonger = burst > rate;
  return isLonger && (burst >= FILLED_IN || burst / 8 > longestBurst(Math.floor(rate / 8)));
}

/** Whether a limit that the kernel shows is the one that it was asked for: it counts bursts in time. */
export function isSameLimit(shown: RateLimit | undefined, wanted: RateLimit): boolean {
  if (shown === undefined || shown.rate !== wanted.rate || shown.limit !== wanted.limit) return false;
  const oneTick = wanted.rate / 1_000_000 + 1;
  return Math.abs(shown.burst - wanted.burst) <= 2 * oneTick;
}

function limitOf(rateInBits: number, burst: number, latencyMs: number): RateLimit {
  const rate = Math.floor(rateInBits / 8);
  return { rate, burst, limit: Math.min(Math.floor(rate * latencyMs / 1_000) + burst, MOST) };
}
