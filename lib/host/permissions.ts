import { HostError } from "./command.ts";

/** What Deno grants or refuses. */
export type PermissionKind = "read" | "write" | "run" | "env" | "net" | "sys" | "ffi" | "import" | "all";

/** What a call was about to do when it was refused. */
export interface AskedPermission {
  readonly kind: PermissionKind;
  /** The path, program, variable or host. @default {undefined} (all of them) */
  readonly value?: string;
}

/**
 * The flag that grants what Deno refused, as one word of a command line, or undefined if the error (with its causes)
 * is about something else. Requires no permission.
 *
 * What was asked for is known best by the caller, which can say so with `asked`; Deno's own words are used otherwise.
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
  // Deno gives no fields, only this sentence: Requires KIND access to "VALUE", or to <WHAT> for no certain one.
  const [, kind, value] = /^Requires (\w+) access(?: to "(.*)")?/s.exec(refusal.message) ?? [];
  if (kind !== undefined) return flag(kind, value);
  // Variables like LD_PRELOAD change which code a program runs.
  return /--allow-\w+/.exec(refusal.message)?.[0] ?? "--allow-all";
}

function flag(kind: string, value: string | undefined): string {
  if (kind === "all" || value === undefined) return `--allow-${kind}`;
  return `--allow-${kind}=${escapeValue(value)}`;
}

/** A comma separates values in a flag; two of them are one that does not. */
function escapeValue(value: string): string {
  return value.replaceAll(",", ",,");
}

/** Paths and programs that a task will need. */
export interface WantedPermissions {
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly run?: readonly string[];
}

/** The flags, one a kind, that grant what of this is not granted. Requires no permission, and never prompts. */
export async function missingFlags(
  { read = [], write = [], run = [] }: WantedPermissions,
): Promise<string[]> {
  const asked: readonly (readonly [string, string, Deno.PermissionDescriptor])[] = [
    ...read.map((path) => ["read", path, { name: "read", path }] as const),
    ...write.map((path) => ["write", path, { name: "write", path }] as const),
    ...run.map((command) => ["run", command, { name: "run", command }] as const),
  ];
  const states = await Promise.all(asked.map(([, , descriptor]) => Deno.permissions.query(descriptor)));
  const missing = asked.filter((_, i) => states[i]?.state !== "granted");
  const kinds = new Set(missing.map(([kind]) => kind));
  return [...kinds].map((kind) => {
    const values = missing.filter(([own]) => own === kind).map(([, value]) => escapeValue(value));
    return `--allow-${kind}=${values.join(",")}`;
  });
}

/**
 * Whether the kernel refused (EPERM, EACCES), this process or a program that it ran: root or a capability is missing.
 * Looks at the causes too.
 */
export function isPermissionDenied(error: unknown): boolean {
  const denied = (error: Error) =>
    error instanceof Deno.errors.PermissionDenied ||
    // Programs have nothing but words; they run with LC_ALL=C.
    error instanceof HostError && REFUSED.test(error.stderr);
  return findError(error, denied) !== undefined;
}

const REFUSED = /Operation not permitted|Permission denied|must be superuser|only root can/i;

function findError(error: unknown, fits: (error: Error) => boolean): Error | undefined {
  for (let depth = 0; error instanceof Error && depth < 16; depth++, error = error.cause) {
    if (fits(error)) return error;
  }
  return undefined;
}
