import { CniError, ERROR_CODES } from "../cni/error.ts";
import { isObject, type JsonObject, member } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CommandRequest, RunCommand } from "../host/command.ts";
import { fileIdentity } from "../host/file_facts.ts";
import { statOf } from "../host/file.ts";
import { hasListener } from "../host/unix_listener.ts";

/** The type of the IPAM plugin that asks a DHCP server. Its daemon holds the leases, and the executable is its client. */
export const DHCP = "dhcp";

/** Where the daemon listens unless a configuration says otherwise. */
export const DHCP_SOCKET = "/run/cni/dhcp.sock";

const HINT =
  "`podwire serve` starts it and watches it; without podwire's daemon: a service that runs `dhcp daemon`";

/** Returns the socket of the DHCP daemon that a plugin with this configuration asks; undefined if it asks none. */
export function dhcpSocketOf(config: JsonObject): string | undefined {
  const ipam = member(config, "ipam");
  if (!isObject(ipam) || member(ipam, "type") !== DHCP) return undefined;
  const path = member(ipam, "daemonSocketPath") ?? "";
  // What is not a text is refused by the plugin, with its name.
  if (typeof path !== "string") return undefined;
  return path === "" ? DHCP_SOCKET : path;
}

/**
 * Refuses a configuration whose DHCP daemon is not there; does nothing for one that asks none.
 *
 * Permissions: `--allow-read` and `--allow-write` for the socket; from Deno 2.9 on `--allow-net=unix:PATH` too.
 *
 * @throws {CniError} kind `not-ready`, code 50; kind `permission`
 */
export async function requireDhcpDaemon(config: JsonObject): Promise<void> {
  const socket = dhcpSocketOf(config);
  if (socket === undefined || await hasListener(socket)) return;
  throw new CniError("not-ready", `no DHCP daemon listens at ${socket}`, {
    code: ERROR_CODES.pluginNotAvailable,
    details: "it keeps the leases of the network, and renews them",
    hint: HINT,
  });
}

const HELP_MS = 5_000;

/** What executables answered, by their paths; valid for as long as the file is the same. */
const answers = new Map<string, { readonly identity: string; readonly keeps: boolean }>();

/**
 * Whether the daemon of an executable lets a lease be that it has, if it is asked for it again. Older releases (1.1.1) begin a second
 * one, which they renew for ever, also after a DEL. Releases that have the flag `-resendtimeout` (1.6) surely do not. An
 * executable is asked once, and again when its file has changed.
 *
 * Permissions: `--allow-run` and `--allow-read` of the executable.
 */
export async function keepsLeases(
  path: string,
  { run, env, signal }: Pick<CommandRequest, "env" | "signal"> & { readonly run: RunCommand },
): Promise<boolean> {
  const identity = fileIdentity(await statOf(path));
  const known = answers.get(path);
  if (known !== undefined && known.identity === identity) return known.keeps;
  const limit = AbortSignal.timeout(HELP_MS);
  const either = signal === undefined ? limit : AbortSignal.any([signal, limit]);
  const { stdout, stderr } = await run({ program: path, args: ["daemon", "-h"], env, signal: either });
  const keeps = /^\s*-resendtimeout\b/m.test(`${stdout}${stderr}`);
  // If the file was replaced meanwhile, the answer may be of the old file or of the new one.
  if (identity !== undefined && identity === fileIdentity(await statOf(path))) {
    answers.set(path, { identity, keeps });
  }
  return keeps;
}

/** What the original says if its daemon could not get a lease. */
const NO_LEASE = /\berror calling DHCP\.Allocate: /;
const NO_LEASE_HINT =
  "the DHCP server gave no lease; what the daemon says about it is in the log of `podwire serve`, " +
  "marked dhcp:, or in that of the service that runs the daemon";

/** Returns the error of a plugin, with a hint if the DHCP daemon that it asks is not there, or could not get a lease. */
export async function withDhcpHint(error: unknown, config: JsonObject): Promise<unknown> {
  const failure = asCniError(error);
  if (failure.context.hint !== undefined || dhcpSocketOf(config) === undefined) return error;
  try {
    await requireDhcpDaemon(config);
    return NO_LEASE.test(failure.msg) ? asCniError(failure, { hint: NO_LEASE_HINT }) : error;
  } catch (missing) {
    const { msg, kind } = asCniError(missing);
    return kind === "not-ready" ? asCniError(failure, { hint: `${msg}: ${HINT}` }) : error;
  }
}
