import { HostError } from "../host/command.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import { type Answers, describeOperation, type Operation } from "./operation.ts";
import type { PortVlanChange, PortVlans } from "./port_vlan.ts";
import type { Shaping, ShapingChange } from "./shaping.ts";

/** Where operations take effect, and how long they may take. */
export interface KernelOptions {
  /** The path of the network namespace. @default {undefined} (that of this process) */
  readonly netns?: string | undefined;
  /** Kernel parameters to set in the same namespace before the first operation. @default none */
  readonly sysctls?: readonly Sysctl[] | undefined;
  /** Kernel parameters to set in the namespace of this process before that, as a part of the same step. @default none */
  readonly sysctlsOutside?: readonly Sysctl[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The network stack of this machine. There are two ways to speak to it, and both do the same: netlink in this process,
 * and the programs `ip`, `bridge`, `tc`, `nsenter`, `mount`, `umount`, `unshare` and `sh`.
 */
export interface Kernel {
  /**
   * Carries out operations in their order. The first one that fails ends them; those before it stay done.
   *
   * @throws {KernelError} Naming the operation that failed, and the reason.
   * @throws The reason of `signal`, if that ended it.
   */
  apply<const T extends readonly Operation[]>(operations: T, options?: KernelOptions): Promise<Answers<T>>;
  /** Creates a network namespace with a name in the file system, with `lo` up, see `createNetns` in lib/host/netns.ts. */
  createNetns(path: string, options?: CreateNetns): Promise<void>;
  /** Gives the namespace of a process, or of another path, a name in the file system, see `pinNetns` in lib/host/netns.ts. */
  pinNetns(
    source: number | string,
    path: string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<void>;
  /** Removes the name of a network namespace, see `removeNetns` in lib/host/netns.ts. */
  removeNetns(path: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<boolean>;
  /** Returns the values of kernel parameters by their names, of those that can be read; names as in {@linkcode Sysctl}. */
  readSysctls(names: readonly string[], options?: SysctlPlace): Promise<ReadonlyMap<string, string>>;
  /**
   * Sets kernel parameters in their order. The first one that cannot be set ends that; those before it stay set. Returns
   * what {@linkcode Kernel.readSysctls} returns for them afterwards: the kernel may keep another value.
   *
   * @throws {SysctlError} Naming the one that cannot be set, and the reason.
   */
  writeSysctls(
    values: ReadonlyMap<string, string>,
    options?: SysctlPlace,
  ): Promise<ReadonlyMap<string, string>>;
  /**
   * Changes in their order how packets are queued. The first change that fails ends that; those before it stay done.
   *
   * @throws {ShapingError} Naming the change, and the reason.
   */
  shape(changes: readonly ShapingChange[], options?: ShapingPlace): Promise<void>;
  /** Shows how the packets of an interface are queued. @throws {ShapingError} */
  shapingOf(device: string, options?: ShapingPlace): Promise<Shaping>;
  /** Changes the VLANs of a port of a bridge. @throws {PortVlanError} Naming the port, and the reason. */
  setPortVlans(change: PortVlanChange, options?: PortVlanPlace): Promise<void>;
  /** Shows the VLANs of ports, and of bridges themselves, by their names; without those that have none. @throws {PortVlanError} */
  portVlans(options?: PortVlanPlace): Promise<ReadonlyMap<string, readonly PortVlans[]>>;
}

/** What the kernel refused beside {@linkcode Operation}s, which have an error of their own. */
class KernelRefusal extends HostError {
  /** `why` is the kernel's word, without a full stop. */
  constructor(
    readonly what: string,
    readonly why: string,
    readonly problem: KernelProblem,
    options: { program?: string; code?: number; stderr?: string; cause?: unknown } = {},
  ) {
    super(`Cannot ${what}: ${why}`, options);
  }
}

/** Where the ports of a bridge are. */
export type PortVlanPlace = Pick<KernelOptions, "netns" | "signal">;

/** A change of the VLANs of a port, or a question about them, that the kernel refused. */
export class PortVlanError extends KernelRefusal {
  override readonly name = "PortVlanError";
}

/** Where packets are queued. */
export type ShapingPlace = Pick<KernelOptions, "netns" | "signal">;

/** A change of how packets are queued that the kernel refused. */
export class ShapingError extends KernelRefusal {
  override readonly name = "ShapingError";
}

/** The namespace whose kernel parameters are meant. */
export type SysctlPlace = Pick<KernelOptions, "netns" | "signal">;

/** A kernel parameter that cannot be set. */
export class SysctlError extends HostError {
  override readonly name = "SysctlError";

  /** `why` is the kernel's word, without a full stop. */
  constructor(
    readonly sysctl: string,
    readonly why: string,
    options: { program?: string; code?: number } = {},
  ) {
    super(`Cannot set the kernel parameter ${JSON.stringify(sysctl)}: ${why}`, { ...options, stderr: why });
  }
}

/** Options of {@linkcode Kernel.createNetns}. */
export interface CreateNetns {
  /** The alias of `lo`. @default none */
  readonly alias?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Why an operation failed, as far as callers distinguish failures. */
export type KernelProblem = "exists" | "missing" | "other";

/** An operation that the kernel refused. */
export class KernelError extends HostError {
  override readonly name = "KernelError";

  /**
   * `index` is that of the operation, counted from zero; undefined if the failure is not one of the operations, or if it is
   * not known which one it was. `why` is the kernel's word, without a full stop.
   */
  constructor(
    readonly index: number | undefined,
    readonly why: string,
    readonly problem: KernelProblem,
    { operations, ...options }: {
      operations: readonly Operation[];
      program?: string;
      code?: number;
      stderr?: string;
      cause?: unknown;
    },
  ) {
    const operation = index === undefined ? undefined : operations[index];
    const what = operation === undefined ? "change the network" : describeOperation(operation);
    super(`Cannot ${what}: ${why}`, options);
  }
}
