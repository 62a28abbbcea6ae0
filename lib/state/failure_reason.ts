import type { JsonObject } from "../cni/json.ts";

/** What the last failure on record said, with what adds to it; undefined if there was none. */
export function failureReason(error: JsonObject | undefined): string | undefined {
  if (error === undefined) return undefined;
  const { msg, details } = error;
  return typeof details === "string" && details !== "" ? `${msg}; ${details}` : String(msg);
}
