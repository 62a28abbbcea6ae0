import { dirname } from "@std/path/posix";
import { removeIfThere, syncDir } from "./file.ts";
import { statOf } from "./stat.ts";

/**
 * Renames a file that cannot be used, or a directory in its place, to a free name in the same directory
 * (`web.json.bad-1`), and returns that name. Requires `--allow-read` and `--allow-write`.
 */
export async function setAside(path: string): Promise<string> {
  for (let n = 1;; n++) {
    const aside = `${path}.bad-${n}`;
    if ((await statOf(path))?.isDirectory) {
      if (await statOf(aside) !== undefined) continue;
      // A rename of a directory replaces nothing but an empty directory.
      await Deno.rename(path, aside);
      await syncDir(dirname(path));
      return aside;
    }
    try {
      // A link, unlike a rename, never replaces a file that another process set aside meanwhile.
      await Deno.link(path, aside);
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) continue;
      throw error;
    }
    await removeIfThere(path);
    await syncDir(dirname(path));
    return aside;
  }
}
