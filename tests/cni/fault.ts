import { assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";

/** Members of the error that a call throws. */
export interface Fault {
  kind: string;
  code: number;
  msg: string;
  details?: string;
  /** `line:column`. */
  at?: string;
  file?: string;
  hint?: string;
}

/** Runs a call that must throw a `CniError`, and returns the members of that error. */
export function faultOf(call: () => unknown): Fault {
  const { kind, code, msg, context } = assertThrows(call, CniError) as CniError;
  const { details, line, column, file, hint } = context;
  return {
    kind,
    code,
    msg,
    ...(details === undefined ? {} : { details }),
    ...(line === undefined ? {} : { at: `${line}:${column}` }),
    ...(file === undefined ? {} : { file }),
    ...(hint === undefined ? {} : { hint }),
  };
}
