import { statOf } from "../host/file.ts";
import { readableMember } from "../state/checksummed.ts";
import type { SandboxRecord } from "./record.ts";

const REMNANTS = ["name", "namespace", "uid", "path", "bootId", "owner", "createdAt"] as const;

/** A record that cannot be used. */
export interface DamagedRecord {
  readonly id: string;
  /** Path of its file. */
  readonly file: string;
  /** Time of the last write, in ISO 8601. */
  readonly since: string;
  readonly reason: string;
  /** Whether a newer version wrote it: then it is not damaged, and the sandbox must not be changed. */
  readonly isNewer: boolean;
  /** Members that can still be read. They decide nothing alone. */
  readonly remnants: Readonly<Partial<Record<(typeof REMNANTS)[number], string>>>;
  /** Text of the file. */
  readonly text: string;
}

/** Whether a record is damaged or of a newer version. */
export function isDamaged(record: SandboxRecord | DamagedRecord): record is DamagedRecord {
  return "text" in record;
}

/** Reads what is left of a sandbox record in the text of its file. */
export async function damagedRecord(
  id: string,
  file: string,
  text: string,
  found: Pick<DamagedRecord, "reason" | "isNewer">,
): Promise<DamagedRecord> {
  const since = new Date((await statOf(file))?.mtimeMs ?? 0).toISOString();
  // If the file has the record of another sandbox, only its path is used: it can only cause something to be kept.
  const isOwn = readableMember(text, "id") === id;
  const remnants = Object.fromEntries(
    REMNANTS.filter((key) => isOwn || key === "path").flatMap((key) => {
      const value = readableMember(text, key);
      return value === undefined ? [] : [[key, value]];
    }),
  );
  return { id, file, since, ...found, remnants, text };
}
