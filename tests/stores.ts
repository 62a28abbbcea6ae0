import { runCommand } from "../lib/host/command.ts";
import { bootId } from "../lib/host/boot.ts";
import { SandboxStore, type SandboxStoreOptions } from "../lib/sandbox/store.ts";
import { AttachmentStore, type AttachmentStoreOptions } from "../lib/state/attachment_store.ts";
import { RecordFiles } from "../lib/state/record_files.ts";
import {
  attachmentLineKey,
  HEAD_LENGTH,
  parseLog,
  printHead,
  printLine,
  type RecordLine,
  SANDBOX_KEY,
} from "../lib/state/record_log.ts";

/** What {@linkcode storesIn} takes. */
export type StoresOptions = Partial<AttachmentStoreOptions & Pick<SandboxStoreOptions, "lockNames">>;

/** Returns the stores of a state directory, as a runtime makes them. */
export function storesIn(stateDir: string, options: StoresOptions = {}) {
  const files = new RecordFiles(stateDir);
  const boot = options.boot ?? (() => bootId(runCommand));
  const store = new AttachmentStore(files, { ...options, boot });
  const sandboxes = new SandboxStore({ ...options, stateDir, files, boot });
  return { files, store, sandboxes };
}

/** Returns the path of the records of a container. */
export function recordFile(stateDir: string, id: string): string {
  return new RecordFiles(stateDir).path(id);
}

/** The key of the records of sandboxes, and those of attachments. */
export type Subject = typeof SANDBOX_KEY | { readonly ifName: string; readonly network: string };

function keyOf(subject: Subject): string {
  return subject === SANDBOX_KEY ? subject : attachmentLineKey(subject);
}

/** Returns the last record with that key in the file; undefined if there is none. */
export async function recordText(file: string, subject: Subject): Promise<string | undefined> {
  const { lines } = parseLog(await Deno.readFile(file));
  return lines.findLast(({ key }) => key === keyOf(subject))?.text;
}

/** Replaces all records with that key by one with this text, whole or damaged; by none if the text is undefined. */
export async function putRecord(file: string, subject: Subject, text: string | undefined): Promise<void> {
  const { lines } = parseLog(await Deno.readFile(file).catch(() => new Uint8Array()));
  const key = keyOf(subject);
  const isOf = (line: RecordLine) => line.key === key || line.key === `plan:${key}`;
  const others = lines.filter((line) => !isOf(line));
  await writeLines(file, text === undefined ? others : [...others, { key, text }]);
}

/** Writes the file of a container. */
export async function writeLines(file: string, lines: readonly RecordLine[]): Promise<void> {
  await Deno.mkdir(file.slice(0, file.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  const body = lines.map(printLine).join("");
  const length = HEAD_LENGTH + new TextEncoder().encode(body).length;
  await Deno.writeTextFile(file, `${printHead(length)}${body}`, { mode: 0o600 });
}
