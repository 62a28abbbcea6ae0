/** By directory: the commit that was asked for last, and the one that has not begun. */
const last = new Map<string, Promise<void>>();
const next = new Map<string, Promise<void>>();

/**
 * Makes changes of the entries of a directory (created, renamed, removed) survive a crash of the machine. All that wait at
 * the same time share one commit, which begins after each of them asked for it.
 */
export async function syncDir(path: string): Promise<void> {
  const commit = next.get(path) ?? begin(path);
  try {
    await commit;
  } finally {
    if (last.get(path) === commit) last.delete(path);
  }
}

function begin(path: string): Promise<void> {
  const before = last.get(path);
  const run = async () => {
    await before?.catch(() => {});
    next.delete(path);
    using dir = Deno.openSync(path, { read: true });
    await dir.sync();
  };
  // Later, so that those that ask in the same turn share it.
  const commit = Promise.resolve().then(run);
  next.set(path, commit);
  last.set(path, commit);
  return commit;
}
