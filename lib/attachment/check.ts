import type { CallOptions } from "../async/call_options.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { inVersion } from "../cni/in_version.ts";
import { atLeast } from "../cni/version.ts";
import { withCniErrors } from "../errors/to_cni_error.ts";
import { netnsId, nsProblem } from "../host/netns.ts";
import { Deadline } from "../plugin/deadline.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { VersionProbe } from "../plugin/versions.ts";
import type { AttachmentKey, AttachmentStore } from "../state/attachment_store.ts";
import { type CachedAttach, versionOfAdd, withCachedArgs } from "../state/recorded_config.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { checkChain } from "./chain.ts";
import type { InterfaceGuard } from "./interface_guard.ts";
import type { Removal } from "./removal.ts";
import { type FullAttachRequest, keyOf } from "./request.ts";
import { negotiate } from "./version_negotiation.ts";

/** Dependencies of {@linkcode checkAttachment}. */
export interface CheckContext {
  readonly runner: PluginRunner;
  readonly probe: VersionProbe;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly interfaces: InterfaceGuard;
  readonly removal: Removal;
  readonly timeoutMs: number;
}

/**
 * Asks each plugin whether the attachment is as its ADD left it. podwire itself compares the namespace with that of the
 * ADD, because many plugins do nothing on CHECK, and with `disableCheck` none is called.
 *
 * @throws {CniError} if the attachment has changed, or the list's version has no CHECK; kind `not-found`, code 8, if the
 * namespace is gone or another one is at its path
 */
export async function checkAttachment(
  offered: NetworkConfigList,
  request: FullAttachRequest,
  context: CheckContext,
  { signal }: CallOptions = {},
): Promise<void> {
  const { interfaces, store, cache, probe, runner } = context;
  const key = keyOf(offered, request);
  const place = { verb: "CHECK", network: offered.name };
  await interfaces.requireAllowed(request.netns, place);
  const cached = await withCniErrors(async () => await store.read(key) ?? await cache.read(key), place);
  await withCniErrors(() => requireSameNetns(key, request.netns, context), place);
  // Keeps only the plugins from being called; podwire's own comparison is done.
  if (offered.disableCheck && atLeast(offered.cniVersion, "0.4.0")) return;
  const list = await withCniErrors(() => inVersionOfAdd(offered, cached, probe, signal), place);
  if (!atLeast(list.cniVersion, "0.4.0")) {
    const msg = `configuration version "${list.cniVersion}" does not support the CHECK command`;
    throw new CniError("config", msg, { ...place, code: ERROR_CODES.incompatibleVersion });
  }
  using deadline = new Deadline(context.timeoutMs, signal);
  await checkChain(runner, list, withCachedArgs(request, cached), cached?.result, deadline.signal);
}

async function inVersionOfAdd(
  list: NetworkConfigList,
  cached: CachedAttach | undefined,
  probe: VersionProbe,
  signal: AbortSignal | undefined,
): Promise<NetworkConfigList> {
  const version = versionOfAdd(list, cached);
  return version === undefined ? await negotiate(list, probe, signal) : inVersion(list, version);
}

/**
 * Refuses a path that does not lead to the network namespace of the ADD. The plugins cannot be relied on for that: many do
 * nothing on CHECK.
 *
 * @throws {CniError} kind `not-found`, code 8
 */
async function requireSameNetns(
  key: AttachmentKey,
  netns: string,
  { store, removal }: CheckContext,
): Promise<void> {
  const { containerId, ifName } = key;
  const refusal = (why: string) =>
    new CniError("not-found", `${netns} ${why}`, { code: ERROR_CODES.invalidNetns, containerId, ifName });
  const problem = await nsProblem(netns);
  if (problem !== undefined) throw refusal(problem);
  const record = await store.read(key);
  const isOther = record === undefined
    // Of an attachment of another runtime only the path is known, not the identity of the namespace.
    ? await isElsewhere((await removal.cachedEntry(key))?.netns, netns)
    : record.netnsId !== undefined && !await removal.isInNetns(record, netns);
  if (isOther) throw refusal("leads to another network namespace than that of the attachment");
}

async function isElsewhere(known: string | undefined, netns: string): Promise<boolean> {
  const id = known && await netnsId(known);
  return id !== undefined && id !== "" && id !== await netnsId(netns);
}
