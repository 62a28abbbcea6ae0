import { CniError } from "../cni/error.ts";
import { holdNetns, type NetnsHandle } from "../host/netns_handle.ts";
import type { SandboxContext } from "./context.ts";
import { isUnchanged } from "./netns_identity.ts";
import type { Sandbox } from "./view.ts";

/** As `Sandboxes.hold`, for a sandbox that was looked up. */
export async function holdSandboxNetns(
  { id, name, state, reason = "" }: Sandbox,
  { sandboxes }: Pick<SandboxContext, "sandboxes">,
): Promise<NetnsHandle> {
  const refuse = (problem: string) => new CniError("conflict", `Cannot enter sandbox "${name}": ${problem}`);
  if (state !== "ready") throw refuse(`it is ${state}${reason && `: ${reason}`}`);
  const netns = (await sandboxes.read(id))?.netns;
  if (netns?.id === undefined) throw refuse("it is gone");
  const { path, id: wanted } = netns;
  const isKernels = path.startsWith("/proc/");
  // A path under /proc cannot be held open, and no other namespace can be put in its place.
  const nothing = { path, [Symbol.dispose]: () => {} };
  const handle = isKernels ? nothing : await holdNetns(path, wanted);
  // Checked again while the namespace is held, because then its inode number cannot be reused.
  if (handle !== undefined && await isUnchanged(netns)) return handle;
  handle?.[Symbol.dispose]();
  throw refuse(`${path} does not lead to its namespace`);
}
