import { runCommand } from "../../lib/host/command.ts";

/**
 * Unmounts a folder and everything that is mounted below it, which may be nothing. Only what the kernel lists
 * there: a pattern such as `DIR/*` would match links too, and unmount their targets.
 */
export async function unmountBelow(dir: string): Promise<void> {
  const script = 'grep -o " $1\\(/[^ ]*\\)\\? " /proc/self/mounts | sort -r | xargs -r umount -l 2>/dev/null';
  await runCommand({ program: "sh", args: ["-c", script, "sh", dir] });
}
