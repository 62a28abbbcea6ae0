import { sh } from "./binary_world.ts";

/** Where a program in a sandbox has mounts of its own. */
const PLACES = /^\/(?:etc|sys|proc|mnt)(?:\/|$)/;

/** Returns the mounts of the host in these places and below a directory. Tests beside this one have mounts of their own elsewhere. */
export async function ownMounts(dir: string): Promise<string> {
  const lines = (await sh("cat /proc/self/mountinfo")).split("\n");
  return lines.filter((line) => {
    const [, , , , point = ""] = line.split(" ");
    return PLACES.test(point) || point.startsWith(dir);
  }).join("\n");
}
