import type { SandboxContext } from "./context.ts";
import type { DamagedSandboxes } from "./damaged_sandboxes.ts";
import { isInState, mayMatch, type SandboxSelection } from "./filter.ts";
import type { SandboxRecord } from "./record.ts";
import { prepareView, type Sandbox, viewSandboxes } from "./view.ts";

/** The dependencies of {@linkcode listSandboxes}. */
export interface ListContext extends SandboxContext {
  readonly damagedSandboxes: Pick<DamagedSandboxes, "recordsOf">;
}

/** As `Sandboxes.list`. */
export async function listSandboxes(
  filters: readonly SandboxSelection[],
  context: ListContext,
  signal?: AbortSignal,
): Promise<readonly Sandbox[]> {
  const isWanted = (record: SandboxRecord) => mayMatch(record, filters);
  const prepare = (record: SandboxRecord) => {
    if (isWanted(record)) prepareView(record, context);
  };
  const records = (await allRecords(context, await idsFor(filters, context), prepare)).filter(isWanted);
  const sandboxes = await viewSandboxes(records, context, signal);
  return sandboxes.filter((sandbox) => isInState(sandbox, filters));
}

/** As `Sandboxes.states`. */
export async function sandboxStates(
  context: ListContext,
  signal?: AbortSignal,
): Promise<readonly Pick<Sandbox, "state" | "underWay">[]> {
  const pods = { networks: () => Promise.resolve([]), networksNow: () => [] };
  return await viewSandboxes(await allRecords(context), { ...context, pods, isWhole: false }, signal);
}

/** Returns the containers that can match, so that the records of the others need not be read. */
async function idsFor(
  filters: readonly SandboxSelection[],
  { sandboxes }: Pick<ListContext, "sandboxes">,
): Promise<readonly string[]> {
  const [name] = filters.flatMap(({ name }) => name ?? []);
  const ids = name === undefined ? await sandboxes.ids() : await sandboxes.idsNamed(name);
  return ids.filter((id) => filters.every((filter) => id.startsWith(filter.id ?? "")));
}

async function allRecords(
  { sandboxes, damagedSandboxes }: ListContext,
  ids?: readonly string[],
  onRead?: (record: SandboxRecord) => void,
): Promise<readonly SandboxRecord[]> {
  const { records, damaged } = await sandboxes.scan(ids, onRead);
  return [...records, ...await damagedSandboxes.recordsOf(damaged)];
}
