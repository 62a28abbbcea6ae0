/** A process as the kernel shows it to every user. */
export interface ProcessEntry {
  readonly pid: number;
  readonly parent: number;
  /** The process ID of the leader of its session. */
  readonly session: number;
  /** Real, effective and saved user ID. */
  readonly users: readonly number[];
}

/** The script for `sh` whose output {@linkcode parseProcessTable} reads. -s, because processes may end meanwhile. */
export const PROCESS_TABLE = "grep -sHE '^(State|PPid|Uid|NSsid):' /proc/[0-9]*/status";

/** Returns the processes that have not ended, by their IDs. */
export function parseProcessTable(text: string): ReadonlyMap<number, ProcessEntry> {
  const fields = new Map<number, Map<string, readonly string[]>>();
  // The name of the program is on a line of its own in these files, and its line ends are escaped as \n.
  for (const [, pid, name = "", value = ""] of text.matchAll(/^\/proc\/(\d+)\/status:(\w+):\s*(.*)$/gm)) {
    const known = fields.get(Number(pid)) ?? new Map<string, readonly string[]>();
    fields.set(Number(pid), known.set(name, value.split(/\s+/)));
  }
  const table = new Map<number, ProcessEntry>();
  for (const [pid, known] of fields) {
    const [state = ""] = known.get("State") ?? [];
    const [parent] = known.get("PPid") ?? [];
    // With nested namespaces, the outermost comes first.
    const [session] = known.get("NSsid") ?? [];
    if (parent === undefined || session === undefined || "ZXx".includes(state)) continue;
    const users = (known.get("Uid") ?? []).slice(0, 3).map(Number);
    table.set(pid, { pid, parent: Number(parent), session: Number(session), users });
  }
  return table;
}

/** Returns these processes and all their descendants, as far as the chain of parents still exists. */
export function withDescendants(
  roots: Iterable<number>,
  table: ReadonlyMap<number, ProcessEntry>,
): ReadonlySet<number> {
  const children = Map.groupBy(table.values(), ({ parent }) => parent);
  const found = new Set<number>();
  const pending = [...roots];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    if (found.has(pid)) continue;
    found.add(pid);
    for (const child of children.get(pid) ?? []) pending.push(child.pid);
  }
  return found;
}
