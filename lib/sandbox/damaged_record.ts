import { statOf } from "../host/file.ts";
import { readableMember } from "../state/checksummed.ts";

const REMNANTS = ["name", "namespace", "uid", "path", "bootId", "owner", "createdAt"] as const;

/** A record that cannot be used. */
export interface DamagedRecord {
  readonly id: string;
  /** Where it is. */
  readonly file: string;
  /** When it was written, in ISO 8601. */
  readonly since: string;
  readonly reason: string;
  /** A newer version wrote it: it is not damaged, and nothing of it may be touched. */
  readonly isNewer: boolean;
  /** What can still be read of it. It decides nothing alone. */
  readonly remnants: Readonly<Partial<Record<(typeof REMNANTS)[number], string>>>;
  /** All that it says. */
  readonly text: string;
}

/** What is left of the record of a sandbox in the text of its file. */
export async function damagedRecord(
  id: string,
  file: string,
  text: string,
  found: Pick<DamagedRecord, "reason" | "isNewer">,
): Promise<DamagedRecord> {
  const since = new Date((await statOf(file))?.mtimeMs ?? 0).toISOString();
  // Of a whole record of another sandbox in its place nothing counts but the path, which at most keeps something.
  const isOwn = readableMember(text, "id") === id;
  const remnants = Object.fromEntries(
    REMNANTS.filter((key) => isOwn || key === "path").flatMap((key) => {
      const value = readableMember(text, key);
      return value === undefined ? [] : [[key, value]];
    }),
  );
  return { id, file, since, ...found, remnants, text };
}
