import { CniError, ERROR_CODES } from "../cni/error.ts";
import { sha512 } from "../host/sha256.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { KernelError } from "../kernel/kernel.ts";
import { findLink, removeLink } from "../kernel/links.ts";
import { attachmentComment, attachmentTag, type TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";

/**
 * Returns the names that the ifb of an attachment may have. The first one is that of the CNI plugins project, which does not
 * depend on the interface: another interface of the container in the network may have it.
 */
export async function ifbNames(
  { network, containerId, ifName }: TaggedAttachment,
): Promise<readonly string[]> {
  const texts = [network + containerId, `${network}${containerId}/${ifName}`];
  return await Promise.all(texts.map(async (text) => `bwp${(await sha512(text)).slice(0, 12)}`));
}

/**
 * Makes the ifb of an attachment, up, and returns it; replaces the one that an ADD has left.
 *
 * @throws {CniError} If the kernel has no ifb.
 */
export async function addIfb(host: Host, attachment: TaggedAttachment, mtu: number): Promise<LinkInfo> {
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const alias = await attachmentComment(attachment);
  await removeOwnIfbs(host, attachment, []);
  for (const name of await ifbNames(attachment)) {
    try {
      await kernel.apply([{ kind: "create-link", name, link: { type: "ifb" }, mtu }], { signal });
    } catch (error) {
      if (error instanceof KernelError && error.problem === "exists") continue;
      throw withoutIfb(error);
    }
    const set = { kind: "set-link", name, up: true, txQueueLength: 0, alias } as const;
    const [, link] = await kernel.apply([set, { kind: "show-link", name }], { signal });
    return link;
  }
  throw new CniError(
    "conflict",
    "Cannot limit what the container sends: its interfaces for that exist already",
  );
}

/**
 * Removes the ifbs of an attachment. One without an alias, as the CNI plugins project makes it, only if it is one of
 * `recorded`.
 */
export async function removeOwnIfbs(
  host: Host,
  attachment: TaggedAttachment,
  recorded: readonly string[],
): Promise<void> {
  const { signal } = host;
  const kernel = kernelFor(host.run);
  const tag = await attachmentTag(attachment);
  for (const name of await ifbNames(attachment)) {
    const link = await findLink(kernel, name, { signal });
    if (link?.kind !== "ifb") continue;
    const isOwn = link.alias === "" ? recorded.includes(name) : link.alias.startsWith(tag);
    if (isOwn) await removeLink(kernel, name, { signal });
  }
}

function withoutIfb(error: unknown): unknown {
  if (!(error instanceof KernelError) || !/not supported|Unknown device type/i.test(error.why)) return error;
  return new CniError(
    "not-ready",
    "Cannot limit what the container sends: this kernel has no interfaces of the kind ifb",
    {
      code: ERROR_CODES.internal,
      details:
        "load the module ifb, or set only ingressRate and ingressBurst: what a container receives needs none",
      cause: error,
    },
  );
}
