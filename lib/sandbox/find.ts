import { inParallel } from "../async/parallel.ts";
import { CniError } from "../cni/error.ts";
import type { SandboxRecord } from "./record.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import type { SandboxStore } from "./store.ts";

/** A shorter one would too easily be a mistyped name. */
const SHORTEST_PREFIX = 4;
const FILES_AT_ONCE = 16;
const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/**
 * The sandbox that somebody means: by name in the namespace, by ID, or by unambiguous prefix of an ID
 * of at least four characters. Of several attempts of one name it is the newest that is up, else the newest. One whose
 * record cannot be used is found as far as there is something of it.
 *
 * @throws {CniError} kind `not-found`, or `usage` if several IDs begin so, or several pods of that name are up
 */
export async function findSandbox(
  store: SandboxStore,
  nameOrId: string,
  { namespace = "default", remains }: {
    namespace?: string | undefined;
    remains?: Pick<DamagedSandboxes, "of"> | undefined;
  } = {},
): Promise<SandboxRecord> {
  const missing = new CniError("not-found", `no sandbox "${nameOrId}" in namespace "${namespace}"`, {
    hint: "`podwire ps` lists the sandboxes",
  });
  // Both become parts of a path.
  if (!PATTERN.test(nameOrId) || !PATTERN.test(namespace)) throw missing;
  const usable = async (id: string) => {
    const found = await store.look(id);
    return found !== undefined && "text" in found ? await remains?.of(id) : found;
  };
  const named = await store.named(namespace, nameOrId);
  const shown = await Promise.all(named.map((each) => "text" in each ? remains?.of(each.id) : each));
  // A name may be reserved for one that is still called otherwise.
  const candidates = shown.filter((each) => each?.name === nameOrId && each.namespace === namespace);
  const meant = newest(candidates.filter((each) => each !== undefined), nameOrId);
  if (meant !== undefined) return meant;
  const exact = await usable(nameOrId);
  if (exact !== undefined) return exact;
  const ids = nameOrId.length < SHORTEST_PREFIX
    ? []
    : (await store.ids()).filter((id) => id.startsWith(nameOrId));
  const beginning = (await inParallel(ids, FILES_AT_ONCE, usable)).filter((each) => each !== undefined);
  if (beginning.length > 1) {
    const words = beginning.map(({ id }) => id).join(", ");
    throw new CniError("usage", `"${nameOrId}" is ambiguous: the IDs ${words} begin so`);
  }
  const [only] = beginning;
  if (only === undefined) throw missing;
  return only;
}

/** The newest that is up, else the newest. Where pods with other UIDs are up as well, nobody can tell which is meant. */
function newest(candidates: readonly SandboxRecord[], name: string): SandboxRecord | undefined {
  const up = candidates.filter(({ phase }) => phase === "ready");
  const last = [...up.length > 0 ? up : candidates].sort(byAge).at(-1);
  if (new Set(up.map(({ uid }) => uid)).size > 1) {
    throw new CniError("usage", `"${name}" is ambiguous: ${up.length} sandboxes of that name are up`, {
      details: `their IDs are ${up.map(({ id }) => id).join(", ")}`,
      hint: "name one by its ID",
    });
  }
  return last;
}

function byAge(a: SandboxRecord, b: SandboxRecord): number {
  if (a.uid === b.uid && a.attempt !== b.attempt) return (a.attempt ?? 0) - (b.attempt ?? 0);
  return a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0;
}
