import { CniError } from "../cni/error.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { type Kernel, KernelError } from "../kernel/kernel.ts";
import { findLink, removeLink } from "../kernel/links.ts";
import type { LinkType } from "../kernel/operation.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import { attachmentComment } from "./attachment_tag.ts";
import { tagged } from "./pair_attachment.ts";
import { randomVethName } from "./random_names.ts";
import type { Undo } from "./undo.ts";

/** An interface for a container. */
export interface WantedLink {
  /** In the namespace of the container. */
  readonly name: string;
  readonly link: LinkType;
  /** Whether its master is in the namespace of the container too. */
  readonly isInside: boolean;
  readonly mac: string | undefined;
  /** In bytes. */
  readonly mtu: number | undefined;
  /** Makes the error for a master that has such an interface already. @default {that of the kernel} */
  readonly refusal?: (() => Promise<Error>) | undefined;
}

/**
 * Makes an interface in the namespace of the container, down, with the tag of the attachment; `undo` removes it. Returns it as
 * it is then.
 *
 * @throws {CniError} kind `conflict`, if the name is taken in the container.
 */
export async function makeLink(request: PluginRequest, wanted: WantedLink, undo: Undo): Promise<LinkInfo> {
  const { netns, run, signal } = request;
  const { name } = wanted;
  const kernel = kernelFor(run);
  const madeAs = await createNamed(request, wanted, undo);
  if (madeAs !== name) {
    await kernel.apply([{ kind: "set-link", name: madeAs, newName: name }], { netns, signal });
  }
  const alias = await attachmentComment(tagged(request));
  const operations = [{ kind: "set-link", name, alias }, { kind: "show-link", name }] as const;
  const [, link] = await kernel.apply(operations, { netns, signal });
  return link;
}

/**
 * Creates the interface under its name at once, or under a random one where the kernel does not allow that: an older
 * one, such as 6.1, refuses a name that an interface beside the master has. Returns the name.
 */
async function createNamed(request: PluginRequest, wanted: WantedLink, undo: Undo): Promise<string> {
  const { netns, run, signal } = request;
  const { name } = wanted;
  const kernel = kernelFor(run);
  try {
    await create(request, wanted, name, undo);
    return name;
  } catch (error) {
    if (!isTaken(error)) throw error;
    if (await findLink(kernel, name, { netns, signal }) !== undefined) {
      throw new CniError("conflict", `Cannot create interface "${name}" in "${netns}": it already exists`);
    }
    const refuse = async (error: unknown) => {
      throw isTaken(error) && wanted.refusal !== undefined ? await wanted.refusal() : error;
    };
    if (wanted.isInside) return await refuse(error);
    const other = randomVethName();
    await create(request, wanted, other, undo).catch(refuse);
    // Until it has its name, it is removed under the other one.
    undo.push("the interface", (signal) => removeMade(kernel, wanted, name, { netns, signal }));
    return other;
  }
}

async function create(request: PluginRequest, wanted: WantedLink, name: string, undo: Undo): Promise<void> {
  const { link, isInside, mac, mtu } = wanted;
  const { netns, run, signal } = request;
  const kernel = kernelFor(run);
  const undone = (isMade?: (found: LinkInfo) => boolean) =>
    undo.push("the interface", (signal) => removeMade(kernel, wanted, name, { netns, signal }, isMade));
  try {
    await kernel.apply([{ kind: "create-link", name, link, mac, mtu, netns: isInside ? undefined : netns }], {
      netns: isInside ? netns : undefined,
      signal,
    });
  } catch (error) {
    // A call that is stopped may have made it, but not one that has an alias already.
    if (!(error instanceof KernelError)) undone(({ alias }) => alias === "");
    throw error;
  }
  undone();
}

/** Removes the interface of that name, unless it is of another kind. */
async function removeMade(
  kernel: Kernel,
  { link: { type } }: WantedLink,
  name: string,
  options: { readonly netns: string; readonly signal: AbortSignal },
  isMade: (found: LinkInfo) => boolean = () => true,
): Promise<void> {
  const found = await findLink(kernel, name, options);
  if (found?.kind === type && isMade(found)) await removeLink(kernel, name, options);
}

function isTaken(error: unknown): boolean {
  return error instanceof KernelError && error.problem === "exists";
}
