import type { RunCommand } from "../host/command.ts";
import { openLibc } from "../host/libc.ts";
import { speaksNetlink } from "./choose_kernel.ts";
import type { FlowSelection } from "./flow.ts";

/**
 * Lets the kernel forget the selected UDP connections of this host: it would send their next packets where it sent the ones
 * before, whatever the rules say now. Returns how many there were; undefined if there is no way to ask the kernel.
 *
 * Requires root, and the whole `--allow-ffi` or `--allow-run=conntrack`.
 */
export async function removeFlows(
  run: RunCommand,
  selection: FlowSelection,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<number | undefined> {
  if (speaksNetlink(run)) {
    const { removeFlowsByNetlink } = await import("./netlink_flows.ts");
    return await removeFlowsByNetlink(openLibc(), selection, signal);
  }
  const { removeFlowsByProgram } = await import("./conntrack_program.ts");
  return await removeFlowsByProgram(run, selection, signal);
}
