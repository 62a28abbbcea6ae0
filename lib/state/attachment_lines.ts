import type { AttachmentKey } from "./attachment_key.ts";
import { type AttachmentRecord, parseRecord, parseRecordNow, printRecord } from "./attachment_record.ts";
import { type BadRecord, decodeRemoval, decodeRemovalNow, UnusableRecord } from "./checksummed.ts";
import { type DamagedAttachment, damagedOf } from "./damaged_attachment.ts";
import type { FoundLog } from "./record_files.ts";
import {
  attachmentLineKey,
  intendedKey,
  isRemoval,
  keyOfIntended,
  parseLineKey,
  type RecordLine,
  SANDBOX_KEY,
  subjectsOf,
} from "./record_log.ts";

/** The attachments of a container. */
export interface ContainerRecords {
  /** In the order in which they were made. */
  readonly records: readonly AttachmentRecord[];
  readonly damaged: readonly DamagedAttachment[];
}

/** What {@linkcode readAttachments} needs to know. */
export interface ReadContext {
  /** Returns the identity of this boot. */
  readonly boot: () => Promise<string>;
  readonly onBad: (bad: BadRecord) => void;
}

/** What a line says of an attachment; `undefined`: that it is removed. */
type Value = AttachmentRecord | DamagedAttachment | undefined;

/** Returns the line of an attachment. */
export async function attachmentLine(record: AttachmentRecord): Promise<RecordLine> {
  return { key: attachmentLineKey(record), text: await printRecord(record) };
}

/** Returns the line of an attachment that is intended. It counts only after a loss of power. */
export async function intendedLine(record: AttachmentRecord): Promise<RecordLine> {
  return { key: intendedKey(attachmentLineKey(record)), text: await printRecord(record) };
}

/** Reads the attachments in the file of a container. */
export async function readAttachments(
  containerId: string,
  log: FoundLog,
  context: ReadContext,
): Promise<ContainerRecords> {
  const found = new Map<string, { readonly at: number; readonly value: Value }>();
  const put = (key: string, at: number, value: Value) => {
    if ((found.get(key)?.at ?? -1) <= at) found.set(key, { at, value });
  };
  const reader = new LineReader(containerId, log, context);
  const last = new Map(log.lines.map(({ key }, at) => [key, at]));
  for (const [key, at] of last) {
    if (key === SANDBOX_KEY || keyOfIntended(key) !== undefined) continue;
    const line = log.lines[at];
    if (line === undefined || (parseLineKey(key) === undefined && isOfSandbox(line))) continue;
    for (const [subject, value] of await reader.read(line, at)) put(subject, at, value);
  }
  for (const [key, at] of last) {
    const intended = keyOfIntended(key);
    const line = log.lines[at];
    if (intended === undefined || line === undefined || found.has(intended)) continue;
    const value = await reader.readIntended({ key: intended, text: line.text }, at);
    if (value !== undefined) put(intended, at, value);
  }
  const records: AttachmentRecord[] = [];
  const damaged: DamagedAttachment[] = [];
  for (const { value } of found.values()) {
    if (value === undefined) continue;
    if (isDamagedAttachment(value)) damaged.push(value);
    else records.push(value);
  }
  return { records: records.sort((a, b) => a.sequence - b.sequence), damaged };
}

/**
 * Same as {@linkcode readAttachments} in the same turn of the event loop, for a file in which all that counts is intact;
 * undefined for any other. `boot` is the identity of this boot; without it, an attachment that is only intended is not read.
 */
export function readIntactNow(
  containerId: string,
  log: FoundLog,
  boot: string | undefined,
): ContainerRecords | undefined {
  if (log.isCut || log.isNewer || log.problem !== undefined) return undefined;
  const records: AttachmentRecord[] = [];
  const last = new Map(log.lines.map((line) => [line.key, line]));
  for (const [key, line] of last) {
    if (key === SANDBOX_KEY) continue;
    const intended = keyOfIntended(key);
    if (intended !== undefined && last.has(intended)) continue;
    if (isRemoval(line)) {
      if (decodeRemovalNow(line.text) === key) continue;
      return undefined;
    }
    const record = decodedNow(line);
    // In the boot of the intention nothing was begun.
    if (
      record !== undefined && intended !== undefined && isSame(record, containerId, intended) &&
      record.bootId === boot
    ) continue;
    if (record === undefined || !isSame(record, containerId, key)) return undefined;
    records.push(record);
  }
  return { records: records.sort((a, b) => a.sequence - b.sequence), damaged: [] };
}

function isSame(record: AttachmentRecord, containerId: string, key: string): boolean {
  return record.containerId === containerId && attachmentLineKey(record) === key;
}

/** Of the lines that were decoded: most of a file stays as it was when a line is appended. */
const decoded = new WeakMap<RecordLine, AttachmentRecord>();

function decodedNow(line: RecordLine): AttachmentRecord | undefined {
  const record = decoded.get(line) ?? parseRecordNow(line.text);
  if (record !== undefined) decoded.set(line, record);
  return record;
}

/** Whether nothing in the line is about an attachment. */
function isOfSandbox(line: RecordLine): boolean {
  return subjectsOf(line).every((key) => key === SANDBOX_KEY);
}

function isDamagedAttachment(value: AttachmentRecord | DamagedAttachment): value is DamagedAttachment {
  return "isNewer" in value;
}

class LineReader {
  readonly #containerId: string;
  readonly #log: FoundLog;
  readonly #context: ReadContext;

  constructor(containerId: string, log: FoundLog, context: ReadContext) {
    this.#containerId = containerId;
    this.#log = log;
    this.#context = context;
  }

  /** Returns what the line says of each attachment that it may be about. */
  async read(line: RecordLine, at: number): Promise<readonly (readonly [string, Value])[]> {
    try {
      if (isRemoval(line)) {
        return [[await decodeRemoval(line.text), undefined]];
      }
      const record = await this.#parse(line);
      const key = attachmentLineKey(record);
      const isLost = record.state === "adding" && await this.#isCutInThisBoot(record);
      if (isLost) throw new UnusableRecord("the end of its file is missing");
      return [[key, record]];
    } catch (error) {
      return await this.#unreadable(line, at, error);
    }
  }

  /**
   * Returns an attachment that was intended and of which nothing else is known: a loss of power took what followed. In the
   * boot of the intention nothing was begun.
   */
  async readIntended(line: RecordLine, at: number): Promise<Value> {
    try {
      const record = await this.#parse(line);
      return record.bootId === await this.#context.boot() ? undefined : record;
    } catch (error) {
      const [[, value] = []] = await this.#unreadable(line, at, error);
      return value;
    }
  }

  /** Returns what is known of each attachment that a line may be about. */
  async #unreadable(
    line: RecordLine,
    at: number,
    error: unknown,
  ): Promise<readonly (readonly [string, Value])[]> {
    const { message: reason, isNewer } = UnusableRecord.of(error);
    const { file = this.#log.file } = line;
    const found: (readonly [string, Value])[] = [];
    for (const key of subjectsOf(line)) {
      if (key === SANDBOX_KEY) continue;
      const isSame = (other: RecordLine) => (keyOfIntended(other.key) ?? other.key) === key;
      const before = this.#log.lines.slice(0, at).findLast(isSame);
      const record = before && await this.#parse(before).catch(() => undefined);
      // A line of another boot was cut off by a loss of power, so the one before it counts.
      const isEnough = record !== undefined && !isNewer && record.bootId !== await this.#context.boot();
      if (isEnough) found.push([key, record]);
      else found.push([key, this.#damaged(key, { ...line, file }, before?.text, { reason, isNewer })]);
    }
    if (found.some(([, value]) => value !== undefined && isDamagedAttachment(value))) {
      this.#context.onBad({ file, reason });
    }
    return found;
  }

  async #parse({ text }: RecordLine): Promise<AttachmentRecord> {
    const record = await parseRecord(text);
    if (record.containerId === this.#containerId) return record;
    throw new UnusableRecord("it is of another attachment");
  }

  /** Whether what followed an ADD that has begun in this boot is missing, so that it may have ended. */
  async #isCutInThisBoot({ bootId }: AttachmentRecord): Promise<boolean> {
    return this.#log.isCut && bootId === await this.#context.boot();
  }

  #damaged(
    key: string,
    { text, file }: { readonly text: string; readonly file: string },
    before: string | undefined,
    why: Pick<DamagedAttachment, "reason" | "isNewer">,
  ): DamagedAttachment {
    const { ifName = "", network = "" } = parseLineKey(key) ?? {};
    const attachment: AttachmentKey = { containerId: this.#containerId, ifName, network };
    return damagedOf(attachment, file, { ...why, text: before === undefined ? text : `${text}\n${before}` });
  }
}
