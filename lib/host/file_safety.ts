import { factsNow, type FileFacts } from "./file_facts.ts";
import { ownUser } from "./stat.ts";

/** A reason why a file must not be trusted. */
export interface UnsafeFile {
  /** The unsafe path: the file, or a link or directory on the way to it. */
  readonly path: string;
  /** Such as `it can be written by others than its owner`. */
  readonly why: string;
}

/** Options of {@linkcode unsafeFile}. */
export interface FileSafetyOptions {
  /** Whether the path is a directory whose entries are all trusted, whatever their names are. @default {false} */
  readonly listed?: boolean | undefined;
  /**
   * Whether the path is one of podwire, on a disk of this machine: it is inspected without a thread, which takes a fraction
   * of the time. @default {false}
   */
  readonly isOwn?: boolean | undefined;
}

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
/** The kernel follows no more. */
const MOST_LINKS = 40;

/**
 * Checks whether a user other than root and the user of this process can change what a path leads to: the file itself,
 * each link on the way, or a directory above one of them. Returns undefined if no other user can, or if nothing exists at
 * the path. As in sshd and sudo, a directory with the sticky bit, such as /tmp, is safe for files that root owns in it: no
 * other user can rename or remove them.
 *
 * Requires `--allow-read`; directories above the path that cannot be inspected count as safe.
 */
export async function unsafeFile(
  path: string,
  { listed = false, isOwn = false }: FileSafetyOptions = {},
): Promise<UnsafeFile | undefined> {
  const rest = partsOf(path).reverse();
  const ahead = isOwn ? undefined : lookAhead(path);
  let place = "";
  for (let links = 0; rest.length > 0;) {
    const part = rest.pop() ?? "";
    if (part === "..") {
      place = place.slice(0, Math.max(place.lastIndexOf("/"), 0));
      continue;
    }
    const here = `${place}/${part}`;
    const info = await (ahead?.get(here) ?? lstatOf(here, isOwn));
    if (info === "missing") return undefined;
    if (info === "hidden") {
      place = here;
      continue;
    }
    const why = whyUnsafe(info, rest.length === 0 && listed);
    if (why !== undefined) return { path: here, why };
    if (!info.isSymlink) {
      place = here;
      continue;
    }
    if (++links > MOST_LINKS) return undefined;
    const target = await Deno.readLink(here);
    if (target.startsWith("/")) place = "";
    rest.push(...partsOf(target).reverse());
  }
  return undefined;
}

/** Inspects a path and the directories above it at once, because each of them takes a thread. */
function lookAhead(path: string): ReadonlyMap<string, ReturnType<typeof lstatOf>> {
  const ahead = new Map<string, ReturnType<typeof lstatOf>>();
  let place = "";
  for (const part of partsOf(path)) {
    // What comes before it may be a link.
    if (part === "..") break;
    place = `${place}/${part}`;
    const looking = lstatOf(place, false);
    // A problem counts only if the way leads there.
    looking.catch(() => {});
    ahead.set(place, looking);
  }
  return ahead;
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/** Returns why a part of a path is not safe; undefined if it is. `listed` is as in {@linkcode FileSafetyOptions}. */
export function whyUnsafe(
  { uid, mode, isSymlink, isDirectory, isFile }: PathFacts,
  listed: boolean,
): string | undefined {
  if (uid !== 0 && uid !== null && uid !== ownUser()) return `it is owned by user ${uid}`;
  // The mode of a link has no meaning. The reader of a device or a FIFO refuses it, and says what it is.
  if (isSymlink || !(isFile || isDirectory) || ((mode ?? 0) & WRITABLE_BY_OTHERS) === 0) return undefined;
  const isSticky = isDirectory && !listed && ((mode ?? 0) & STICKY) !== 0;
  return isSticky ? undefined : "it can be written by others than its owner";
}

/** What decides whether a part of a path is safe. */
export type PathFacts = Pick<
  FileFacts | Deno.FileInfo,
  "uid" | "mode" | "isSymlink" | "isDirectory" | "isFile"
>;

async function lstatOf(path: string, isOwn: boolean): Promise<PathFacts | "missing" | "hidden"> {
  const facts = isOwn ? factsNow(path, { follow: false }) : "unknown";
  if (facts !== "unknown") return facts ?? "missing";
  try {
    return isOwn ? Deno.lstatSync(path) : await Deno.lstat(path);
  } catch (error) {
    // A script may have the permission for a directory, but not for those above it.
    if (error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.PermissionDenied) {
      return "hidden";
    }
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return "missing";
    throw error;
  }
}
