/** Small disks, real ones, that a test fills or makes read-only under a folder of a network's world. */
import { NetworkWorld, resultWith } from "../attachment/world.ts";
import { bounded } from "../bounded.ts";
import { sh } from "./binary_world.ts";
import { need } from "./need.ts";

export const NO_SPACE = /No space left on device/;
export const READ_ONLY = /Read-only file system/;

/** A disk of a few pages, mounted on a folder of the test. */
export async function withDisk(dir: string, fn: () => Promise<void>): Promise<void> {
  await Deno.mkdir(dir, { recursive: true });
  await sh(`mount -t tmpfs -o size=256k,nr_inodes=64,mode=0700 podwire-test ${dir}`);
  try {
    await fn();
  } finally {
    await sh(`umount -l ${dir}`);
  }
}

/** The shell command that leaves no byte on the disk. */
export const filling = (dir: string) => `cat /dev/zero >${dir}/filler 2>/dev/null || :`;
export const fill = (dir: string) => sh(filling(dir));
export const empty = (dir: string) => Deno.remove(`${dir}/filler`);
export const readOnly = (dir: string) => sh(`mount -o remount,ro ${dir}`);
export const writable = (dir: string) => sh(`mount -o remount,rw ${dir}`);

/** Runs a test of a network with one of its folders on a small disk of its own. */
export function diskTest(
  name: string,
  folder: "stateDir" | "cacheDir",
  fn: (world: NetworkWorld, dir: string) => Promise<void>,
): void {
  Deno.test({
    name,
    ...need("root"),
    fn: async () => {
      await using world = await NetworkWorld.make();
      await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
      await world.plugins.install("b", { ADD: { stdout: resultWith("10.1.0.2/24") } });
      await withDisk(world[folder], () => bounded(() => fn(world, world[folder])));
    },
  });
}
