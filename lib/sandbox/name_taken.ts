import { CniError } from "../cni/error.ts";
import { type DamagedRecord, isDamaged } from "./damaged_record.ts";
import type { SandboxRecord } from "./record.ts";

/** Whether both are the same attempt of the same pod. A damaged record counts as the same, because it may be. */
export function isSameAttempt(
  { uid, attempt = 0 }: SandboxRecord,
  other: SandboxRecord | DamagedRecord,
): boolean {
  return isDamaged(other) || (other.uid === uid && (other.attempt ?? 0) === attempt);
}

/** The name is reserved for another sandbox. */
export class NameTakenError extends CniError {}

/** Returns the error for a name that is reserved for `owner`. */
export function nameTaken(
  { name, namespace }: SandboxRecord,
  owner: SandboxRecord | DamagedRecord,
): CniError {
  const msg = `the name "${name}" in namespace "${namespace}" is taken by sandbox ${owner.id}`;
  if (isDamaged(owner)) {
    return new NameTakenError("conflict", msg, {
      details: `its record ${owner.file} cannot be read: ${owner.reason}`,
      hint: `\`podwire repair ${owner.id}\` recreates it, \`podwire rm -f ${owner.id}\` removes the sandbox`,
    });
  }
  return new NameTakenError("conflict", msg, {
    hint: "choose another name, or replace that sandbox with --replace",
  });
}
