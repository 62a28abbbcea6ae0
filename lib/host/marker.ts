import { dirname } from "@std/path/posix";
import { inEnsuredDir } from "./file.ts";
import { statOwn } from "./stat.ts";

const MOST_ATTEMPTS = 5;

/**
 * Creates an empty file, and its folder, unless it exists. A folder that another process removes at the same time, because it
 * has become empty, is made again. A loss of power may take the file away.
 *
 * Requires `--allow-read` and `--allow-write`.
 */
export async function putMarker(path: string): Promise<void> {
  const create = async () => await Promise.resolve(Deno.writeTextFileSync(path, "", { mode: 0o600 }));
  for (let attempt = 1; await statOwn(path) === undefined; attempt++) {
    await inEnsuredDir(dirname(path), 0o700, create).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound) || attempt === MOST_ATTEMPTS) throw error;
    });
  }
}
