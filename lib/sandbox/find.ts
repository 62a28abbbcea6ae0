import { CniError } from "../spec/error.ts";
import type { SandboxRecord, SandboxStore } from "./record.ts";

/** A shorter one would too easily be a mistyped name. */
const SHORTEST_PREFIX = 4;
const PATTERN = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/**
 * The sandbox that somebody means: by name in the namespace, by ID, or by unambiguous prefix of an ID
 * of at least four characters.
 *
 * @throws {CniError} kind `not-found`, or `usage` if several IDs begin so
 */
export async function findSandbox(
  store: SandboxStore,
  nameOrId: string,
  { namespace = "default" }: { namespace?: string } = {},
): Promise<SandboxRecord> {
  const missing = new CniError("not-found", `no sandbox "${nameOrId}" in namespace "${namespace}"`, {
    hint: "`podwire ps` lists the sandboxes",
  });
  // Both become parts of a path.
  if (!PATTERN.test(nameOrId) || !PATTERN.test(namespace)) throw missing;
  const owner = await store.ownerOf(namespace, nameOrId);
  const named = owner === undefined ? undefined : await store.read(owner);
  if (named !== undefined) return named;
  const exact = await store.read(nameOrId);
  if (exact !== undefined) return exact;
  const candidates = nameOrId.length < SHORTEST_PREFIX
    ? []
    : (await store.ids()).filter((id) => id.startsWith(nameOrId));
  if (candidates.length > 1) {
    throw new CniError("usage", `"${nameOrId}" is ambiguous: the IDs ${candidates.join(", ")} begin so`);
  }
  const [only] = candidates;
  const found = only === undefined ? undefined : await store.read(only);
  if (found === undefined) throw missing;
  return found;
}
