import { type RunCommand, runsOfSystem } from "../host/command.ts";
import { ipBatchJson } from "../host/ip_batch.ts";
import { ipJson, type IpOptions } from "../host/ip_command.ts";
import { createNetns, nsProblem, pinNetns, removeNetns } from "../host/netns.ts";
import { changeVlansByBridge, vlansByBridge } from "./bridge_programs.ts";
import type { RefusalClass } from "./explained.ts";
import { asKernelError, readAnswers } from "./ip_answers.ts";
import { ipLines, isWritable, needsDetails, needsFamily6, needsNumbers, unwritableIn } from "./ip_lines.ts";
import { askKeptIp, canBeKept } from "./kept_ip.ts";
import {
  type CreateNetns,
  type Kernel,
  KernelError,
  type KernelOptions,
  PortVlanError,
  type PortVlanPlace,
  ShapingError,
  type ShapingPlace,
  SysctlError,
  type SysctlPlace,
} from "./kernel.ts";
import type { Answers, Operation } from "./operation.ts";
import { describePortVlans, type PortVlanChange, type PortVlans, SHOW_PORT_VLANS } from "./port_vlan.ts";
import { describeShaping, type Shaping, type ShapingChange } from "./shaping.ts";
import { sysctlsByPrograms } from "./sysctl_programs.ts";
import { shapeByTc, shapingByTc } from "./tc_programs.ts";

/**
 * The network stack, through programs: one process for all operations of a call. Requires root, and `--allow-run=ip`, with
 * `nsenter` for other namespaces, `sh` for kernel parameters, `tc` for queues, `bridge` for the VLANs of ports, and `mount`,
 * `umount` and `unshare` to make and remove namespaces.
 */
export class IpKernel implements Kernel {
  readonly #run: RunCommand;

  constructor(run: RunCommand) {
    this.#run = run;
  }

  async apply<const T extends readonly Operation[]>(
    operations: T,
    options: KernelOptions = {},
  ): Promise<Answers<T>> {
    requireWritable(operations);
    await requireNetns(operations, options);
    const lists: (readonly unknown[])[] = [];
    let start = 0;
    for (const part of partsOf(operations)) {
      // The parameters are set before the first operation.
      const own = start === 0 ? options : { netns: options.netns, signal: options.signal };
      const from = start;
      lists.push(
        ...await this.#ask(part, own, needsNumbers(operations)).catch((error: unknown) => {
          throw inWhole(asKernelError(error, part, options.netns), operations, from);
        }),
      );
      start += part.length;
    }
    return readAnswers(operations, lists);
  }

  async createNetns(path: string, options: CreateNetns = {}): Promise<void> {
    await createNetns(path, { ...options, run: this.#run });
  }

  async pinNetns(
    source: number | string,
    path: string,
    { signal }: Pick<KernelOptions, "signal"> = {},
  ): Promise<void> {
    await pinNetns(source, path, { run: this.#run, signal });
  }

  async removeNetns(path: string, { signal }: Pick<KernelOptions, "signal"> = {}): Promise<boolean> {
    return await removeNetns(path, { run: this.#run, signal });
  }

  async readSysctls(
    names: readonly string[],
    options: SysctlPlace = {},
  ): Promise<ReadonlyMap<string, string>> {
    return await this.#sysctls(new Map(), names, options);
  }

  async writeSysctls(
    values: ReadonlyMap<string, string>,
    options: SysctlPlace = {},
  ): Promise<ReadonlyMap<string, string>> {
    return await this.#sysctls(values, [...values.keys()], options);
  }

  async shape(changes: readonly ShapingChange[], options: ShapingPlace = {}): Promise<void> {
    for (const change of changes) {
      await this.#by(ShapingError, describeShaping(change), options, (place) => shapeByTc(change, place));
    }
  }

  async shapingOf(device: string, options: ShapingPlace = {}): Promise<Shaping> {
    return await this.#by(
      ShapingError,
      `show the queues of ${JSON.stringify(device)}`,
      options,
      (place) => shapingByTc(device, place),
    );
  }

  async setPortVlans(change: PortVlanChange, options: PortVlanPlace = {}): Promise<void> {
    const what = describePortVlans(change);
    if (!isWritable(change.device) || /\s/u.test(change.device)) {
      throw new PortVlanError(
        what,
        `bridge does not accept the name ${JSON.stringify(change.device)}`,
        "other",
      );
    }
    await this.#by(PortVlanError, what, options, (place) => changeVlansByBridge(change, place));
  }

  async portVlans(options: PortVlanPlace = {}): Promise<ReadonlyMap<string, readonly PortVlans[]>> {
    return await this.#by(PortVlanError, SHOW_PORT_VLANS, options, vlansByBridge);
  }

  /** Runs another program than `ip`. */
  async #by<T>(
    Refusal: RefusalClass,
    what: string,
    options: ShapingPlace,
    act: (place: IpOptions) => Promise<T>,
  ): Promise<T> {
    await requireNetns([], options);
    try {
      return await act({ ...options, run: this.#run });
    } catch (error) {
      const failure = asKernelError(error, [], options.netns);
      if (!(failure instanceof KernelError)) throw error;
      const { why, problem, program, code, stderr } = failure;
      throw new Refusal(what, why, problem, { program, code, stderr, cause: error });
    }
  }

  async #sysctls(values: ReadonlyMap<string, string>, names: readonly string[], options: SysctlPlace) {
    await requireNetns([], options);
    return await sysctlsByPrograms(values, names, { ...options, run: this.#run }).catch((error: unknown) => {
      throw error instanceof SysctlError ? error : asKernelError(error, [], options.netns);
    });
  }

  /** Returns what `ip` prints for the operations, a list for each question. */
  async #ask(
    operations: readonly Operation[],
    { netns, sysctls = [], sysctlsOutside = [], signal }: KernelOptions,
    hasNumbers: boolean,
  ): Promise<readonly (readonly unknown[])[]> {
    const lines = ipLines(operations);
    const options = { netns, signal, run: this.#run };
    const details = needsDetails(operations) ? ["-d"] as const : [];
    const hasTraffic = operations.some((each) => each.kind === "show-links" && each.traffic === true);
    const others = [
      ...(hasTraffic ? ["-s"] as const : []),
      ...(hasNumbers ? ["-N"] as const : []),
      ...(operations.some(needsFamily6) ? ["-6"] as const : []),
    ];
    const hasSysctls = sysctls.length + sysctlsOutside.length > 0;
    const isHere = netns === undefined && !hasSysctls && runsOfSystem(this.#run);
    if (isHere && canBeKept(operations)) return await askKeptIp(operations, [...details, "-json"], signal);
    const [line = ""] = lines;
    const isList = operations.length === 1 && operations[0]?.kind === "show-links";
    // It changes nothing, and so does without a process group of its own, which takes time to make.
    if (isList && !hasSysctls) {
      return [listIn(await ipJson([...details, ...hasTraffic ? ["-s"] : [], ...line.split(" ")], options))];
    }
    const flags = [...details, ...others, "-json"] as const;
    return await ipBatchJson(lines, { ...options, sysctls, sysctlsOutside, flags });
  }
}

/** The operations in their order, in parts: those for which `ip` needs a flag for their family are apart from the others. */
function partsOf(operations: readonly Operation[]): readonly (readonly Operation[])[] {
  const parts: Operation[][] = [];
  let last: boolean | undefined;
  for (const operation of operations) {
    const isApart = needsFamily6(operation);
    if (isApart === last) parts.at(-1)?.push(operation);
    else parts.push([operation]);
    last = isApart;
  }
  return parts.length === 0 ? [operations] : parts;
}

/** The error of a part of the operations that begins at `start`, as that of all of them. */
function inWhole(error: unknown, operations: readonly Operation[], start: number): unknown {
  if (!(error instanceof KernelError) || start === 0 && error.index !== undefined) return error;
  const { index, why, problem, program, code, stderr, cause } = error;
  const whole = index === undefined ? undefined : index + start;
  return new KernelError(whole, why, problem, {
    operations,
    ...(program === undefined ? {} : { program }),
    ...(code === undefined ? {} : { code }),
    stderr,
    cause,
  });
}

/** Looks before `nsenter` does: it would wait for a named pipe. */
async function requireNetns(
  operations: readonly Operation[],
  { netns, signal }: KernelOptions,
): Promise<void> {
  signal?.throwIfAborted();
  if (netns === undefined) return;
  const problem = await nsProblem(netns);
  if (problem === undefined || problem.endsWith("does not exist")) return;
  throw new KernelError(undefined, `"${netns}" ${problem}`, "other", { operations });
}

function listIn(shown: unknown): readonly unknown[] {
  return Array.isArray(shown) ? shown : [];
}

/** Refuses what `ip` would misread, before any operation is carried out. */
function requireWritable(operations: readonly Operation[]): void {
  for (const [index, operation] of operations.entries()) {
    const word = unwritableIn(operation);
    if (word === undefined) continue;
    const why = `ip does not accept the name ${JSON.stringify(word)}`;
    throw new KernelError(index, why, "other", { operations });
  }
}
