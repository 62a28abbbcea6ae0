import { type FileSafetyOptions, unsafeFile } from "../host/file_safety.ts";
import { CniError, ERROR_CODES, type ErrorKind } from "../cni/error.ts";

/** What is to be trusted, and how an error calls it. */
export interface TrustedPath extends FileSafetyOptions {
  readonly path: string;
  /** Such as `the plugin is not started`. */
  readonly refusal: string;
  readonly kind: ErrorKind;
}

/**
 * Refuses what others than root, or than the user of this process, could have written: as root it would run as them.
 *
 * @throws {CniError} of that kind, naming the file, link or directory at fault
 */
export async function requireSafeFile({ path, refusal, kind, ...options }: TrustedPath): Promise<void> {
  const unsafe = await unsafeFile(path, options);
  if (unsafe === undefined) return;
  const where = unsafe.path === path ? "" : ` (${unsafe.path})`;
  throw new CniError(kind, `${refusal}${where}: ${unsafe.why}`, {
    file: path,
    code: ERROR_CODES.ioFailure,
    details: "only --allow-unsafe-files lets it pass",
    hint: `chown root:root ${unsafe.path}; chmod go-w ${unsafe.path}`,
  });
}

/**
 * Refuses directories of records that others than root, or than the user of this process, could write in. Those that are
 * not there yet are fine.
 *
 * @throws {CniError} kind `io`
 */
export async function requireSafeDirectories(dirs: readonly string[]): Promise<void> {
  for (const path of dirs) {
    await requireSafeFile({ path, listed: true, refusal: "the directory is not used", kind: "io" });
  }
}
