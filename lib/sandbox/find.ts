import { CniError } from "../spec/error.ts";
import type { SandboxRecord, SandboxStore } from "./record.ts";
import type { Remains } from "./remains.ts";

/** A shorter one would too easily be a mistyped name. */
const SHORTEST_PREFIX = 4;
const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/**
 * The sandbox that somebody means: by name in the namespace, by ID, or by unambiguous prefix of an ID
 * of at least four characters. One whose record cannot be read is found as far as there is something of it.
 *
 * @throws {CniError} kind `not-found`, or `usage` if several IDs begin so
 */
export async function findSandbox(
  store: SandboxStore,
  nameOrId: string,
  { namespace = "default", remains }: { namespace?: string; remains?: Pick<Remains, "of" | "all"> } = {},
): Promise<SandboxRecord> {
  const missing = new CniError("not-found", `no sandbox "${nameOrId}" in namespace "${namespace}"`, {
    hint: "`podwire ps` lists the sandboxes",
  });
  // Both become parts of a path.
  if (!PATTERN.test(nameOrId) || !PATTERN.test(namespace)) throw missing;
  const owner = await store.ownerOf(namespace, nameOrId);
  const read = async (id: string) => await store.read(id) ?? await remains?.of(id);
  const named = owner === undefined ? undefined : await read(owner);
  // A name may be reserved for one that is still called otherwise.
  if (named?.name === nameOrId && named.namespace === namespace) return named;
  const exact = await read(nameOrId);
  if (exact !== undefined) return exact;
  const ids = async () => [...await store.ids(), ...(await remains?.all() ?? []).map(({ id }) => id)];
  const candidates = nameOrId.length < SHORTEST_PREFIX
    ? []
    : (await ids()).filter((id) => id.startsWith(nameOrId));
  if (candidates.length > 1) {
    throw new CniError("usage", `"${nameOrId}" is ambiguous: the IDs ${candidates.join(", ")} begin so`);
  }
  const [only] = candidates;
  const found = only === undefined ? undefined : await read(only);
  if (found === undefined) throw missing;
  return found;
}
