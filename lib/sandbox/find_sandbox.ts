import type { CallOptions } from "../async/call_options.ts";
import { inParallel } from "../async/parallel.ts";
import { CniError } from "../cni/error.ts";
import { isDamaged } from "./damaged_record.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import type { SandboxRecord } from "./record.ts";
import type { SandboxStore } from "./store.ts";

/** A shorter prefix could too easily be a mistyped name. */
const SHORTEST_PREFIX = 4;
const FILES_AT_ONCE = 16;
const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** How a sandbox is looked up. */
export interface FindOptions extends CallOptions {
  /** The namespace of the name. @default {"default"} */
  readonly namespace?: string | undefined;
}

/**
 * Finds a sandbox by name in the namespace, by ID, or by unambiguous prefix of an ID with at least four characters. If
 * several attempts have the name, it returns the newest that is ready, or else the newest. A sandbox whose record cannot be
 * used is found if something of it still exists.
 *
 * @throws {CniError} kind `not-found`, or `usage` if several IDs begin so, or several pods of that name are up
 */
export async function findSandbox(
  store: SandboxStore,
  nameOrId: string,
  { namespace = "default", damagedSandboxes: damaged }: Pick<FindOptions, "namespace"> & {
    readonly damagedSandboxes?: Pick<DamagedSandboxes, "of"> | undefined;
  } = {},
): Promise<SandboxRecord> {
  const missing = new CniError("not-found", `no sandbox "${nameOrId}" in namespace "${namespace}"`, {
    hint: "`podwire ps` lists the sandboxes",
  });
  // The name and the namespace become parts of a path.
  if (!PATTERN.test(nameOrId) || !PATTERN.test(namespace)) throw missing;
  const readById = async (id: string) => {
    const found = await store.readAny(id);
    return found !== undefined && isDamaged(found) ? await damaged?.of(id) : found;
  };
  const named = await store.named(namespace, nameOrId);
  const records = await Promise.all(named.map((each) => isDamaged(each) ? damaged?.of(each.id) : each));
  // A name may be reserved for a sandbox that still has another name.
  const candidates = records.filter((each) => each?.name === nameOrId && each.namespace === namespace);
  const found = newest(candidates.filter((each) => each !== undefined), nameOrId);
  if (found !== undefined) return found;
  const exact = await readById(nameOrId);
  if (exact !== undefined) return exact;
  const ids = nameOrId.length < SHORTEST_PREFIX
    ? []
    : (await store.ids()).filter((id) => id.startsWith(nameOrId));
  const matches = (await inParallel(ids, FILES_AT_ONCE, readById)).filter((each) => each !== undefined);
  if (matches.length > 1) {
    const found = matches.map(({ id }) => id).join(", ");
    throw new CniError("usage", `"${nameOrId}" is ambiguous: the IDs ${found} begin with it`);
  }
  const [only] = matches;
  if (only === undefined) throw missing;
  return only;
}

/** Returns the newest that is ready, or else the newest. If pods with other UIDs are ready as well, the name is ambiguous. */
function newest(candidates: readonly SandboxRecord[], name: string): SandboxRecord | undefined {
  const ready = candidates.filter(({ phase }) => phase === "ready");
  const last = [...ready.length > 0 ? ready : candidates].sort(byAge).at(-1);
  if (new Set(ready.map(({ uid }) => uid)).size > 1) {
    throw new CniError(
      "usage",
      `"${name}" is ambiguous: ${ready.length} sandboxes with that name are ready`,
      {
        details: `their IDs are ${ready.map(({ id }) => id).join(", ")}`,
        hint: "use the ID instead of the name",
      },
    );
  }
  return last;
}

function byAge(a: SandboxRecord, b: SandboxRecord): number {
  if (a.uid === b.uid && a.attempt !== b.attempt) return (a.attempt ?? 0) - (b.attempt ?? 0);
  return a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0;
}
