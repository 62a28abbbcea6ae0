import { anyText, openObjectOf } from "../cni/shape.ts";
import { readTextIfThere, writeFileSynced } from "../host/file.ts";
import { decodeChecksummed, newerRecord, printChecksummed, UnusableRecord } from "../state/checksummed.ts";

const KIND = "podwire.infra.v1";

/** Writes into the bundle of an infra container which version created it: `<bundle>/podwire.json`. */
export async function markBundle(bundle: string, runtime: string): Promise<void> {
  await writeFileSynced(markOf(bundle), await printChecksummed(KIND, { runtime }), { durable: "text" });
}

/**
 * Returns why a bundle is left alone if a newer version created it: this version does not know what else belongs to it. A
 * bundle without the file is of an earlier version, and a damaged file decides nothing.
 */
export async function newerBundle(bundle: string): Promise<UnusableRecord | undefined> {
  try {
    const text = await readTextIfThere(markOf(bundle));
    if (text !== undefined) await decodeChecksummed(KIND, text, openObjectOf({ runtime: anyText }, {}));
    return undefined;
  } catch (error) {
    const unusable = UnusableRecord.of(error);
    return unusable.isNewer ? unusable : undefined;
  }
}

/**
 * Refuses a bundle that a newer version created.
 *
 * @throws {CniError} kind `conflict`
 */
export async function requireOwnBundle(bundle: string): Promise<void> {
  const newer = await newerBundle(bundle);
  if (newer !== undefined) throw newerRecord(markOf(bundle), newer.message);
}

function markOf(bundle: string): string {
  return `${bundle}/podwire.json`;
}
