import type { ReadContext } from "../state/attachment_lines.ts";
import { decodeRemoval, UnusableRecord } from "../state/checksummed.ts";
import type { FoundLog } from "../state/record_files.ts";
import { isRemoval, type RecordLine, SANDBOX_KEY, subjectsOf } from "../state/record_log.ts";
import { type DamagedRecord, damagedRecord } from "./damaged_record.ts";
import { parseSandbox, parseSandboxNow, type SandboxRecord } from "./record.ts";

const ATTACHMENT = '{"kind":"podwire.attachment.v1","containerId":"';

/** Returns the sandbox in the file of a container, or what is left of it; undefined if there is none. */
export async function readSandbox(
  id: string,
  log: FoundLog,
  { boot, onBad }: ReadContext,
): Promise<SandboxRecord | DamagedRecord | undefined> {
  const damaged = async ({ message: reason, isNewer }: UnusableRecord, text: string, file = log.file) => {
    onBad({ file, reason });
    return await damagedRecord(id, file, text, { reason, isNewer });
  };
  if (log.problem !== undefined) return await damaged(new UnusableRecord(log.problem), "");
  if (log.isNewer) return await damaged(new UnusableRecord("its first line is not known", true), "");
  const lines = log.lines.filter(isOfSandbox);
  const last = lines.at(-1);
  if (last === undefined) {
    // What is missing, or was replaced by something else, may be a sandbox.
    if (log.isCut) return await damaged(new UnusableRecord("its file has no record"), "");
    const isOfOther = log.lines.some((line) => isPlain(line) && !line.text.startsWith(`${ATTACHMENT}${id}"`));
    return isOfOther
      ? await damaged(new UnusableRecord("its file is that of another container"), "")
      : undefined;
  }
  try {
    const record = await parse(id, last);
    if (record?.phase === "creating" && log.isCut && record.bootId === await boot()) {
      // It may have become ready since.
      throw new UnusableRecord("the end of its file is missing");
    }
    return record;
  } catch (error) {
    const unusable = UnusableRecord.of(error);
    const before = lines.slice(0, -1).findLast(({ key }) => key === SANDBOX_KEY);
    const record = before && await parse(id, before).catch(() => undefined);
    // A line of another boot was cut off by a loss of power, so the one before it counts.
    if (!unusable.isNewer && record !== undefined && record.bootId !== await boot()) return record;
    const text = before === undefined ? last.text : `${last.text}\n${before.text}`;
    return await damaged(unusable, text, last.file);
  }
}

/**
 * Same as {@linkcode readSandbox} in the same turn of the event loop, for an intact sandbox in a whole file; undefined for
 * anything else.
 */
export function readIntactSandboxNow(id: string, log: FoundLog): SandboxRecord | undefined {
  if (log.problem !== undefined || log.isNewer || log.isCut) return undefined;
  const last = log.lines.findLast(isOfSandbox);
  const record = last && parseSandboxNow(last.text);
  return record?.id === id ? record : undefined;
}

function isOfSandbox(line: RecordLine): boolean {
  if (line.key === SANDBOX_KEY) return true;
  // Nearly every other line is.
  return !isPlain(line) && subjectsOf(line).includes(SANDBOX_KEY);
}

/** Whether the line is plainly that of an attachment. */
function isPlain(line: RecordLine): boolean {
  return line.key.includes("@") && line.text.startsWith(ATTACHMENT);
}

async function parse(id: string, line: RecordLine): Promise<SandboxRecord | undefined> {
  if (isRemoval(line)) {
    await decodeRemoval(line.text);
    return undefined;
  }
  const record = await parseSandbox(line.text);
  if (record.id === id) return record;
  throw new UnusableRecord("it belongs to another sandbox");
}
