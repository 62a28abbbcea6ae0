import { backoffMs } from "../async/backoff.ts";
import { inParallel } from "../async/parallel.ts";
import { delay } from "../async/wait.ts";
import { isCniError } from "../cni/error.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { statOf } from "../host/file.ts";
import type { Logger, LogLevel } from "../host/log.ts";
import { Deadline, type Timeouts } from "../plugin/deadline.ts";
import { DHCP } from "../plugin/dhcp.ts";
import type { PluginRunner } from "../plugin/exec.ts";
import type { Verb } from "../plugin/invocation.ts";
import { attachmentKey } from "../state/attachment_key.ts";
import type { AttachmentRecord, AttachmentStore } from "../state/attachment_store.ts";
import type { DhcpEvent, LeaseResult } from "./event.ts";
import { addressesOf, type Lease, leasesOf } from "./lease.ts";

/** Options of {@linkcode Leases}. */
export interface LeasesOptions {
  readonly runner: PluginRunner;
  readonly store: AttachmentStore;
  readonly timeouts: Timeouts;
  /** Whether a path still leads to the network namespace of an attachment. */
  readonly isInNetns: (record: AttachmentRecord, path: string) => Promise<boolean>;
  /** Whether a lease that the daemon has stays as it is if it is asked for it again. */
  readonly keepsLeases: (signal: AbortSignal) => Promise<boolean>;
  readonly log: Logger;
  readonly onEvent: (event: DhcpEvent) => void;
}

/** Options of {@linkcode Leases.renew}. */
export interface RenewOptions {
  /** Whether the daemon began while podwire watched: then it knows no lease. */
  readonly isNew: boolean;
  readonly signal: AbortSignal;
}

/** Each one is a program that waits for a server. */
const AT_ONCE = 8;

/** A lease that the daemon does not hold yet. */
interface Pending {
  readonly lease: Lease;
  /** Why the last try failed. */
  readonly reason: string;
  /** Whether the daemon did not answer: it holds a lease that has ended, and waits for it for ever. */
  readonly isStuck: boolean;
}

/**
 * The leases of the attachments on record. A DHCP daemon keeps its leases in memory, so one that begins knows none, and
 * renews none: each has to be asked for once again. The daemon asks with the same client ID, for which a server gives the
 * same address. Nothing in a container changes: if the server gives another address, that is only reported.
 */
export class Leases {
  readonly #options: LeasesOptions;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /**
   * Asks the daemon at a socket for all leases that attachments need, each again and again until it has it. Resolves when it
   * has all, or when the signal fires.
   *
   * A daemon that was there before may have them. If asking twice does harm, it is asked only for those that are older than its
   * socket.
   */
  async renew(socket: string, { isNew, signal }: RenewOptions): Promise<void> {
    const { log } = this.#options;
    let pending: readonly Pending[] | undefined;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        pending = await this.#pass(pending ?? await this.#wanted(socket, { isNew, signal }), signal);
        if (pending.length === 0) return;
      } catch (error) {
        if (signal.aborted) return;
        log.error(`Cannot renew leases of DHCP: ${asCniError(error).message}`, { socket });
      }
      await delay(backoffMs(attempt), signal).catch(() => {});
    }
  }

  async #wanted(socket: string, { isNew, signal }: RenewOptions): Promise<readonly Pending[]> {
    const { store, keepsLeases } = this.#options;
    const leases = (await store.all()).flatMap(leasesOf).filter((lease) => lease.socket === socket);
    const mayAskTwice = isNew || leases.length === 0 || await keepsLeases(signal);
    const began = mayAskTwice ? Infinity : (await statOf(socket))?.mtimeMs ?? Infinity;
    return leases.filter(({ record }) => Date.parse(record.since) < began)
      .map((lease) => ({ lease, reason: "", isStuck: false }));
  }

  /** Asks for each once; returns those that are without a lease. */
  async #pass(wanted: readonly Pending[], signal: AbortSignal): Promise<readonly Pending[]> {
    const tried = await inParallel(wanted, AT_ONCE, (one) => this.#renewOne(one, signal), signal);
    return tried.filter((one) => one !== undefined);
  }

  async #renewOne(last: Pending, signal: AbortSignal): Promise<Pending | undefined> {
    const { timeouts, isInNetns, store } = this.#options;
    const { lease } = last;
    const { record } = lease;
    // Meanwhile, the attachment may have been removed.
    if ((await store.read(record))?.state !== "attached") return undefined;
    if (!await isInNetns(record, record.netns)) return undefined;
    try {
      if (last.isStuck) await this.#call(lease, "DEL", timeouts.DEL, signal);
      const addresses = await this.#call(lease, "ADD", timeouts.ADD, signal);
      const now = await store.read(record);
      if (now === undefined || now.state === "deleting" || now.state === "failed") {
        // The container is being detached, or is gone: its DEL may have come before there was a lease.
        await this.#call(lease, "DEL", timeouts.DEL, signal);
      } else if (now.state === "attached" && now.since === record.since) this.#report(lease, addresses);
      // Else it is attached anew, which has asked for the same lease itself.
      return undefined;
    } catch (cause) {
      signal.throwIfAborted();
      const error = asCniError(cause);
      const reason = error.message;
      if (reason !== last.reason) this.#emit(lease, { outcome: "failed", reason });
      return { lease, reason, isStuck: isCniError(error, "timeout") };
    }
  }

  /** Calls the plugin `dhcp`, which is the client of the daemon; returns the addresses that it gives. */
  async #call(
    { record, list, config }: Lease,
    verb: Extract<Verb, "ADD" | "DEL">,
    timeoutMs: number,
    outer: AbortSignal,
  ): Promise<readonly string[]> {
    const { runner } = this.#options;
    const { containerId, netns, ifName, cniArgs: args } = record;
    using deadline = new Deadline(timeoutMs, outer);
    const { signal } = deadline;
    const call = { verb, type: DHCP, config, containerId, netns, ifName, args, signal };
    if (verb === "ADD") return addressesOf(await runner.add(call, list.cniVersion));
    await runner.call(call);
    return [];
  }

  #report(lease: Lease, [address = ""]: readonly string[]): void {
    const attached = addressesOf(lease.record.result);
    if (attached.includes(address)) this.#emit(lease, { outcome: "renewed", address });
    else this.#emit(lease, { outcome: "changed", address, attached });
  }

  #emit({ record, socket }: Lease, result: LeaseResult): void {
    const { log, onEvent } = this.#options;
    const attachment = attachmentKey(record);
    const [level, text] = words(result);
    log[level](text, { ...attachment });
    onEvent({ socket, event: "lease", attachment, ...result });
  }
}

function words(result: LeaseResult): readonly [LogLevel, string] {
  switch (result.outcome) {
    case "renewed":
      return ["debug", `the DHCP daemon renews the lease of ${result.address}`];
    case "changed": {
      const { address, attached } = result;
      const kept = `the container has ${attached.join(", ")}, and keeps it`;
      return ["warn", `the DHCP server gave ${address || "no address"}, but ${kept}`];
    }
    case "failed":
      return ["warn", `there is no lease of DHCP yet, and another try comes: ${result.reason}`];
  }
}
