const FIRST_MS = 1_000;
/** The longest wait between two tries. */
export const LONGEST_BACKOFF_MS = 5 * 60_000;

/**
 * Milliseconds to wait before the next try after `attempts` failed ones: one second, doubled with each attempt up to five
 * minutes, less up to a fifth of jitter so that many retries do not happen at once.
 *
 * @param random a number from 0 up to 1
 */
export function backoffMs(attempts: number, random: number = Math.random()): number {
  const base = Math.min(FIRST_MS * 2 ** Math.max(0, attempts - 1), LONGEST_BACKOFF_MS);
  return Math.round(base * (1 - 0.2 * random));
}

/**
 * Whether the time of the next try has come. A time that is further away than the longest back-off was written before the
 * clock was set back; a time that cannot be read does not delay the try.
 */
export function isDue(nextTry: string | undefined, now: Date): boolean {
  const wait = Date.parse(nextTry ?? "") - now.getTime();
  return !(wait > 0 && wait <= LONGEST_BACKOFF_MS);
}
