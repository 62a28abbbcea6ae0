import { listDir, statOf } from "./file.ts";
import { holdOpen } from "./read_file.ts";

/** A network namespace that is held open, so that a change of its path does not matter. */
export interface NetnsHandle extends Disposable {
  /** Leads to the namespace until the handle is disposed of. */
  readonly path: string;
}

/**
 * Opens the namespace that a path leads to, if it still has this identity (see `netnsId`); else returns undefined. The path
 * of the handle leads to this namespace or to none, even if the original path changes meanwhile.
 *
 * Requires `--allow-read`, for `/proc` too. What is under `/proc` cannot be opened without full permissions.
 */
export async function holdNetns(path: string, id: string): Promise<NetnsHandle | undefined> {
  const file = await holdOpen(path);
  if (file === undefined) return undefined;
  using stack = new DisposableStack();
  stack.use(file);
  const held = file.id === id ? await pathOf(id) : undefined;
  if (held === undefined) return undefined;
  stack.move();
  return { path: held, [Symbol.dispose]: () => file[Symbol.dispose]() };
}

/** Finds the descriptor by its identity, because Deno does not show the number of a file that it opened. */
async function pathOf(id: string): Promise<string | undefined> {
  const dir = `/proc/${Deno.pid}/fd`;
  const numbers = await listDir(dir);
  const there = await Promise.all(numbers.map((number) => statOf(`${dir}/${number}`).catch(() => undefined)));
  const index = there.findIndex((stat) => stat !== undefined && `${stat.dev}:${stat.ino}` === id);
  return index < 0 ? undefined : `${dir}/${numbers[index]}`;
}
