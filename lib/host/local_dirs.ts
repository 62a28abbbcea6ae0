import { dirname } from "@std/path/posix";
import { factsLibrary } from "./file_facts.ts";
import { LIBC, LIBC_OFFSETS, LIBC_SIZES } from "./libc_constants.ts";

/** The file systems on a disk of this machine, or in its memory. A look at another one may wait for another machine, or for ever. */
const LOCAL: readonly number[] = [
  LIBC.BTRFS_SUPER_MAGIC,
  LIBC.EROFS_SUPER_MAGIC_V1,
  LIBC.EXT4_SUPER_MAGIC,
  LIBC.F2FS_SUPER_MAGIC,
  LIBC.OVERLAYFS_SUPER_MAGIC,
  LIBC.RAMFS_MAGIC,
  LIBC.SQUASHFS_MAGIC,
  LIBC.TMPFS_MAGIC,
  LIBC.XFS_SUPER_MAGIC,
];

const known = new Map<string, boolean>();

/**
 * Returns whether a directory, or where it would be made, is on this machine; undefined if that was not asked yet. A file
 * system that is mounted there later is not noticed.
 */
export function isLocalDir(dir: string): boolean | undefined {
  return known.get(dir);
}

/** Asks the kernel for what {@linkcode isLocalDir} then returns; a file system that hangs holds one thread. */
export async function askForLocalDir(dir: string): Promise<void> {
  const library = factsLibrary();
  if (library === undefined) return;
  // One question is enough.
  known.set(dir, false);
  const facts = new Uint8Array(LIBC_SIZES.statfs);
  for (let place = dir;; place = dirname(place)) {
    if (await library.statfsAway(place, facts) === 0) break;
    if (place === "/" || place === ".") return;
  }
  const type = new DataView(facts.buffer).getUint32(LIBC_OFFSETS.statfs.f_type, true);
  known.set(dir, LOCAL.includes(type));
}
