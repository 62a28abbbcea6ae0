import type { CallOptions } from "../async/call_options.ts";
import { CniError, isBlank } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject } from "../cni/json.ts";
import { validateContainerId, validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { RunCommand } from "../host/command.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Logger } from "../host/log.ts";
import type {
  AttachmentKey,
  AttachmentRecord,
  AttachmentStore,
  DamagedAttachment,
} from "../state/attachment_store.ts";
import { formatHostPort, hostPortsOf } from "../state/host_port.ts";
import { CLI_OWNER } from "../state/owner.ts";
import { parseRecorded } from "../state/recorded_config.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { isShortNameOf } from "../state/short_name.ts";
import type { Attachments } from "./attachments.ts";
import { type FreeLeftovers, recordedAddresses } from "./leftovers.ts";

/** Which attachments to forget, and why. */
export interface ForgetRequest {
  /** The container. */
  readonly containerId: string;
  /** Only the attachment with this interface. @default {all interfaces} */
  readonly ifName?: string | undefined;
  /** Only the attachment to this network. @default {all networks} */
  readonly network?: string | undefined;
  /** The reason, for the log. */
  readonly reason: string;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
}

/** How an attachment was forgotten. */
export const FORGET_OUTCOMES = ["detached", "let go"] as const;

/** One of {@linkcode FORGET_OUTCOMES}. */
export type ForgetOutcome = typeof FORGET_OUTCOMES[number];

/** The outcome for one attachment. */
export interface ForgottenAttachment extends AttachmentKey {
  /** `detached`: its last DEL succeeded. `let go`: the DEL failed, and what the plugins created may still exist. */
  readonly how: ForgetOutcome;
  /** The failure of the last DEL. */
  readonly error?: CniError;
  /** What was freed without its plugins, each as a phrase. */
  readonly freed: readonly string[];
  /** What may be left behind, each as a phrase. */
  readonly remaining: readonly string[];
}

/** What was forgotten, or would be in a dry run. `forget --json` prints it. */
export interface ForgetReport {
  /** Each attachment that was forgotten. */
  readonly forgotten: readonly ForgottenAttachment[];
}

/** Dependencies of {@linkcode forgetAttachments}. */
export interface ForgetContext {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly freeLeftovers: FreeLeftovers;
  readonly run: RunCommand;
  readonly log: Logger;
}

/**
 * Forgets attachments that cannot be detached. Tries their DEL a last time, frees what is marked as theirs without their
 * plugins, logs what may be left behind, and removes their records.
 *
 * Refuses an attachment whose namespace still exists, because it can be detached. The caller holds the container's lock.
 *
 * @throws {CniError} kind `not-found`, `conflict` or `usage`; a failure of DEL is reported, not thrown
 */
export async function forgetAttachments(
  request: ForgetRequest,
  context: ForgetContext,
  { signal }: CallOptions = {},
): Promise<ForgetReport> {
  const { containerId, ifName, network, reason } = request;
  validateContainerId(containerId);
  if (ifName !== undefined) validateInterfaceName(ifName);
  if (network !== undefined) validateNetworkName(network);
  if (isBlank(reason)) throw new CniError("usage", "a reason is needed to forget an attachment");
  const isOfInterface = (key: AttachmentKey) => ifName === undefined || key.ifName === ifName;
  const { store } = context;
  await store.requireUnderstood(containerId);
  const records = (await store.ofContainer(containerId)).filter((record) =>
    isOfInterface(record) && (network === undefined || record.network === network)
  );
  const damaged = (await store.damaged(containerId)).filter((each) =>
    isOfInterface(each) && (network === undefined || isShortNameOf(each.network, network))
  );
  if (records.length + damaged.length === 0) throw notOnRecord(request);
  for (const record of records) await refuseIfAttached(record, context);
  const forgotten: ForgottenAttachment[] = [];
  for (const record of records.toReversed()) {
    signal?.throwIfAborted();
    forgotten.push(await forgetRecord(record, request, context, signal));
  }
  for (const each of damaged) {
    signal?.throwIfAborted();
    forgotten.push(await forgetDamaged(each, request, context, signal));
  }
  return { forgotten };
}

function notOnRecord({ containerId, ifName, network }: ForgetRequest): CniError {
  const which = `${network === undefined ? "" : ` to network "${network}"`}${
    ifName === undefined ? "" : ` as "${ifName}"`
  }`;
  return new CniError("not-found", `no attachment of the container "${containerId}"${which} is on record`, {
    hint: "`podwire attachments --failed` lists what could not be detached",
  });
}

async function refuseIfAttached(
  record: AttachmentRecord,
  { attachments: { removal } }: ForgetContext,
): Promise<void> {
  const { containerId, network, ifName, netns } = record;
  if (record.state !== "attached" || !await removal.isInNetns(record, netns)) return;
  const msg = `"${ifName}" of the container "${containerId}" is attached to network "${network}"`;
  throw new CniError("conflict", msg, {
    details: `its namespace ${netns} still exists`,
    hint: "detach it first: `podwire del` or `podwire rm`; what that cannot remove may be forgotten",
  });
}

async function forgetRecord(
  record: AttachmentRecord,
  { reason, dryRun = false }: ForgetRequest,
  context: ForgetContext,
  signal: AbortSignal | undefined,
): Promise<ForgottenAttachment> {
  const { attachments, store, freeLeftovers, log } = context;
  const { removal } = attachments;
  const { containerId, network, ifName } = record;
  const key = { containerId, network, ifName };
  const source = await removal.leftoverSource(record);
  let error: CniError | undefined;
  if (!dryRun) {
    try {
      await attachments.remove(record, signal);
      log.info(`detached at last, before it was to be forgotten: ${reason}`, key);
      return { ...key, how: "detached", freed: [], remaining: [] };
    } catch (cause) {
      signal?.throwIfAborted();
      error = asCniError(cause);
    }
  }
  const found = await freeLeftovers(source, { dryRun, signal });
  const remaining = [...found.remaining, ...await possiblyLeft(record, error, context)];
  const forgotten = { ...key, how: "let go", freed: found.freed, remaining } as const;
  if (error === undefined) return forgotten;
  logForgotten(forgotten, error, reason, log);
  await removal.forget(await store.read(record) ?? record, signal);
  return { ...forgotten, error };
}

/**
 * Forgets an attachment whose record cannot be read. libcni's cache may have its configuration. Its namespace counts as gone.
 */
async function forgetDamaged(
  damaged: DamagedAttachment,
  { reason, dryRun = false }: ForgetRequest,
  { attachments, store, cache, freeLeftovers, log }: ForgetContext,
  signal: AbortSignal | undefined,
): Promise<ForgottenAttachment> {
  const { containerId, network, ifName } = damaged;
  const key = { containerId, network, ifName };
  const entry = await cache.read(key).catch(() => undefined);
  const list = parseRecorded(entry?.config);
  let error: CniError | undefined;
  if (!dryRun) {
    try {
      if (list === undefined) {
        throw new CniError("io", "no configuration of it is on record", { verb: "DEL", network });
      }
      await attachments.del(list, { containerId, ifName, netns: "", owner: CLI_OWNER }, { signal });
      return { ...key, how: "detached", freed: [], remaining: [] };
    } catch (cause) {
      signal?.throwIfAborted();
      error = asCniError(cause);
    }
  }
  const source = {
    ...key,
    config: entry?.config ?? "",
    netns: "",
    addresses: recordedAddresses(entry?.result),
  };
  const found = await freeLeftovers(source, { dryRun, signal });
  const remaining = [...found.remaining, `whatever the plugins of network "${network}" made for it`];
  const forgotten = { ...key, how: "let go", freed: found.freed, remaining } as const;
  if (error === undefined) return forgotten;
  logForgotten(forgotten, error, reason, log);
  await cache.remove(key);
  await store.remove(key);
  return { ...forgotten, error };
}

/** Called before the records go: afterwards only the log has this. */
function logForgotten(
  { how: _, freed, remaining, ...key }: ForgottenAttachment,
  error: CniError,
  reason: string,
  log: Logger,
): void {
  log.warn(`an attachment is forgotten: ${reason}`, { ...key, error: error.message, freed, remaining });
}

/**
 * Returns what the plugins may have left behind, according to the record. DEL runs the plugins in reverse order and stops at
 * the first failure.
 */
async function possiblyLeft(
  record: AttachmentRecord,
  error: CniError | undefined,
  { run }: ForgetContext,
): Promise<readonly string[]> {
  const { network, config, capabilityArgs, result, firstSkippedPlugin = Infinity } = record;
  const list = parseRecorded(config);
  const failed = error?.context.plugin?.index ?? Infinity;
  const plugins = (list?.plugins ?? []).filter((_, index) => index <= failed && index < firstSkippedPlugin);
  const ports = plugins.some(({ capabilities }) => capabilities.includes("portMappings"))
    ? hostPortsOf(capabilityArgs)
    : [];
  return [
    ...(list === undefined ? [`whatever the plugins of network "${network}" made for it`] : []),
    ...plugins.map(({ type }) => `whatever plugin "${type}" made for it`),
    ...ports.map((port) => `rules for the host port ${formatHostPort(port)}`),
    ...(await linksLeft(result, run)).map((name) => `the interface ${name} on the host`),
    ...plugins.flatMap(({ json }) => isObject(json.ipam ?? null) ? foreignAddresses(json, result) : []),
  ];
}

/** Returns the addresses from an IPAM plugin other than host-local: only that plugin can free them. */
function foreignAddresses({ ipam }: JsonObject, result: JsonObject | undefined): readonly string[] {
  const type = (ipam as JsonObject).type;
  if (typeof type !== "string" || type === "host-local" || type === "static" || type === "") return [];
  const ips = result?.ips;
  return (isArray(ips ?? null) ? ips as readonly Json[] : []).flatMap((ip) =>
    isObject(ip) && typeof ip.address === "string"
      ? [`the address ${ip.address} of IPAM plugin "${type}"`]
      : []
  );
}

/** Returns the interfaces of the result that exist on the host, except bridges, which other attachments use as well. */
async function linksLeft(result: JsonObject | undefined, run: RunCommand): Promise<readonly string[]> {
  const interfaces = result?.interfaces;
  const named = (isArray(interfaces ?? null) ? interfaces as readonly Json[] : []).flatMap((link) =>
    isObject(link) && typeof link.name === "string" && !link.sandbox ? [link.name] : []
  );
  if (named.length === 0) return [];
  try {
    const [links] = await kernelFor(run).apply([{ kind: "show-links" }]);
    return links.filter(({ name, kind }) => named.includes(name) && kind !== "bridge").map(({ name }) =>
      name
    );
  } catch {
    return named;
  }
}
