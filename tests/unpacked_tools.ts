import { ensureDir } from "@std/fs";
import { exists } from "./component_folder.ts";
import { programOutput } from "./program_output.ts";

/**
 * Unpacks packages into one folder, as on a machine on which /bin, /sbin and /lib are links into /usr: only its usr
 * (and etc) is laid over the machine's own, or found by a path.
 */
export async function unpackTools(archives: readonly string[], root: string): Promise<void> {
  await ensureDir(`${root}/usr`);
  for (const archive of archives) await programOutput("dpkg-deb", ["-x", archive, root]);
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    if (!exists(`${root}/${name}`)) continue;
    await ensureDir(`${root}/usr/${name}`);
    await programOutput("cp", ["-a", `${root}/${name}/.`, `${root}/usr/${name}`]);
    await Deno.remove(`${root}/${name}`, { recursive: true });
  }
}
