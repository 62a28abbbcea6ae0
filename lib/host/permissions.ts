import { HostError } from "./command.ts";
import { denoRules, isKernelFile } from "./deno_rules.ts";

/** The kinds of permissions of Deno. */
export type PermissionKind = "read" | "write" | "run" | "env" | "net" | "sys" | "ffi" | "import" | "all";

/** What a refused call needed. */
export interface AskedPermission {
  readonly kind: PermissionKind;
  /** The path, program, variable or host. @default {undefined} (all of them) */
  readonly value?: string;
}

/**
 * Returns the flag that grants what Deno refused, as one word of a command line; undefined if the error (with its causes)
 * is about something else. Requires no permission.
 *
 * The caller knows best what it asked for, and can pass it as `asked`; else the message of Deno is used.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { permissionFlag } from "./permissions.ts";
 *
 * const refused = new Deno.errors.NotCapable('Requires run access to "ip", run again with the --allow-run flag');
 * assertEquals(permissionFlag(refused), "--allow-run=ip");
 * assertEquals(permissionFlag(new Error("no")), undefined);
 * ```
 */
export function permissionFlag(error: unknown, asked?: AskedPermission): string | undefined {
  const refusal = findError(error, (error) => error instanceof Deno.errors.NotCapable);
  if (refusal === undefined) return undefined;
  if (asked !== undefined) return flag(asked.kind, asked.value);
  // Deno gives no fields, only this sentence: Requires KIND access to "VALUE", or to <WHAT> without a certain value.
  const [, kind, value] = /^Requires (\w+) access(?: to "(.*)")?/s.exec(refusal.message) ?? [];
  if (kind !== undefined) return flag(kind, value);
  // For variables like LD_PRELOAD, which change the code that a program runs, the sentence is another one.
  return /--allow-\w+/.exec(refusal.message)?.[0] ?? "--allow-all";
}

/**
 * Returns the path below /proc, /sys or /dev that Deno opens only with all permissions, if no flag can help: a compiled
 * program has the permissions that it was compiled with. Undefined if the error is about something else. Requires no
 * permission.
 */
export function restrictedPath(
  error: unknown,
  isCompiled: boolean = Deno.build.standalone,
): string | undefined {
  if (!isCompiled) return undefined;
  const refusal = findError(error, (error) => error instanceof Deno.errors.NotCapable);
  const [, path] = /^Requires all access to "(.*)"/s.exec(refusal?.message ?? "") ?? [];
  return path;
}

function flag(kind: string, value: string | undefined): string {
  return kind === "all" || value === undefined ? `--allow-${kind}` : flagOf(kind, [value]);
}

/** A comma separates values in a flag. If this version of Deno cannot escape it in a value, only the flag for all helps. */
function flagOf(kind: string, values: readonly string[]): string {
  if (denoRules().commasDoubled) {
    return `--allow-${kind}=${values.map((value) => value.replaceAll(",", ",,")).join(",")}`;
  }
  return values.some((value) => value.includes(","))
    ? `--allow-${kind}`
    : `--allow-${kind}=${values.join(",")}`;
}

/** Paths and programs that a task needs. */
export interface WantedPermissions {
  readonly read?: readonly string[] | undefined;
  readonly write?: readonly string[] | undefined;
  readonly run?: readonly string[] | undefined;
  /** Unix sockets to connect to, or to listen on. */
  readonly sockets?: readonly string[] | undefined;
}

/** Returns each permission that a task needs with a version of Deno, as a value of `--allow-KIND`. Requires no permission. */
export function grantsFor(
  { read = [], write = [], run = [], sockets = [] }: WantedPermissions,
  version?: string,
): readonly Required<AskedPermission>[] {
  const { kernelFilesByRead, socketsByNet } = denoRules(version);
  const byRun = kernelFilesByRead ? [] : read.filter(isKernelFile);
  const values = {
    read: [...read.filter((path) => !byRun.includes(path)), ...sockets],
    write: [...write, ...sockets],
    run: byRun.length === 0 ? run : [...run, "sh"],
    net: socketsByNet ? sockets.map((path) => `unix:${path}`) : [],
  };
  return (["read", "write", "run", "net"] as const).flatMap((kind) =>
    [...new Set(values[kind])].map((value) => ({ kind, value }))
  );
}

/** Returns the flags, one for each kind, that grant what is missing. Requires no permission, and never prompts. */
export function missingFlags(wanted: WantedPermissions): string[] {
  const grants = grantsFor(wanted);
  const missing = grants.filter((grant) =>
    Deno.permissions.querySync(descriptorOf(grant)).state !== "granted"
  );
  const kinds = new Set(missing.map(({ kind }) => kind));
  return [...kinds].map((kind) => {
    return flagOf(kind, missing.filter((own) => own.kind === kind).map(({ value }) => value));
  });
}

/** Whether files at a path, and below, may be read and changed. Requires no permission, and never prompts. */
export function mayChange(path: string): boolean {
  return (["read", "write"] as const).every((name) =>
    Deno.permissions.querySync({ name, path }).state === "granted"
  );
}

function descriptorOf({ kind, value }: Required<AskedPermission>): Deno.PermissionDescriptor {
  if (kind === "run") return { name: kind, command: value };
  if (kind === "net") return { name: kind, host: value };
  return { name: kind === "write" ? kind : "read", path: value };
}

/**
 * Whether the kernel refused something (EPERM, EACCES) to this process or to a program that it ran: root or a capability is
 * missing. Checks the causes too.
 */
export function isPermissionDenied(error: unknown): boolean {
  const denied = (error: Error) =>
    error instanceof Deno.errors.PermissionDenied ||
    // A program reports it in its message only; all run with LC_ALL=C.
    error instanceof HostError && REFUSED.test(error.stderr);
  return findError(error, denied) !== undefined;
}

const REFUSED = /Operation not permitted|Permission denied|must be superuser|only root can/i;

/** Looks through the causes of an error, and through the errors of what was done at the same time. */
function findError(error: unknown, fits: (error: Error) => boolean, depth = 0): Error | undefined {
  if (!(error instanceof Error) || depth === MOST_CAUSES) return undefined;
  if (fits(error)) return error;
  const inside = [error.cause, ...error instanceof AggregateError ? error.errors : []];
  for (const one of inside) {
    const found = findError(one, fits, depth + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

const MOST_CAUSES = 16;
