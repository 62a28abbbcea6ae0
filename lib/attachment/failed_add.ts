import { type CniError, ERROR_CODES } from "../cni/error.ts";
import { refusesInput } from "../plugin/refusal.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";

/**
 * Returns the index of the first plugin of the chain that did nothing in a failed ADD: it did not run, or it read only the
 * version. A plugin that does not support the version refuses the DEL as well.
 */
export function firstSkippedPluginOf(
  { kind, code, context }: CniError,
): Pick<AttachmentRecord, "firstSkippedPlugin"> {
  const index = context.plugin?.index;
  if (index === undefined) return {};
  const didNothing = kind === "plugin-start" || kind === "plugin-missing" ||
    code === ERROR_CODES.incompatibleVersion;
  return { firstSkippedPlugin: didNothing ? index : index + 1 };
}

/**
 * Returns the refusal of the first plugin of the chain in a failed ADD, if it refused its input. If the plugin refuses the
 * DEL in the same way, there is nothing to remove: it refuses before it does anything.
 */
export function refusalIn(cause: CniError): Pick<AttachmentRecord, "refusal"> {
  const { code, msg } = cause;
  return cause.context.plugin?.index === 0 && refusesInput(cause) ? { refusal: { code, msg } } : {};
}

/** Whether that DEL failed because its ADD did nothing. The caller makes sure that the interface does not exist. */
export function isSameRefusal({ refusal }: AttachmentRecord, failure: CniError): boolean {
  const { code, msg, context: { plugin } } = failure;
  return plugin?.index === 0 && refusal?.code === code && refusal.msg === msg;
}
