import { CniError, ERROR_CODES } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import { SPEC_VERSIONS } from "../cni/version.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import type { LinkInfo } from "../host/link_info.ts";
import { nsProblem } from "../host/netns.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { SysctlError } from "../kernel/kernel.ts";
import { findLink } from "../kernel/links.ts";
import { isSameValue } from "../kernel/sysctl_value.ts";
import { refuseUnknownArgs } from "../plugin/invocation.ts";
import type { Plugin, PluginRequest } from "../plugin/serve.ts";
import { wrong } from "./link_check.ts";
import { requireUsable } from "./pair_attachment.ts";
import { requirePrevResult } from "./prev_result.ts";
import { requireAllowed } from "./tuning_allowlist.ts";
import { readBackup, removeBackup, valuesBefore, writeBackup } from "./tuning_backup.ts";
import {
  changesLink,
  readTuningConfig,
  readTuningDataDir,
  type TunedSysctl,
  type Tuning,
  type TuningConfig,
} from "./tuning_config.ts";

/**
 * Changes the interface of a container and kernel parameters of its namespace, as the tuning plugin of the CNI plugins project
 * does: each of the two can check and undo what the other has changed.
 */
export const tuning: Plugin = {
  about: "CNI plugin tuning (podwire)",
  versions: SPEC_VERSIONS,
  // Nothing in the files says of which network they are, so GC could not know which ones no attachment holds.
  verbs: { ADD: add, CHECK: check, DEL: del, STATUS: status },
};

async function add(request: PluginRequest): Promise<Result> {
  const config = await readAllowed(request);
  const prevResult = requirePrevResult(request);
  const { netns, ifName, run, signal } = request;
  await requireUsable(request);
  await setSysctls(request, config.sysctls);
  if (changesLink(config.tuning)) {
    const link = await requireLink(request);
    await writeBackup(config.dataDir, request, valuesBefore(link, config.tuning));
    await kernelFor(run).apply([{ kind: "set-link", name: ifName, ...config.tuning }], { netns, signal });
  }
  return withTuning(prevResult, request, config.tuning);
}

/** The result has the interface as it is now. */
function withTuning(result: Result, { netns, ifName }: PluginRequest, { mac, mtu }: Tuning): Result {
  const { interfaces } = result;
  if (interfaces === undefined) return result;
  const tuned = interfaces.map((one) =>
    one.name !== ifName || one.sandbox !== netns ? one : {
      ...one,
      ...(mac === undefined ? {} : { mac }),
      ...(mtu === undefined || one.mtu === undefined ? {} : { mtu }),
    }
  );
  return { ...result, interfaces: tuned };
}

/** Sets kernel parameters of the namespace, and leaves those of the machine as they are. */
async function setSysctls(
  { netns, run, signal }: PluginRequest,
  sysctls: readonly TunedSysctl[],
): Promise<void> {
  if (sysctls.length === 0) return;
  const kernel = kernelFor(run);
  const paths = sysctls.map(({ path }) => path);
  const before = await kernel.readSysctls(paths, { signal });
  try {
    await kernel.writeSysctls(new Map(sysctls.map(({ path, value }) => [path, value])), { netns, signal });
  } catch (error) {
    if (!(error instanceof SysctlError)) throw error;
    const { key = error.sysctl, value = "" } = sysctls.find(({ path }) => path === error.sysctl) ?? {};
    throw new CniError("io", `Cannot set the sysctl "${key}" to "${value}": ${error.why}`, { cause: error });
  }
  const after = await kernel.readSysctls(paths, { signal });
  for (const { key, path, value } of sysctls) {
    const [was, is] = [before.get(path), after.get(path)];
    if (was === undefined || is === undefined || is === was || !isSameValue(is, value)) continue;
    // Not with the signal of the caller: the change must not stay.
    await kernel.writeSysctls(new Map([[path, was]]));
    throw new CniError("config", `the sysctl "${key}" applies to the whole machine, and is as before`, {
      code: ERROR_CODES.invalidNetworkConfig,
    });
  }
}

async function check(request: PluginRequest): Promise<void> {
  const { sysctls, tuning } = await readAllowed(request);
  const { netns, ifName, run, signal } = request;
  requirePrevResult(request);
  await requireUsable(request);
  const now = await kernelFor(run).readSysctls(sysctls.map(({ path }) => path), { netns, signal });
  for (const { key, path, value } of sysctls) {
    const found = now.get(path);
    if (found !== undefined && isSameValue(found, value)) continue;
    throw wrong(`the sysctl "${key}" is ${found === undefined ? "not there" : `"${found}"`}, not "${value}"`);
  }
  if (!changesLink(tuning)) return;
  const is = valuesBefore(await requireLink(request), tuning);
  for (const [what, wanted] of Object.entries(tuning)) {
    const found = is[what as keyof Tuning];
    if (wanted === undefined || found === wanted) continue;
    throw wrong(`${WORDS[what as keyof Tuning]} of "${ifName}" is ${found}, not ${wanted}`);
  }
}

const WORDS: Readonly<Record<keyof Tuning, string>> = {
  mac: "the MAC address",
  promiscuous: "the promiscuous mode",
  mtu: "the MTU",
  allMulticast: "the all-multicast mode",
  txQueueLength: "the length of the transmit queue",
};

/**
 * Restores what the ADD changed of the interface; kernel parameters go with the namespace. It always succeeds, so that the
 * plugins before it in the list undo their work too; if the interface cannot be changed back, the values stay on file.
 */
async function del(request: PluginRequest): Promise<void> {
  const { netns, ifName, run, signal } = request;
  try {
    const dataDir = readTuningDataDir(request.config);
    const before = await readBackup(dataDir, request);
    const isThere = netns !== "" && await nsProblem(netns) === undefined;
    const kernel = kernelFor(run);
    if (before !== undefined && isThere && await findLink(kernel, ifName, { netns, signal }) !== undefined) {
      await kernel.apply([{ kind: "set-link", name: ifName, ...before }], { netns, signal });
    }
    // Without the interface there is nothing to restore, ever.
    await removeBackup(dataDir, request);
  } catch (error) {
    request.log(`tuning: Cannot restore interface "${ifName}": ${messageOf(error)}`);
  }
}

async function status(request: PluginRequest): Promise<void> {
  await readAllowed(request);
}

async function readAllowed({ config, args, ifName }: PluginRequest): Promise<TuningConfig> {
  refuseUnknownArgs(args, ["MAC"]);
  const read = readTuningConfig(config, args, ifName);
  await requireAllowed(read.sysctls);
  return read;
}

async function requireLink({ netns, ifName, run, signal }: PluginRequest): Promise<LinkInfo> {
  const link = await findLink(kernelFor(run), ifName, { netns, signal });
  if (link === undefined) throw wrong(`interface "${ifName}" is not in "${netns}"`);
  return link;
}
