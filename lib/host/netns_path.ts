import { lookAtHome } from "./home.ts";
import { linkTarget, lookNow, statOf } from "./stat.ts";

/** The namespace of the process that opens this path. */
const OWN = "/proc/self/ns/net";

/**
 * Returns the identity of the namespace that a path leads to; it is equal for all paths of one namespace, and the kernel
 * uses it again when the namespace is gone. Undefined if there is no namespace. Requires `--allow-read`.
 */
export async function netnsId(path: string): Promise<string | undefined> {
  const found = await inspectNetns(path);
  return found.kind === "namespace" ? found.id : undefined;
}

/** Whether two paths lead to the same namespace. Requires `--allow-read`. */
export async function sameNetns(a: string, b: string): Promise<boolean> {
  const [x, y] = await Promise.all([netnsId(a), netnsId(b)]);
  return x !== undefined && x === y;
}

/**
 * Returns why a path cannot be used as a network namespace, as a predicate such as "does not exist"; undefined if it can.
 * Requires `--allow-read`.
 */
export async function nsProblem(path: string): Promise<string | undefined> {
  const found = await inspectNetns(path);
  return found.kind === "namespace" ? undefined : found.problem;
}

/** What is at a path. */
export type FoundNetns =
  | { readonly kind: "namespace"; readonly id: string; readonly link: boolean }
  | { readonly kind: "missing" | "empty-file" | "other"; readonly problem: string };

/** Leads to the namespace of this process. */
const LEADS_TO_OWN = new RegExp(`^/+proc/+(?:thread-self|self|${Deno.pid})/`);

/** Inspects a path without opening it: files under /proc cannot be opened without full permissions. Requires `--allow-read`. */
export async function inspectNetns(path: string): Promise<FoundNetns> {
  const now = netnsNow(path);
  if (now !== undefined) return { kind: "namespace", id: now.id, link: now.mtimeMs === undefined };
  const isOwn = LEADS_TO_OWN.test(path);
  return await lookAtHome(
    () => inspectPath(path),
    (found) => isOwn || found.kind === "namespace" && found.link,
  );
}

/** A namespace that was found in one turn of the event loop. */
export interface NetnsNow {
  readonly id: string;
  /** When its file was created, which is never written; undefined for a namespace that is not mounted on the path. */
  readonly mtimeMs?: number;
}

/** Lets {@linkcode netnsNow} recognize namespaces, if that is permitted. Requires as {@linkcode netnsId}. */
export async function learnNamespaces(): Promise<void> {
  await namespaceDevice().catch(() => undefined);
}

/**
 * Returns the namespace that a path leads to in the same turn of the event loop, in which no thread is away from home: a
 * list looks at thousands. Undefined if only {@linkcode netnsId} can find out what is there, or before the first such look or
 * {@linkcode learnNamespaces}. Requires `--allow-read`.
 */
export function netnsNow(path: string): NetnsNow | undefined {
  if (ownDevice === undefined) return undefined;
  const there = lookNow(path);
  // All namespaces are files of one device. Only a link in /proc shows the kind.
  if (there === undefined || there.dev !== ownDevice) return undefined;
  const id = `${there.dev}:${there.ino}`;
  if (there.link === undefined) return { id, mtimeMs: there.mtimeMs };
  return there.link.startsWith("net:[") ? { id } : undefined;
}

async function inspectPath(path: string): Promise<FoundNetns> {
  try {
    const [link, there, device] = await Promise.all([
      linkTarget(path),
      statOf(path),
      namespaceDevice(),
    ]);
    if (there === undefined) {
      if (link === undefined || isNsLink(link)) return { kind: "missing", problem: "does not exist" };
      return { kind: "other", problem: `is a symbolic link to "${link}", which does not exist` };
    }
    const via = link === undefined ? "" : `a symbolic link to "${link}", `;
    if (there.isDirectory) return { kind: "other", problem: `is ${via}a directory` };
    // All namespaces are files of one device, which has no other files.
    if (there.dev === device) {
      const kind = link && /^(\w+):\[/.exec(link)?.[1];
      if (kind && kind !== "net") {
        return { kind: "other", problem: `is a namespace of another kind (${kind})` };
      }
      return { kind: "namespace", id: `${there.dev}:${there.ino}`, link: link !== undefined };
    }
    const problem = `is ${via}a plain file, not a network namespace`;
    return { kind: there.isFile && there.size === 0 && link === undefined ? "empty-file" : "other", problem };
  } catch (error) {
    if (error instanceof Deno.errors.PermissionDenied) return { kind: "other", problem: "permission denied" };
    if (error instanceof Deno.errors.NotADirectory) return { kind: "missing", problem: "does not exist" };
    throw error;
  }
}

let ownDevice: number | undefined;

/** The device of all namespaces; it does not change while the machine is up. */
async function namespaceDevice(): Promise<number | undefined> {
  ownDevice ??= (await statOf(OWN))?.dev;
  return ownDevice;
}

function isNsLink(target: string): boolean {
  return /^\w+:\[\d+\]$/.test(target);
}
