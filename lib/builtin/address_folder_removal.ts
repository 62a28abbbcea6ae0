import { basename, dirname } from "@std/path/posix";
import type { JsonObject } from "../cni/json.ts";
import { removeDirIfEmpty, removeIfThere } from "../host/file.ts";
import { lockFile } from "../host/lock.ts";
import { namesIn, statOwn } from "../host/stat.ts";
import { removeTree } from "../host/tree.ts";
import { storeDirs } from "./kept_addresses.ts";

/** What the original host-local keeps beside the addresses. */
const OWN_FILES = /^(?:lock|last_reserved_ip\.\d+)$/;
/** What podwire keeps beside the directories of the networks. */
const OWN_FOLDERS = [".podwire", ".podwire/.names"];

/**
 * Removes the directories in which host-local keeps the addresses of a network, with what podwire remembers of them. A directory
 * with an address, or with any other file that is not host-local's, stays.
 *
 * Permissions: `--allow-read` and `--allow-write` for the directories, and for `.podwire` beside them.
 */
export async function removeEmptyAddressFolders(
  plugins: readonly JsonObject[],
  network: string,
  signal: AbortSignal,
): Promise<void> {
  for (const dir of storeDirs(plugins, network)) {
    if (!(await statOwn(dir))?.isDirectory) continue;
    using lock = await lockFile(`${dir}/lock`, { signal });
    const names = await namesIn(dir);
    if (!names.every((name) => OWN_FILES.test(name))) continue;
    for (const folder of OWN_FOLDERS) await removeTree(`${dirname(dir)}/${folder}/${basename(dir)}`);
    for (const name of names) if (name !== "lock") await removeIfThere(`${dir}/${name}`);
    await lock.remove();
    await removeDirIfEmpty(dir);
  }
}
