import { listDir, statOf } from "./file.ts";
import { holdOpen } from "./read_file.ts";

/** A network namespace that is held open, so that its path may lead elsewhere meanwhile. */
export interface NetnsHandle extends Disposable {
  /** Leads to the namespace until the handle is disposed of. */
  readonly path: string;
}

/**
 * Opens the namespace that a path leads to, if it is still the one of that identity (see `netnsId`); undefined if it is
 * not. Who enters by the path of the handle enters that namespace or none, whatever becomes of the path meanwhile.
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

/** Deno does not tell the number of a file that it has opened. */
async function pathOf(id: string): Promise<string | undefined> {
  const dir = `/proc/${Deno.pid}/fd`;
  const numbers = await listDir(dir);
  const there = await Promise.all(numbers.map((number) => statOf(`${dir}/${number}`).catch(() => undefined)));
  const index = there.findIndex((stat) => stat !== undefined && `${stat.dev}:${stat.ino}` === id);
  return index < 0 ? undefined : `${dir}/${numbers[index]}`;
}
