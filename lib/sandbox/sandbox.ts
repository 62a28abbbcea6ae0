import type { CallOptions } from "../async/call_options.ts";
import { CniError } from "../cni/error.ts";
import { call } from "../errors/call.ts";
import type { CommandOutcome } from "../host/command.ts";
import type { NetnsHandle } from "../host/netns_handle.ts";
import type { Instrumentation } from "../plugin/instrumentation.ts";
import type { WantedNetwork } from "../pod/request.ts";
import { type ConnectOptions, connectSandbox, type DisconnectOptions, disconnectSandbox } from "./connect.ts";
import { type DisposableSandbox, withRemoval } from "./disposable.ts";
import { type EnterOptions, enterSandbox, type SandboxEntry } from "./enter.ts";
import { execIn, type ExecRequest } from "./exec.ts";
import type { SandboxSelection } from "./filter.ts";
import { type FindOptions, findSandbox } from "./find_sandbox.ts";
import { holdSandboxNetns } from "./hold.ts";
import { infraEndDetails, infraState } from "./infra.ts";
import { listSandboxes, sandboxStates } from "./list.ts";
import { type PodStatus, podStatus } from "./pod_status.ts";
import type { SandboxRecord } from "./record.ts";
import { type RemoveOptions, removeSandbox } from "./remove.ts";
import type { Repair, RepairReport, RepairRequest } from "./repair.ts";
import type { RunOptions, SandboxRequest } from "./request.ts";
import { type RunContext, runSandbox } from "./run.ts";
import { withSandboxLock } from "./sandbox_lock.ts";
import { type StopOptions, stopSandbox } from "./stop.ts";
import { type SandboxTraffic, trafficOf } from "./traffic.ts";
import { type Sandbox, viewSandbox } from "./view.ts";

export type { ConnectOptions, DisconnectOptions } from "./connect.ts";
export type { DisposableSandbox } from "./disposable.ts";
export type { EnterOptions, SandboxEntry } from "./enter.ts";
export type { ExecRequest } from "./exec.ts";
export type { FindOptions } from "./find_sandbox.ts";
export type { RemoveOptions } from "./remove.ts";
export type { StopOptions } from "./stop.ts";
export type { InterfaceTraffic, SandboxTraffic } from "./traffic.ts";

/** The dependencies of {@linkcode Sandboxes}. */
export interface SandboxesContext extends RunContext {
  readonly repair: Repair;
  readonly instrumentation: Instrumentation;
}

/**
 * Network namespaces that outlive the process, with their networks. Their life cycle is that of the pod sandboxes of the
 * Kubernetes CRI. Several processes may work on one sandbox: one after another, and each sees what the others did.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state, cache, run and netns directories,
 * `--allow-run` for iproute2, util-linux and the plugins. Needs root.
 * `--allow-ffi`, if it is granted unscoped, lets podwire speak to the kernel itself instead of through iproute2 and
 * util-linux, which then need not be granted; nothing but the time differs.
 *
 * @example
 * ```ts
 * import { Podwire } from "../runtime/podwire.ts";
 *
 * const { sandboxes } = new Podwire();
 * const { id, ips } = await sandboxes.run({ name: "web", networks: [{ name: "podwire", ifName: "eth0" }] });
 * console.log(ips);
 * await sandboxes.stop(id);
 * await sandboxes.remove(id);
 * ```
 */
export class Sandboxes {
  readonly #context: SandboxesContext;

  /** Called by the composition root. */
  constructor(context: SandboxesContext) {
    this.#context = context;
  }

  /**
   * Creates a sandbox with all of its networks, or leaves nothing behind. Its name is reserved until it is removed. If a
   * UID is given, the name is reserved for that UID and attempt only: if a sandbox with the same UID and attempt is ready,
   * or is being created, that one is returned, and `onSame` is called.
   *
   * Permissions: those of the class; all of them are requested before anything is done.
   *
   * With `await using` the sandbox is removed at the end of the block, which throws what could not be torn down; without, it
   * stays until it is removed.
   *
   * @throws {CniError} with the first failure; kind `conflict` if the name or the ID is taken
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * const { sandboxes } = new Podwire();
   * await using sandbox = await sandboxes.run({ name: "job" });
   * console.log(sandbox.netns, sandbox.ips);
   * ```
   */
  async run(request: SandboxRequest, options: RunOptions = {}): Promise<DisposableSandbox> {
    const { name, id } = request;
    const attributes = { ...(name && { "podwire.sandbox": name }), ...(id && { "podwire.sandbox_id": id }) };
    const run = () => call(options, () => runSandbox(request, this.#context, options));
    const sandbox = await this.#context.instrumentation.operation("run", attributes, run);
    return withRemoval(sandbox, (id) => this.remove(id, { missingOk: true }));
  }

  /**
   * Connects a ready sandbox to one more network, or changes nothing. Its default routes stay those that it has, unless the
   * network asks for them or they are missing. Returns the sandbox.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} with the first failure; kind `not-found`, or `conflict` if the sandbox is not ready, the interface is taken, or
   * the subnets overlap
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * const { sandboxes } = new Podwire();
   * const { networks } = await sandboxes.connect("web", { name: "back" });
   * console.log(networks.map(({ name, ifName }) => `${name} on ${ifName}`));
   * await sandboxes.disconnect("web", "back");
   * ```
   */
  async connect(nameOrId: string, network: WantedNetwork, options: ConnectOptions = {}): Promise<Sandbox> {
    const attributes = { "podwire.sandbox": nameOrId };
    return await this.#context.instrumentation.operation(
      "connect",
      attributes,
      () =>
        call(options, async () => {
          await this.#context.recovery.beforeFirstAdd(options.signal);
          return await this.get(await connectSandbox(nameOrId, network, options, this.#context));
        }),
    );
  }

  /**
   * Disconnects a sandbox from a network. If that had a default route, the first of the other networks whose configuration makes
   * one takes its place. Failures are returned, not thrown: a network that could not be detached stays among the attachments.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` if there is no such sandbox, or unless `missingOk` if it is not connected
   */
  async disconnect(
    nameOrId: string,
    network: string,
    options: DisconnectOptions = {},
  ): Promise<readonly CniError[]> {
    const attributes = { "podwire.sandbox": nameOrId };
    const disconnect = () =>
      call(options, () => disconnectSandbox(nameOrId, network, options, this.#context));
    return await this.#context.instrumentation.operation("disconnect", attributes, disconnect);
  }

  /**
   * Returns whether a sandbox is as its set-up left it: its namespace, its interfaces, and what the plugins of its networks say.
   *
   * Permissions: those of the class.
   *
   * Source: CNI specification 1.1.0, section 3 "Checking".
   *
   * @throws {CniError} kind `not-found`; what is wrong with the sandbox is returned
   */
  async check(nameOrId: string, options: FindOptions = {}): Promise<PodStatus> {
    return await call(options, async () => {
      const check = (record: SandboxRecord) => podStatus(record, this.#context, options.signal);
      const status = await withSandboxLock(nameOrId, options, this.#context, check);
      if (status === undefined) throw new CniError("not-found", `the sandbox "${nameOrId}" is gone`);
      return status;
    });
  }

  /**
   * Tears down the networks, then what podwire created, and keeps the record. Like `StopPodSandbox` of the CRI, it may be
   * repeated. Failures are returned, not thrown: a network that could not be detached stays among the attachments, and an
   * infra container or a namespace that is left makes the sandbox `broken` until another stop, a removal or a recovery
   * tears it down.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` unless `missingOk`, or the reason of the signal; then the rest waits for another stop
   */
  async stop(nameOrId: string, options: StopOptions = {}): Promise<readonly CniError[]> {
    const attributes = { "podwire.sandbox": nameOrId };
    const stop = () => call(options, () => stopSandbox(nameOrId, options, this.#context));
    return await this.#context.instrumentation.operation("stop", attributes, stop);
  }

  /**
   * Tears down the networks, then what podwire created, and forgets the sandbox. This includes a broken one: a sandbox whose
   * record cannot be read is removed as far as something of it exists.
   *
   * With `force` the sandbox is forgotten even if not everything could be torn down, and a sandbox that does not exist counts
   * as success, as `RemovePodSandbox` of the CRI requires. The failures are then returned: a network stays among the
   * attachments, and recovery removes an infra container or a namespace.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` unless `missingOk`, what could not be torn down, or the reason of the signal
   */
  async remove(nameOrId: string, options: RemoveOptions = {}): Promise<readonly CniError[]> {
    const attributes = { "podwire.sandbox": nameOrId };
    const remove = () => call(options, () => removeSandbox(nameOrId, options, this.#context));
    return await this.#context.instrumentation.operation("remove", attributes, remove);
  }

  /**
   * Returns the sandboxes that match all of the filters, oldest first.
   *
   * Permissions: `--allow-read` for the state, run and netns directories, `--allow-run=cat`, and `--allow-write` for the run
   * directory, to find out whether an operation is in progress on a sandbox that is neither ready nor stopped.
   *
   * @throws {CniError} if the records cannot be read
   */
  async list(
    filter: SandboxSelection | readonly SandboxSelection[] = {},
    { signal }: CallOptions = {},
  ): Promise<readonly Sandbox[]> {
    return await call({ signal }, () => listSandboxes([filter].flat(), this.#context, signal));
  }

  /** Returns the state of each sandbox, as {@linkcode Sandboxes.list} does, without the results of its networks. */
  async states({ signal }: CallOptions = {}): Promise<readonly Pick<Sandbox, "state" | "underWay">[]> {
    return await call({ signal }, () => sandboxStates(this.#context, signal));
  }

  /**
   * Returns what the interfaces of each of these sandboxes have carried, without `lo`; null if it is not ready, or gone by now.
   *
   * Permissions: `--allow-run=ip,nsenter` or the whole `--allow-ffi`; needs root.
   */
  async traffic(
    sandboxes: readonly Sandbox[],
    options: CallOptions = {},
  ): Promise<readonly SandboxTraffic[]> {
    return await call(options, () => trafficOf(sandboxes, this.#context, options.signal));
  }

  /**
   * Returns one sandbox, by name, ID or unambiguous prefix of an ID. If it is broken and has an infra container, `reason`
   * includes what the OCI runtime says.
   *
   * Permissions: those of {@linkcode Sandboxes.list}, and, for a broken one with an infra container, `--allow-run=sh`.
   *
   * @throws {CniError} kind `not-found`
   */
  async get(nameOrId: string, options: FindOptions = {}): Promise<Sandbox> {
    return await call(options, async () => {
      const { namespace, signal } = options;
      const { sandboxes, damagedSandboxes } = this.#context;
      const record = await findSandbox(sandboxes, nameOrId, { namespace, damagedSandboxes });
      const sandbox = await viewSandbox(record, this.#context, signal);
      const { reason, underWay = false } = sandbox;
      if (reason === undefined || underWay || record.infra === undefined) return sandbox;
      const context = { ...this.#context, signal };
      const state = await infraState({ ...record.infra, id: record.id }, context);
      return { ...sandbox, reason: `${reason}; ${state}${await infraEndDetails(record, context)}` };
    });
  }

  /**
   * Holds the namespace of a ready sandbox for programs that run inside it (`nsenter --net=PATH`). The path of the handle
   * always leads to that namespace and to no other, whatever happens to the sandbox meanwhile.
   *
   * Permissions: as {@linkcode Sandboxes.get}, and `--allow-read` for `/proc`; entering needs root.
   *
   * @throws {CniError} kind `not-found`, or `conflict` with the reason why it is not ready
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * using netns = await new Podwire().sandboxes.hold("web");
   * await new Deno.Command("nsenter", { args: [`--net=${netns.path}`, "--", "ip", "addr"] }).spawn().status;
   * ```
   */
  async hold(nameOrId: string, options: FindOptions = {}): Promise<NetnsHandle> {
    const sandbox = await this.get(nameOrId, options);
    return await call(options, () => holdSandboxNetns(sandbox, this.#context));
  }

  /**
   * Enters a ready sandbox for programs that take over the terminal. They run in its network namespace, and in a mount
   * namespace of their own, in which `/etc/hosts` and `/etc/resolv.conf` are those of the sandbox, `/sys` is that of its network
   * namespace, and the files of `/etc/netns/NAME` are in `/etc`, as with `ip netns exec`. If it has an infra container, they also
   * run in the process, IPC and UTS namespaces of that. No mount of the host changes.
   *
   * Permissions: as {@linkcode Sandboxes.hold}, `--allow-run=nsenter`, and `--allow-write` for the state and run directories;
   * needs root.
   *
   * @throws {CniError} as {@linkcode Sandboxes.hold}
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * await using entry = await new Podwire().sandboxes.enter("web");
   * const { program, args } = entry.command("ip", ["addr"]);
   * await new Deno.Command(program, { args: [...args] }).spawn().status;
   * ```
   */
  async enter(
    nameOrId: string,
    { namespace, ...options }: FindOptions & EnterOptions = {},
  ): Promise<SandboxEntry> {
    const { signal } = options;
    const sandbox = await this.get(nameOrId, { namespace, signal });
    return await call(options, () => enterSandbox(sandbox, options, this.#context));
  }

  /**
   * Runs a program in a ready sandbox as {@linkcode Sandboxes.enter} says, and returns how it ended. A signal ends it.
   *
   * Permissions: as {@linkcode Sandboxes.enter}.
   *
   * @throws {CniError} as {@linkcode Sandboxes.hold}. An exit code of the program, and 126 or 127 if it cannot be started, is
   * no error
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * const { sandboxes } = new Podwire();
   * const { code, stdout } = await sandboxes.exec("web", { program: "ip", args: ["-br", "addr"] });
   * console.log(code, stdout);
   * ```
   */
  async exec(nameOrId: string, request: ExecRequest, options: FindOptions = {}): Promise<CommandOutcome> {
    const { infra, cwd } = request;
    await using entry = await this.enter(nameOrId, { ...options, infra, cwd });
    return await call(options, () => execIn(entry, request, this.#context, options));
  }

  /**
   * Recreates damaged records, and puts back the rules of built-in plugins that a flush or a reload of the firewall has taken: of
   * some sandboxes, or of everything on record. Without `links` no namespace of a sandbox is touched, so connections go on. Records of
   * a newer version stay as they are.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` if there is no such sandbox; what could not be repaired is returned
   *
   * @example
   * ```ts
   * import { Podwire } from "../runtime/podwire.ts";
   *
   * const { repaired, kept } = await new Podwire().sandboxes.repair({ dryRun: true });
   * console.log(repaired.map(({ containerId, why }) => `${containerId}: ${why}`), kept.length);
   * ```
   */
  async repair(request: RepairRequest = {}, options: CallOptions = {}): Promise<RepairReport> {
    return await call(options, () => this.#context.repair.repair(request, options));
  }
}
