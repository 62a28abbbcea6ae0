import type { LinkInfo } from "../host/link_info.ts";
import { type Kernel, KernelError, type KernelOptions } from "./kernel.ts";

/** The namespace to look in, and how long that may take. */
export type LinkOptions = Pick<KernelOptions, "netns" | "signal">;

/**
 * Returns one interface with its addresses; alternative names count too. Undefined if there is none with that name.
 *
 * @throws {KernelError} If that cannot be found out, as in a namespace that is gone.
 */
export async function findLink(
  kernel: Kernel,
  name: string,
  { netns, signal }: LinkOptions = {},
): Promise<LinkInfo | undefined> {
  try {
    const [link] = await kernel.apply([{ kind: "show-link", name }], { netns, signal });
    return link;
  } catch (error) {
    // Without an index it is the namespace that is missing.
    if (error instanceof KernelError && error.index === 0 && error.problem === "missing") return undefined;
    throw error;
  }
}

/**
 * Removes an interface, and with it the other end of its pair; returns false if there is none.
 *
 * @throws {KernelError} If it is still there.
 */
export async function removeLink(
  kernel: Kernel,
  name: string,
  { netns, signal }: LinkOptions = {},
): Promise<boolean> {
  try {
    await kernel.apply([{ kind: "remove-link", name }], { netns, signal });
    return true;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    if (await findLink(kernel, name, { netns, signal }) !== undefined) throw error;
    return false;
  }
}

/** Returns the ends of veth pairs that are on this host. */
export async function vethsOfHost(
  kernel: Kernel,
  { signal }: Pick<LinkOptions, "signal"> = {},
): Promise<readonly LinkInfo[]> {
  const [veths] = await kernel.apply([{ kind: "show-links", of: "veth" }], { signal });
  return veths;
}

/** Returns the interfaces on this host through which packets are redirected to limit their rate. */
export async function ifbsOfHost(
  kernel: Kernel,
  { signal }: Pick<LinkOptions, "signal"> = {},
): Promise<readonly LinkInfo[]> {
  const [ifbs] = await kernel.apply([{ kind: "show-links", of: "ifb" }], { signal });
  return ifbs;
}

/** Returns the names of the veths of this host with an alias for which `select` is true. */
export async function linksByAlias(
  kernel: Kernel,
  select: (alias: string) => boolean,
  { signal }: Pick<LinkOptions, "signal"> = {},
): Promise<readonly string[]> {
  const veths = await vethsOfHost(kernel, { signal });
  return veths.filter(({ alias }) => alias !== "" && select(alias)).map(({ name }) => name);
}
