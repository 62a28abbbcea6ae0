import type { CallOptions } from "../async/call_options.ts";
import { showLinks } from "../host/link_info.ts";
import type { RunCommand } from "../host/command.ts";
import type { Logger } from "../host/log.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { CniError, isBlank } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject } from "../cni/json.ts";
import { validateContainerId, validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import { formatHostPort, hostPortsOf } from "../state/host_port.ts";
import type { Attachments } from "./attachments.ts";
import type {
  AttachmentKey,
  AttachmentRecord,
  AttachmentStore,
  DamagedAttachment,
} from "../state/attachment_store.ts";
import { parseRecorded } from "../state/recorded_config.ts";
import type { FreeLeftovers } from "./leftovers.ts";
import { isShortNameOf } from "../state/short_name.ts";
import type { ResultCache } from "../state/result_cache.ts";
import { CLI_OWNER } from "../state/owner.ts";

/** Which attachments are to be forgotten, and why. */
export interface ForgetRequest {
  /** Of this container. */
  readonly containerId: string;
  /** Only that of this interface. @default those of all */
  readonly ifName?: string | undefined;
  /** Only that to this network. @default those to all */
  readonly network?: string | undefined;
  /** Why; it is written into the log. */
  readonly reason: string;
  /** Runs no plugin and changes nothing. @default {false} */
  readonly dryRun?: boolean | undefined;
}

/** How an attachment was forgotten. */
export const FORGET_OUTCOMES = ["detached", "let go"] as const;

/** One of {@linkcode FORGET_OUTCOMES}. */
export type ForgetOutcome = typeof FORGET_OUTCOMES[number];

/** What became of one attachment. */
export interface ForgottenAttachment extends AttachmentKey {
  /** `detached`: its last DEL succeeded; `let go`: it failed, and what it made may be there still. */
  readonly how: ForgetOutcome;
  /** What the last DEL said. */
  readonly error?: CniError;
  /** What was freed without its plugins, each in words. */
  readonly freed: readonly string[];
  /** What may be left behind, each in words. */
  readonly remaining: readonly string[];
}

/** What was forgotten, or in a dry run would be; `forget --json` prints it. */
export interface ForgetReport {
  /** Each attachment that was let go. */
  readonly forgotten: readonly ForgottenAttachment[];
}

/** The parts that {@linkcode forgetAttachments} works with. */
export interface ForgetParts {
  readonly attachments: Attachments;
  readonly store: AttachmentStore;
  readonly cache: ResultCache;
  readonly freeLeftovers: FreeLeftovers;
  readonly run: RunCommand;
  readonly log: Logger;
}

/**
 * Lets go of attachments that cannot be detached: their DEL is tried a last time, then what is marked as theirs is freed
 * without their plugins, what may be left behind is written into the log, and their records go.
 *
 * One that is attached in a namespace that is there is refused: it can be detached. The caller holds the container's lock.
 *
 * @throws {CniError} kind `not-found`, `conflict` or `usage`; what DEL says is reported, not thrown
 */
export async function forgetAttachments(
  request: ForgetRequest,
  parts: ForgetParts,
  { signal }: CallOptions = {},
): Promise<ForgetReport> {
  const { containerId, ifName, network, reason } = request;
  validateContainerId(containerId);
  if (ifName !== undefined) validateInterfaceName(ifName);
  if (network !== undefined) validateNetworkName(network);
  if (isBlank(reason)) throw new CniError("usage", "a reason is needed to forget an attachment");
  const isOfInterface = (key: AttachmentKey) => ifName === undefined || key.ifName === ifName;
  const { store } = parts;
  await store.requireUnderstood(containerId);
  const records = (await store.ofContainer(containerId)).filter((record) =>
    isOfInterface(record) && (network === undefined || record.network === network)
  );
  const damaged = (await store.damaged(containerId)).filter((each) =>
    isOfInterface(each) && (network === undefined || isShortNameOf(each.network, network))
  );
  if (records.length + damaged.length === 0) throw nothing(request);
  for (const record of records) await refuseIfAttached(record, parts);
  const forgotten: ForgottenAttachment[] = [];
  for (const record of records.toReversed()) {
    signal?.throwIfAborted();
    forgotten.push(await forgetRecord(record, request, parts, signal));
  }
  for (const each of damaged) {
    signal?.throwIfAborted();
    forgotten.push(await forgetDamaged(each, request, parts, signal));
  }
  return { forgotten };
}

function nothing({ containerId, ifName, network }: ForgetRequest): CniError {
  const which = `${network === undefined ? "" : ` to network "${network}"`}${
    ifName === undefined ? "" : ` as "${ifName}"`
  }`;
  return new CniError("not-found", `no attachment of the container "${containerId}"${which} is on record`, {
    hint: "`podwire attachments --failed` lists what could not be detached",
  });
}

async function refuseIfAttached(
  record: AttachmentRecord,
  { attachments: { removal } }: ForgetParts,
): Promise<void> {
  const { containerId, network, ifName, netns } = record;
  if (record.state !== "attached" || !await removal.isInNetns(record, netns)) return;
  const msg = `"${ifName}" of the container "${containerId}" is attached to network "${network}"`;
  throw new CniError("conflict", msg, {
    details: `its namespace ${netns} is there`,
    hint: "detach it first: `podwire del` or `podwire rm`; what that cannot remove may be forgotten",
  });
}

async function forgetRecord(
  record: AttachmentRecord,
  { reason, dryRun = false }: ForgetRequest,
  parts: ForgetParts,
  signal: AbortSignal | undefined,
): Promise<ForgottenAttachment> {
  const { attachments, store, freeLeftovers, log } = parts;
  const { removal } = attachments;
  const { containerId, network, ifName } = record;
  const key = { containerId, network, ifName };
  const owner = await removal.leftoverSource(record);
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
  const found = await freeLeftovers(owner, { dryRun, signal });
  const remaining = [...found.remaining, ...await notTakenBack(record, error, parts)];
  const forgotten = { ...key, how: "let go", freed: found.freed, remaining } as const;
  if (error === undefined) return forgotten;
  tell(forgotten, error, reason, log);
  await removal.forget(await store.read(record) ?? record, signal);
  return { ...forgotten, error };
}

/** Of one whose record cannot be read libcni's cache may know how it was made; its namespace is taken as gone. */
async function forgetDamaged(
  damaged: DamagedAttachment,
  { reason, dryRun = false }: ForgetRequest,
  { attachments, store, cache, freeLeftovers, log }: ForgetParts,
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
        throw new CniError("io", "nothing says how it was made", { verb: "DEL", network });
      }
      await attachments.del(list, { containerId, ifName, netns: "", owner: CLI_OWNER }, { signal });
      return { ...key, how: "detached", freed: [], remaining: [] };
    } catch (cause) {
      signal?.throwIfAborted();
      error = asCniError(cause);
    }
  }
  const owner = { ...key, config: entry?.config ?? "", netns: "" };
  const found = await freeLeftovers(owner, { dryRun, signal });
  const remaining = [...found.remaining, `whatever the plugins of network "${network}" made for it`];
  const forgotten = { ...key, how: "let go", freed: found.freed, remaining } as const;
  if (error === undefined) return forgotten;
  tell(forgotten, error, reason, log);
  await cache.remove(key);
  await store.remove(key);
  return { ...forgotten, error };
}

/** Before it is let go: from then on the log is all that tells. */
function tell(
  { how: _, freed, remaining, ...key }: ForgottenAttachment,
  error: CniError,
  reason: string,
  log: Logger,
): void {
  log.warn(`an attachment is forgotten: ${reason}`, { ...key, error: error.message, freed, remaining });
}

/** What no plugin has taken back, as far as the record tells. DEL goes backwards and stops at the first failure. */
async function notTakenBack(
  record: AttachmentRecord,
  error: CniError | undefined,
  { run }: ForgetParts,
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

/** Addresses that an IPAM plugin other than host-local gave: only that one could free them. */
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

/** The interfaces of the result that are on the host and no bridge: that one is others' too. */
async function linksLeft(result: JsonObject | undefined, run: RunCommand): Promise<readonly string[]> {
  const interfaces = result?.interfaces;
  const ours = (isArray(interfaces ?? null) ? interfaces as readonly Json[] : []).flatMap((link) =>
    isObject(link) && typeof link.name === "string" && !link.sandbox ? [link.name] : []
  );
  if (ours.length === 0) return [];
  try {
    const links = await showLinks(["-details", "link", "show"], { run });
    return links.filter(({ name, kind }) => ours.includes(name) && kind !== "bridge").map(({ name }) => name);
  } catch {
    return ours;
  }
}
