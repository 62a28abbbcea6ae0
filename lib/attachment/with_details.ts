import { CniError } from "../cni/error.ts";

/** Returns the error with one more detail. */
export function withDetails({ kind, msg, code, context, cause }: CniError, more: string): CniError {
  const details = context.details === undefined ? more : `${context.details}; ${more}`;
  return new CniError(kind, msg, { ...context, code, cause, details });
}
