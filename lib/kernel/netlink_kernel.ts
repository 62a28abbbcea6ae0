import { untilMayLeave } from "../host/home.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import { type Libc, openLibc } from "../host/libc.ts";
import { addAddress, removeAddress } from "./address_request.ts";
import { setNeighbor } from "./neighbor_request.ts";
import { openHome } from "./in_netns.ts";
import {
  type CreateNetns,
  type Kernel,
  KernelError,
  type KernelOptions,
  type PortVlanPlace,
  type ShapingPlace,
  type SysctlPlace,
} from "./kernel.ts";
import { createBridge, createLink, createVeth, removeLink, setLink, setPort } from "./link_request.ts";
import { NetlinkFormatError } from "./netlink_reader.ts";
import { problemOf } from "./netlink_problem.ts";
import { NetlinkError } from "./netlink_reply.ts";
import { NetlinkSocket } from "./netlink_socket.ts";
import type { NetlinkRequest } from "./netlink_writer.ts";
import { createNetns, pinNetns, removeNetns } from "./netns_calls.ts";
import { NetnsFile, NetnsFileError } from "./netns_file.ts";
import type { Answers, Change, Operation, SetLink } from "./operation.ts";
import { addRoute, removeRoute } from "./route_request.ts";
import { addRule, removeRule } from "./rule_request.ts";
import { findLink, showLink, showLinks } from "./shown_links.ts";
import { findRoute, showRoutes } from "./shown_routes.ts";
import { showRules } from "./shown_rules.ts";
import type { PortVlanChange, PortVlans } from "./port_vlan.ts";
import type { Shaping, ShapingChange } from "./shaping.ts";
import { applyShaping, shapingBySocket } from "./shaping_calls.ts";
import { changeVlans, vlansBySocket } from "./vlan_calls.ts";
import { readSysctls, setSysctls, writeSysctls } from "./sysctl_files.ts";

/** So many sockets of this process's own namespace are kept open between calls; to open one takes microseconds. */
const MOST_IDLE = 1;

/**
 * Speaks to the kernel in this process, by netlink and the C library. See `mayCallLibc` for whether it can.
 *
 * Requires root and the whole `--allow-ffi`; for the namespaces `--allow-read` and `--allow-write`.
 */
export class NetlinkKernel implements Kernel {
  readonly #libc: Libc;
  readonly #idle: NetlinkSocket[] = [];

  constructor(libc: Libc = openLibc()) {
    this.#libc = libc;
  }

  /** Opens what stays open between calls, for a process that may have no descriptor left later. */
  prepare(): void {
    openHome(this.#libc);
    if (this.#idle.length === 0) this.#idle.push(new NetlinkSocket(this.#libc));
  }

  async apply<const T extends readonly Operation[]>(
    operations: T,
    { netns, sysctls = [], sysctlsOutside = [], signal }: KernelOptions = {},
  ): Promise<Answers<T>> {
    signal?.throwIfAborted();
    this.#setSysctls(sysctlsOutside, operations);
    if (operations.length === 0 && sysctls.length === 0) return [] as unknown as Answers<T>;
    const socket = await this.#connect(operations, netns, sysctls);
    const steps = new Steps(this.#libc, socket);
    const answers: unknown[] = [];
    try {
      for (const [index, operation] of operations.entries()) {
        signal?.throwIfAborted();
        try {
          answers.push(await steps.run(operation));
        } catch (error) {
          throw failure(error, operations, index);
        }
      }
      signal?.throwIfAborted();
      return answers as unknown as Answers<T>;
    } finally {
      if (netns === undefined && socket.isSound && this.#idle.length < MOST_IDLE) this.#idle.push(socket);
      else socket[Symbol.dispose]();
    }
  }

  async createNetns(path: string, options: CreateNetns = {}): Promise<void> {
    await createNetns(this.#libc, path, options);
  }

  async pinNetns(
    source: number | string,
    path: string,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    await pinNetns(this.#libc, source, path, signal);
  }

  async removeNetns(
    path: string,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<boolean> {
    return await removeNetns(this.#libc, path, signal);
  }

  async readSysctls(
    names: readonly string[],
    { netns, signal }: SysctlPlace = {},
  ): Promise<ReadonlyMap<string, string>> {
    signal?.throwIfAborted();
    if (names.length === 0) return new Map();
    return await this.#inside(netns, [], () => readSysctls(this.#libc, names));
  }

  async writeSysctls(
    values: ReadonlyMap<string, string>,
    { netns, signal }: SysctlPlace = {},
  ): Promise<ReadonlyMap<string, string>> {
    signal?.throwIfAborted();
    if (values.size === 0) return new Map();
    return await this.#inside(netns, [], () => {
      writeSysctls(this.#libc, values);
      return readSysctls(this.#libc, [...values.keys()]);
    });
  }

  async shape(changes: readonly ShapingChange[], { netns, signal }: ShapingPlace = {}): Promise<void> {
    signal?.throwIfAborted();
    using socket = await this.#connect([], netns, []);
    for (const change of changes) {
      signal?.throwIfAborted();
      await applyShaping(socket, change);
    }
  }

  async shapingOf(device: string, { netns, signal }: ShapingPlace = {}): Promise<Shaping> {
    signal?.throwIfAborted();
    using socket = await this.#connect([], netns, []);
    return await shapingBySocket(socket, device);
  }

  async setPortVlans(change: PortVlanChange, { netns, signal }: PortVlanPlace = {}): Promise<void> {
    signal?.throwIfAborted();
    using socket = await this.#connect([], netns, []);
    await changeVlans(socket, change);
  }

  async portVlans(
    { netns, signal }: PortVlanPlace = {},
  ): Promise<ReadonlyMap<string, readonly PortVlans[]>> {
    signal?.throwIfAborted();
    using socket = await this.#connect([], netns, []);
    return await vlansBySocket(socket);
  }

  /** Opens a socket in a namespace, and sets the parameters there on the way. */
  async #connect(
    operations: readonly Operation[],
    netns: string | undefined,
    sysctls: readonly Sysctl[],
  ): Promise<NetlinkSocket> {
    return await this.#inside(netns, operations, () => {
      this.#setSysctls(sysctls, operations);
      return netns === undefined && this.#idle.pop() || new NetlinkSocket(this.#libc);
    });
  }

  /** Sets parameters in the namespace where this thread is. */
  #setSysctls(sysctls: readonly Sysctl[], operations: readonly Operation[]): void {
    const problem = setSysctls(this.#libc, sysctls);
    if (problem !== undefined) throw new KernelError(undefined, problem, "other", { operations });
  }

  /** Runs `fn` in a namespace. */
  async #inside<T>(netns: string | undefined, operations: readonly Operation[], fn: () => T): Promise<T> {
    if (netns !== undefined) await untilMayLeave();
    try {
      if (netns === undefined) return fn();
      using place = new NetnsFile(this.#libc, netns);
      return place.inside(fn);
    } catch (error) {
      throw failure(error, operations, undefined);
    }
  }
}

/** The operations of one call, in one namespace. */
class Steps {
  readonly #libc: Libc;
  readonly #socket: NetlinkSocket;
  /** What the operations before have found, by name. */
  readonly #indices = new Map<string, number>();

  constructor(libc: Libc, socket: NetlinkSocket) {
    this.#libc = libc;
    this.#socket = socket;
  }

  async run(operation: Operation): Promise<unknown> {
    switch (operation.kind) {
      case "show-link":
        return await showLink(this.#socket, operation.name);
      case "show-links":
        return await showLinks(this.#socket, operation);
      case "show-routes":
        return await showRoutes(this.#socket, operation);
      case "show-rules":
        return await showRules(this.#socket, operation);
      case "find-route":
        return await findRoute(this.#socket, operation);
      case "create-veth": {
        const { bridge: master, peer } = operation;
        const bridge = master === undefined ? undefined : await this.#indexOf(master);
        using netns = peer.netns === undefined ? undefined : new NetnsFile(this.#libc, peer.netns);
        await this.#socket.change(createVeth(operation, { bridge, netns: netns?.fd }));
        return undefined;
      }
      case "create-link": {
        const { link, netns: path } = operation;
        const master = "master" in link ? await this.#indexOf(link.master) : undefined;
        using netns = path === undefined ? undefined : new NetnsFile(this.#libc, path);
        await this.#socket.change(createLink(operation, { master, netns: netns?.fd }));
        return undefined;
      }
      case "set-link":
        await this.#setLink(operation);
        return undefined;
      default:
        await this.#socket.change(await this.#requestOf(operation));
        // The name may belong to another interface from now on.
        if (operation.kind === "remove-link") this.#indices.clear();
        return undefined;
    }
  }

  async #setLink(change: SetLink): Promise<void> {
    const { name, netns: path, newName } = change;
    const index = await this.#indexOf(name);
    const master = await this.#masterOf(change);
    using netns = path === undefined ? undefined : new NetnsFile(this.#libc, path);
    await this.#socket.change(setLink(change, index, { netns: netns?.fd, master }));
    // The name may belong to another interface from now on.
    if (newName !== undefined || path !== undefined) this.#indices.clear();
  }

  /** The index; 0 for none, undefined for the one that it has. */
  async #masterOf({ master }: SetLink): Promise<number | undefined> {
    if (master === undefined) return undefined;
    return master === "" ? 0 : await this.#indexOf(master);
  }

  async #requestOf(
    change: Exclude<Change, { kind: "create-veth" | "create-link" | "set-link" }>,
  ): Promise<NetlinkRequest> {
    switch (change.kind) {
      case "create-bridge":
        return createBridge(change);
      case "set-port":
        return setPort(change, await this.#indexOf(change.name));
      case "remove-link":
        return removeLink(await this.#indexOf(change.name));
      case "add-address":
        return addAddress(change, await this.#indexOf(change.device));
      case "remove-address":
        return removeAddress(change.address, await this.#indexOf(change.device));
      case "set-neighbor":
        return setNeighbor(change, await this.#indexOf(change.device));
      case "add-route": {
        const { dst, gateway } = change;
        if (gateway !== undefined && gateway.family !== dst.ip.family) {
          throw new NetlinkError("EINVAL", "the gateway is an address of another family");
        }
        return addRoute(change, await this.#indexOf(change.device));
      }
      case "add-rule":
        return addRule(change);
      case "remove-rule":
        return removeRule(change);
      case "remove-route": {
        const indices: number[] = [];
        for (const { device } of change.hops) indices.push(await this.#indexOf(device));
        return removeRoute(change, indices);
      }
    }
  }

  async #indexOf(name: string): Promise<number> {
    const known = this.#indices.get(name);
    if (known !== undefined) return known;
    const { index } = await findLink(this.#socket, name);
    this.#indices.set(name, index);
    return index;
  }
}

/** The error of an operation, or of what came before the first one. */
function failure(error: unknown, operations: readonly Operation[], index: number | undefined): unknown {
  const isKnown = error instanceof NetlinkError || error instanceof NetnsFileError ||
    error instanceof NetlinkFormatError;
  if (!isKnown) return error;
  const { why, errno } = error;
  return new KernelError(index, why, problemOf(errno), { operations, stderr: why, cause: error });
}
