import type { NetworkConfigList } from "../cni/config.ts";
import type { JsonObject } from "../cni/json.ts";
import type { AttachmentRecord } from "./attachment_record.ts";
import { listOnRecord } from "./recorded_config.ts";

/** Returns the arguments that can lead to a claim: none if no plugin of the network publishes ports. */
export function published(list: NetworkConfigList, capabilityArgs: JsonObject): JsonObject {
  return list.plugins.some(({ capabilities }) => capabilities.includes("portMappings")) ? capabilityArgs : {};
}

/** Same as {@linkcode published}, for an attachment on record. */
export function publishedOnRecord(record: AttachmentRecord): JsonObject {
  try {
    return published(listOnRecord(record), record.capabilityArgs);
  } catch {
    // A configuration that cannot be read may have published all of them.
    return record.capabilityArgs;
  }
}
