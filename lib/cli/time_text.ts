import { isDue } from "../async/backoff.ts";

const UNITS = [["d", 86_400, 2], ["h", 3_600, 2], ["m", 60, 1]] as const;

/**
 * Returns the time since a moment in its largest unit, as `3m`; hours go up to 47. For a moment in the future it is
 * `0s`.
 */
export function ageOf(since: string, now: Date): string {
  return formatSeconds((now.getTime() - Date.parse(since)) / 1000);
}

/** Returns when a removal is retried, as `in 12s` or `due`; `-` if it did not fail. */
export function nextTryOf(attempts: number, nextTry: string | undefined, now: Date): string {
  if (attempts === 0) return "-";
  if (nextTry === undefined || isDue(nextTry, now)) return "due";
  return `in ${formatSeconds(Math.ceil((Date.parse(nextTry) - now.getTime()) / 1000))}`;
}

function formatSeconds(seconds: number): string {
  if (Number.isNaN(seconds)) return "?";
  const [unit, length] = UNITS.find(([, length, least]) => seconds >= length * least) ?? ["s", 1];
  return `${Math.max(0, Math.floor(seconds / length))}${unit}`;
}
