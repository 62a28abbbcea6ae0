import type { JsonObject } from "../cni/json.ts";
import { openObjectOf } from "../cni/shape.ts";
import type { PluginRequest } from "../plugin/serve.ts";
import type { TaggedAttachment } from "./attachment_tag.ts";
import { nonEmpty, optionalList, present, readConfig, TEXT } from "./config_shape.ts";

/** An attachment that the runtime still knows. */
export interface ValidAttachment {
  readonly containerId: string;
  readonly ifName: string;
}

const KEY = "cni.dev/valid-attachments";

const ATTACHMENTS = openObjectOf({
  [KEY]: present(
    optionalList(openObjectOf({ containerID: present(nonEmpty((id) => id)) }, { ifname: TEXT })),
  ),
}, {});

/**
 * Reads the attachments that a GC must keep.
 *
 * @throws {CniError} with the code 7 if the key is missing: taking that for an empty list would remove everything.
 */
export function validAttachments(config: JsonObject): ValidAttachment[] {
  const attachments = readConfig(ATTACHMENTS, config)[KEY];
  return attachments.map(({ containerID, ifname = "" }) => ({ containerId: containerID, ifName: ifname }));
}

/**
 * Returns the same as attachments to the network of a GC.
 *
 * @throws {CniError} as {@linkcode validAttachments}
 */
export function validTagged({ config, name }: Pick<PluginRequest, "config" | "name">): TaggedAttachment[] {
  return validAttachments(config).map((one) => ({ ...one, network: name }));
}
