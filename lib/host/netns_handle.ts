import { listDir, statOf } from "./file.ts";

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
  const file = await openIfThere(path);
  if (file === undefined) return undefined;
  try {
    const { dev, ino } = await file.stat();
    const held = `${dev}:${ino}` === id ? await pathOf(id) : undefined;
    if (held === undefined) file.close();
    return held === undefined ? undefined : { path: held, [Symbol.dispose]: () => file.close() };
  } catch (error) {
    file.close();
    throw error;
  }
}

async function openIfThere(path: string): Promise<Deno.FsFile | undefined> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Deno does not tell the number of a file that it has opened. */
async function pathOf(id: string): Promise<string | undefined> {
  const dir = `/proc/${Deno.pid}/fd`;
  const numbers = await listDir(dir);
  const there = await Promise.all(numbers.map((number) => statOf(`${dir}/${number}`).catch(() => undefined)));
  const index = there.findIndex((stat) => stat !== undefined && `${stat.dev}:${stat.ino}` === id);
  return index < 0 ? undefined : `${dir}/${numbers[index]}`;
}
