import type { JsonObject } from "../cni/json.ts";

/** Returns the message and the details of the last failure on record; undefined if there was none. */
export function failureReason(error: JsonObject | undefined): string | undefined {
  if (error === undefined) return undefined;
  const { msg, details } = error;
  return typeof details === "string" && details !== "" ? `${msg}; ${details}` : String(msg);
}
