let users = 0;
const enders = new Set<() => Promise<void>>();

/**
 * Lets each `ip` that is started in this process's own namespace wait for more lines, until the result and those of all other
 * calls are disposed of: to start `ip` takes milliseconds, a line of one that runs a fraction of one.
 */
export function keepIp(): AsyncDisposable {
  users++;
  let isOver = false;
  return {
    async [Symbol.asyncDispose]() {
      if (isOver) return;
      isOver = true;
      if (--users > 0) return;
      const ends = [...enders];
      enders.clear();
      await Promise.all(ends.map((end) => end()));
    },
  };
}

/** Whether `ip` is to be kept. */
export function isIpKept(): boolean {
  return users > 0;
}

/** Calls `end` when `ip` is not to be kept any more. Only while it is. */
export function whenIpUnused(end: () => Promise<void>): void {
  enders.add(end);
}
