// The folder of what is fetched for the tests, and the way in which something gets there: complete, or not at all.
import { ensureDir } from "@std/fs";
import { fromFileUrl } from "@std/path";
import { ownUser } from "../lib/host/stat.ts";

/** Where the components are, each in a folder of its own. */
export const COMPONENT_FOLDER = fromFileUrl(new URL("../.components", import.meta.url));

/**
 * Runs `fetch` for what `missing` names, with a folder for its work that is removed afterwards. Two at the same time
 * wait for each other, so `missing` is asked again by the second.
 *
 * @returns why nothing could be fetched, one sentence for each; empty if nothing is missing
 */
export async function fetchMissing<T>(
  missing: () => readonly { readonly name: string; readonly what: T }[],
  fetch: (missing: readonly T[], work: string) => Promise<string[]>,
  say: (line: string) => void,
): Promise<string[]> {
  await ensureDir(COMPONENT_FOLDER);
  using lock = await Deno.open(`${COMPONENT_FOLDER}/lock`, { create: true, write: true });
  await lock.lock(true);
  const wanted = missing();
  if (wanted.length === 0) return [];
  const names = wanted.map(({ name }) => name);
  if (!exists("/usr/bin/apt-get")) {
    return names.map((name) => `${name} is missing, and this machine is not Debian`);
  }
  if (ownUser() !== 0) {
    return names.map((name) => `${name} is missing, and only root can fetch it`);
  }
  say(`fetching ${names.join(", ")}`);
  // Left by a run that was killed; the holder of the lock is alone here.
  for await (const { name } of Deno.readDir(COMPONENT_FOLDER)) {
    if (name.startsWith("new-")) await Deno.remove(`${COMPONENT_FOLDER}/${name}`, { recursive: true });
  }
  const work = await Deno.makeTempDir({ dir: COMPONENT_FOLDER, prefix: "new-" });
  try {
    return await fetch(wanted.map(({ what }) => what), work);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Makes a folder a component. The rename is the stamp: the component exists only when it is complete. */
export async function putComponent(root: string, name: string): Promise<void> {
  await Deno.remove(`${COMPONENT_FOLDER}/${name}`, { recursive: true }).catch(ignoreAbsent);
  await Deno.rename(root, `${COMPONENT_FOLDER}/${name}`);
}

/** Whether there is a file or folder. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    ignoreAbsent(error);
    return false;
  }
}

function ignoreAbsent(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
