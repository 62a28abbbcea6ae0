import { dirname } from "@std/path/posix";
import { statOwn } from "./stat.ts";

const MOST_ATTEMPTS = 100;

/**
 * Creates an empty file, and its folder, unless it exists. A folder that another process removes at the same time, because it
 * has become empty, is made again. A loss of power may take the file away.
 *
 * Requires `--allow-read` and `--allow-write`.
 */
export async function putMarker(path: string): Promise<void> {
  if (await statOwn(path) !== undefined) return;
  for (let attempt = 1;; attempt++) {
    try {
      return Deno.writeTextFileSync(path, "", { mode: 0o600 });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound) || attempt === MOST_ATTEMPTS) throw error;
    }
    Deno.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  }
}
