import { Coalescer } from "../async/coalesce.ts";

/** The commits of directories that are waiting or under way. */
const commits = new Map<string, Coalescer<void>>();

/**
 * Makes changes of the entries of a directory (created, renamed, removed) survive a crash of the machine. All that wait at
 * the same time share one commit.
 */
export async function syncDir(path: string): Promise<void> {
  const known = commits.get(path);
  const commit = known ?? new Coalescer(async () => {
    using dir = Deno.openSync(path, { read: true });
    await dir.sync();
  });
  if (known === undefined) commits.set(path, commit);
  try {
    await commit.next();
  } finally {
    if (commit.isIdle) commits.delete(path);
  }
}
