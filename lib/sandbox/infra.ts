import { CniError, isCniError } from "../cni/error.ts";
import { isObject, parseJson, printJson } from "../cni/json.ts";
import { oomKills } from "../host/cgroup.ts";
import { HostError, type RunCommand, runOk } from "../host/command.ts";
import { ensureDir, readTextIfThere, removeIfThere, statOf, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { copyFile, removeTree } from "../host/tree.ts";
import { Deadline } from "../plugin/deadline.ts";
import { markBundle, requireOwnBundle } from "./infra_bundle.ts";
import { cgroupIn, infraCgroup, makeCgroup, removeCgroup } from "./infra_cgroup.ts";
import { infraConfig, type InfraLimits, infraLimits } from "./infra_config.ts";
import type { InfraSettings } from "./infra_settings.ts";

/** OCI runtime that creates infra containers by default. */
export const DEFAULT_OCI_RUNTIME = "runc";

/** An infra container to create. */
export interface InfraRequest {
  readonly id: string;
  readonly hostname: string;
  /** A program with the command line of runc. */
  readonly runtime: string;
  /** A folder that only this container uses. */
  readonly bundle: string;
  /** Shows which sandbox the container belongs to. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Sysctls of its IPC namespace. */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  readonly settings?: InfraSettings | undefined;
  /** Whether it stays in the network namespace of the host. @default {false} */
  readonly hostNetwork?: boolean | undefined;
}

type Container = Pick<InfraRequest, "id" | "runtime" | "bundle">;

interface InfraOptions {
  readonly run: RunCommand;
  /** Search path of the OCI runtime and catatonit, in the format of the variable `PATH`. */
  readonly path: string;
  /** For each call of the OCI runtime, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly log?: Logger | undefined;
}

/** Directories outside of the `PATH` where distributions install catatonit. */
const CATATONIT_DIRS = ["/usr/libexec/podman", "/usr/libexec/catatonit"];
/** A bundle is of no use after a loss of power, but recovery reads its files. */
const OF_THIS_BOOT = { durable: "text" } as const;
/** A caller that asks for the state of a container does not want to wait long. */
const STATE_TIMEOUT_MS = 5_000;

/**
 * Creates the infra container of a sandbox with an OCI runtime and returns the process that holds its namespaces.
 *
 * Source: OCI runtime specification 1.0.2.
 *
 * @throws {CniError} kind `not-ready` if the OCI runtime or catatonit is missing, `timeout` if the runtime hangs
 */
export async function startInfra(request: InfraRequest, options: InfraOptions): Promise<number> {
  const { id, bundle } = request;
  const init = await findInit(options.path);
  await ensureDir(bundle, 0o700);
  await markBundle(bundle, request.runtime);
  await writeFileSynced(`${bundle}/runtime`, request.runtime, OF_THIS_BOOT);
  await ensureDir(`${bundle}/rootfs`, 0o755);
  await copyFile(init, `${bundle}/rootfs/catatonit`, 0o555);
  const { settings } = request;
  const cgroup = infraCgroup(id, settings?.cgroupParent);
  const config = infraConfig({ ...request, cgroup: cgroup.ociPath }, await limitsFor(request, options));
  if (settings?.cgroupParent !== undefined) await makeCgroup(bundle, cgroup, options);
  await writeFileSynced(`${bundle}/config.json`, printJson(config), OF_THIS_BOOT);
  const pidFile = `${bundle}/pid`;
  const log = [...cgroup.isSystemd ? ["--systemd-cgroup"] : [], "--log", `${bundle}/log`];
  try {
    await runRuntime(request, [...log, "create", "--bundle", bundle, "--pid-file", pidFile, id], options);
  } catch (error) {
    // A runtime that refused, or that is not installed, created nothing, so it does not have to delete anything. If the call
    // was cut short, it is unknown what the runtime created.
    const createdNothing = isCniError(error, "io") || isCniError(error, "not-ready");
    if (createdNothing) await removeIfThere(`${bundle}/config.json`);
    throw error;
  }
  await runRuntime(request, [...log, "start", id], options);
  const pid = Number((await readTextIfThere(pidFile))?.trim());
  if (Number.isInteger(pid) && pid > 1) return pid;
  throw new CniError(
    "io",
    `Cannot start the infra container of sandbox "${id}": ${request.runtime} wrote no process ID`,
  );
}

/**
 * Ends and deletes the infra container. A container that is gone, or was never created, is not an error.
 *
 * @throws {CniError} kind `conflict` if a newer version created it
 */
export async function stopInfra(container: Container, options: InfraOptions): Promise<void> {
  const { id, bundle } = container;
  if (await statOf(bundle) === undefined) return;
  await requireOwnBundle(bundle);
  if (await statOf(`${bundle}/config.json`) !== undefined) {
    await runRuntime(container, ["--log", `${bundle}/log`, "delete", "--force", id], options);
  }
  await removeCgroup(bundle, options);
  await removeTree(bundle);
}

/**
 * Ends and deletes an infra container whose sandbox has no record; the runtime is read from the bundle. Returns whether the
 * bundle existed.
 */
export async function sweepInfra(id: string, bundle: string, options: InfraOptions): Promise<boolean> {
  if (await statOf(bundle) === undefined) return false;
  await stopInfra({ id, ...await infraOf(bundle) }, options);
  return true;
}

/** Returns what a bundle says of its container. */
export async function infraOf(
  bundle: string,
): Promise<{ readonly runtime: string; readonly bundle: string; readonly cgroup?: string }> {
  const runtime = await readTextIfThere(`${bundle}/runtime`) || DEFAULT_OCI_RUNTIME;
  const cgroup = await cgroupIn(bundle);
  return { runtime, bundle, ...(cgroup === undefined ? {} : { cgroup }) };
}

/** Returns in a few words what the OCI runtime says about a container, or why it says nothing. Has a short time limit. */
export async function infraState(
  { id, runtime }: Pick<Container, "id" | "runtime">,
  { run, path, signal }: Omit<InfraOptions, "timeoutMs">,
): Promise<string> {
  using deadline = new Deadline(STATE_TIMEOUT_MS, signal);
  const { code, stdout, stderr, ended } = await run({
    program: "sh",
    args: ["-c", 'exec "$@"', "sh", runtime, "state", id],
    env: { PATH: path, LC_ALL: "C" },
    signal: deadline.signal,
  });
  signal?.throwIfAborted();
  if (ended !== "exit") return `${runtime} did not show the state of its container`;
  if (code === 127) return `${runtime} is not installed`;
  if (code !== 0) return `${runtime} says: ${stderr.trim().split("\n").at(-1)}`;
  const [, status] = /"status"\s*:\s*"([^"]*)"/.exec(stdout) ?? [];
  return `${runtime} says that its container is ${status ?? "there"}`;
}

/** Returns a suffix for the reason why an infra container has ended; empty if nothing more is known. */
export async function infraEndDetails(
  { id, infra }: { readonly id: string; readonly infra: { readonly cgroup?: string } | undefined },
  { run, signal }: Pick<InfraOptions, "run" | "signal">,
): Promise<string> {
  const kills = await oomKills(infra?.cgroup ?? infraCgroup(id).path, { run, signal });
  return kills === 0 ? "" : `; the kernel has killed ${kills} of its processes because memory ran out`;
}

/** Directory of the infra containers: one folder for each, named after the sandbox's ID, as long as something of it exists. */
export function infraBundles(stateDir: string): string {
  return `${stateDir}/infra`;
}

/** Folder of a sandbox's infra container. */
export function infraBundle(stateDir: string, id: string): string {
  return `${infraBundles(stateDir)}/${id}`;
}

/** Returns what both the machine and the OCI runtime support. */
async function limitsFor(
  { id, runtime, settings: { seccomp } = {} }: InfraRequest,
  options: InfraOptions,
): Promise<InfraLimits> {
  const limits = await infraLimits(options.run, options.signal);
  if (seccomp === "none") return limits;
  const hasSeccomp = limits.hasSeccomp && await supportsSeccomp(runtime, options);
  if (!hasSeccomp) {
    const cause = limits.hasSeccomp ? runtime : "the kernel";
    if (seccomp !== undefined) {
      throw new CniError("usage", `${cause} does not support seccomp profiles`, { path: "seccomp" });
    }
    options.log?.warn(`the infra container has no seccomp profile: ${cause} does not support it`, {
      sandbox: id,
    });
  }
  return { ...limits, hasSeccomp };
}

/** A runtime that is too old for `features` supports profiles, unless it was built without them. */
async function supportsSeccomp(runtime: string, { run, path, signal }: InfraOptions): Promise<boolean> {
  using deadline = new Deadline(STATE_TIMEOUT_MS, signal);
  const { code, stdout } = await run({
    program: "sh",
    args: ["-c", 'exec "$@"', "sh", runtime, "features"],
    env: { PATH: path, LC_ALL: "C" },
    signal: deadline.signal,
  });
  signal?.throwIfAborted();
  if (code !== 0) return true;
  try {
    const features = parseJson(stdout);
    const linux = isObject(features) ? features.linux : undefined;
    const seccomp = linux !== undefined && isObject(linux) ? linux.seccomp : undefined;
    return seccomp === undefined || !isObject(seccomp) || seccomp.enabled !== false;
  } catch {
    return true;
  }
}

async function findInit(path: string): Promise<string> {
  const dirs = [...path.split(":").filter((dir) => dir !== ""), ...CATATONIT_DIRS];
  for (const dir of dirs) {
    if ((await statOf(`${dir}/catatonit`))?.isFile) return `${dir}/catatonit`;
  }
  throw new CniError("not-ready", "Cannot create an infra container: catatonit is not installed", {
    details: `searched in ${dirs.join(", ")}`,
    hint: "install catatonit, or leave --infra out",
  });
}

async function runRuntime(
  { runtime, bundle }: Container,
  args: readonly string[],
  { run, path, timeoutMs, signal }: InfraOptions,
): Promise<void> {
  // The container keeps the standard streams of its creation, so they must not be our pipes.
  const script = 'exec "$@" </dev/null >/dev/null 2>&1';
  const env = { PATH: path, LC_ALL: "C" };
  using deadline = new Deadline(timeoutMs, signal);
  try {
    await runOk(run, {
      program: "sh",
      args: ["-c", script, "sh", runtime, ...args],
      env,
      signal: deadline.signal,
    });
  } catch (error) {
    if (!signal?.aborted && deadline.signal.aborted) throw hangError(runtime, args, timeoutMs);
    if (!(error instanceof HostError)) throw error;
    throw runtimeError(runtime, args, error, await readTextIfThere(`${bundle}/log`));
  }
}

function verbOf(args: readonly string[]): string {
  return args.find((arg) => ["create", "start", "delete"].includes(arg)) ?? "use";
}

function hangError(runtime: string, args: readonly string[], timeoutMs: number): CniError {
  const what = `Cannot ${verbOf(args)} an infra container with "${runtime}"`;
  return new CniError("timeout", `${what}: it did not end within ${timeoutMs / 1000}s`, {
    elapsedMs: timeoutMs,
    hint: "`podwire recover` removes what is left of the container",
  });
}

function runtimeError(runtime: string, args: readonly string[], error: HostError, log: string | undefined) {
  const verb = verbOf(args);
  if (error.code === 127) {
    return new CniError(
      "not-ready",
      `Cannot ${verb} an infra container: the OCI runtime "${runtime}" is not installed`,
      {
        hint: `install ${runtime}, name another with --runtime, or leave --infra out`,
      },
    );
  }
  const details = (log ?? "").trim().split("\n").slice(-3).join("; ") || undefined;
  return new CniError(
    "io",
    `Cannot ${verb} an infra container with "${runtime}": exit status ${error.code}`,
    {
      details,
      exitCode: error.code,
      cause: error,
    },
  );
}
