import { CniError, ERROR_CODES, type ErrorKind } from "../cni/error.ts";
import { type FileSafetyOptions, unsafeFile } from "../host/file_safety.ts";

/** A path that must be safe, and the wording of the error if it is not. */
export interface TrustedPath extends FileSafetyOptions {
  readonly path: string;
  /** Such as `the plugin is not started`. */
  readonly refusal: string;
  readonly kind: ErrorKind;
}

/**
 * Refuses a file that users other than root and the user of this process could have written: run as root, it would give
 * these users the rights of root.
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
    details: "only --allow-unsafe-files allows it",
    hint: `chown root:root ${unsafe.path}; chmod go-w ${unsafe.path}`,
  });
}

/**
 * Refuses directories of records in which users other than root and the user of this process could write. Directories
 * that do not exist yet are accepted.
 *
 * @throws {CniError} kind `io`
 */
export async function requireSafeDirectories(dirs: readonly string[]): Promise<void> {
  for (const path of dirs) {
    await requireSafeFile({
      path,
      listed: true,
      isOwn: true,
      refusal: "the directory is not used",
      kind: "io",
    });
  }
}
