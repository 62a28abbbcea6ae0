import type { JsonObject } from "../cni/json.ts";
import { fieldError, type Section, sectionsField, stringField } from "./field.ts";

/** An attachment that a runtime still knows. */
export interface ValidAttachment {
  readonly containerId: string;
  readonly ifName: string;
}

const KEY = "cni.dev/valid-attachments";

/**
 * The attachments that a GC must spare.
 *
 * @throws {CniError} with the code 7 if the key is missing: taking that for an empty list would remove everything.
 */
export function validAttachments(config: JsonObject): ValidAttachment[] {
  const top: Section = { json: config, path: "" };
  if (config[KEY] === undefined || config[KEY] === null) throw fieldError(top, KEY, "is missing");
  return sectionsField(top, KEY).map((entry) => {
    const containerId = stringField(entry, "containerID");
    const ifName = stringField(entry, "ifname");
    if (containerId === "") throw fieldError(entry, "containerID", "is missing");
    return { containerId, ifName };
  });
}
