import { HostError, type RunCommand, runOk } from "../host/command.ts";
import { ensureDir, readTextIfThere, statOf, writeFileSynced } from "../host/file.ts";
import { copyFile, removeTree } from "../host/tree.ts";
import { CniError } from "../spec/error.ts";

/** The OCI runtime that makes infra containers unless another is named. */
export const DEFAULT_OCI_RUNTIME = "runc";

/** An infra container to make. */
export interface InfraRequest {
  readonly id: string;
  readonly hostname: string;
  /** A program with the command line of runc. */
  readonly runtime: string;
  /** A folder that is the container's alone. */
  readonly bundle: string;
}

interface InfraOptions {
  readonly run: RunCommand;
  readonly signal?: AbortSignal;
}

const CATATONIT_PLACES = [
  "/usr/bin/catatonit",
  "/usr/libexec/podman/catatonit",
  "/usr/libexec/catatonit/catatonit",
  "/usr/local/bin/catatonit",
];

/**
 * Makes the infra container of a sandbox through an OCI runtime and gives the process that holds its
 * namespaces.
 *
 * Source: OCI runtime specification 1.0.2.
 *
 * @throws {CniError} kind `not-found` if the OCI runtime or catatonit is missing
 */
export async function startInfra(request: InfraRequest, { run, signal }: InfraOptions): Promise<number> {
  const { id, bundle, runtime } = request;
  const init = await findInit();
  await ensureDir(`${bundle}/rootfs`, 0o700);
  await copyFile(init, `${bundle}/rootfs/catatonit`, 0o555);
  await writeFileSynced(`${bundle}/config.json`, JSON.stringify(bundleConfig(request)));
  const pidFile = `${bundle}/pid`;
  const create = ["--log", `${bundle}/log`, "create", "--bundle", bundle, "--pid-file", pidFile, id];
  await runRuntime(run, runtime, bundle, create, signal);
  await runRuntime(run, runtime, bundle, ["--log", `${bundle}/log`, "start", id], signal);
  const pid = Number((await readTextIfThere(pidFile))?.trim());
  if (Number.isInteger(pid) && pid > 1) return pid;
  throw new CniError(
    "io",
    `Cannot start the infra container of sandbox "${id}": ${runtime} told no process ID`,
  );
}

/** Ends and forgets the infra container. One that is gone, or was never made, is fine. */
export async function stopInfra(
  { id, runtime, bundle }: Pick<InfraRequest, "id" | "runtime" | "bundle">,
  { run }: InfraOptions,
): Promise<void> {
  if (await statOf(bundle) === undefined) return;
  if (await statOf(`${bundle}/config.json`) !== undefined) {
    await runRuntime(run, runtime, bundle, ["--log", `${bundle}/log`, "delete", "--force", id], undefined);
  }
  await removeTree(bundle);
}

async function findInit(): Promise<string> {
  for (const path of CATATONIT_PLACES) {
    if ((await statOf(path))?.isFile) return path;
  }
  throw new CniError("not-found", "Cannot make an infra container: catatonit is not installed", {
    details: `looked for ${CATATONIT_PLACES.join(", ")}`,
    hint: "install catatonit, or leave --infra out",
  });
}

async function runRuntime(
  run: RunCommand,
  runtime: string,
  bundle: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  // The container keeps the standard streams that it was created with: they must not be our pipes.
  const script = 'exec "$@" </dev/null >/dev/null 2>&1';
  try {
    await runOk(run, {
      program: "sh",
      args: ["-c", script, "sh", runtime, ...args],
      ...(signal && { signal }),
    });
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    throw runtimeError(runtime, args, error, await readTextIfThere(`${bundle}/log`));
  }
}

function runtimeError(runtime: string, args: readonly string[], error: HostError, log: string | undefined) {
  const verb = args.find((arg) => ["create", "start", "delete"].includes(arg));
  if (error.code === 127) {
    return new CniError(
      "not-found",
      `Cannot ${verb} an infra container: the OCI runtime "${runtime}" is not installed`,
      {
        hint: `install ${runtime}, name another with --runtime, or leave --infra out`,
      },
    );
  }
  const said = (log ?? "").trim().split("\n").slice(-3).join("; ");
  return new CniError(
    "io",
    `Cannot ${verb} an infra container with "${runtime}": exit status ${error.code}`,
    {
      ...(said === "" ? {} : { details: said }),
      exitCode: error.code,
      cause: error,
    },
  );
}

function bundleConfig({ id, hostname }: InfraRequest) {
  const none: string[] = [];
  return {
    ociVersion: "1.0.2",
    hostname,
    root: { path: "rootfs", readonly: true },
    process: {
      user: { uid: 0, gid: 0 },
      args: ["/catatonit", "-P"],
      cwd: "/",
      env: ["PATH=/"],
      capabilities: { bounding: none, effective: none, inheritable: none, permitted: none, ambient: none },
      noNewPrivileges: true,
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    ],
    linux: {
      cgroupsPath: `/podwire/${id}`,
      namespaces: ["pid", "network", "ipc", "uts", "mount"].map((type) => ({ type })),
      maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
      readonlyPaths: ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"],
    },
  };
}
