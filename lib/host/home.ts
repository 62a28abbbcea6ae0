// A thread that enters another network namespace is away from home. While the first thread of the process is away,
// /proc/self/ns/net leads to where it is, for all other threads and for all other processes too.

let departures = 0;
/** Looks that were crossed too often: while there is one, no departure begins that can wait. */
const insistent = new Set<Promise<void>>();
const MOST_CROSSED = 3;

/** Runs what may enter another network namespace and returns from it. It must do so in one turn of the event loop. */
export function leaveHome<T>(fn: () => T): T {
  departures++;
  return fn();
}

/** Waits until no look insists that the process stays at home. Call it before {@linkcode leaveHome} wherever that can wait. */
export async function untilMayLeave(): Promise<void> {
  while (insistent.size > 0) await Promise.all(insistent);
}

/**
 * Runs a look at the namespace of this process that other threads or programs do, again if the process was away
 * meanwhile. `concerns` says of an answer whether it depends on that; without it every answer does.
 */
export async function lookAtHome<T>(look: () => Promise<T>, concerns?: (seen: T) => boolean): Promise<T> {
  const stay = Promise.withResolvers<void>();
  try {
    for (let crossed = 0;; crossed++) {
      // If the departures come too close together for a look between two of them, the next ones wait.
      if (crossed === MOST_CROSSED) insistent.add(stay.promise);
      const before = departures;
      const [result] = await Promise.allSettled([look()]);
      const isSound = before === departures ||
        result.status === "fulfilled" && concerns !== undefined && !concerns(result.value);
      if (!isSound) continue;
      if (result.status === "rejected") throw result.reason;
      return result.value;
    }
  } finally {
    insistent.delete(stay.promise);
    stay.resolve();
  }
}
