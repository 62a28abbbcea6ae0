import { once } from "../async/once.ts";
import { type RunCommand, runsHere } from "../host/command.ts";
import { mayCallLibc } from "../host/libc.ts";
import type {
  CreateNetns,
  Kernel,
  KernelOptions,
  PortVlanPlace,
  ShapingPlace,
  SysctlPlace,
} from "./kernel.ts";
import type { Answers, Operation } from "./operation.ts";
import type { PortVlanChange, PortVlans } from "./port_vlan.ts";
import type { Shaping, ShapingChange } from "./shaping.ts";

const kernels = new WeakMap<RunCommand, Kernel>();
/** One for the process: it keeps sockets open. */
const netlink = once(async () => new (await import("./netlink_kernel.ts")).NetlinkKernel());

/**
 * Returns the way to the network stack for what runs programs with `run`; it is made once. It is netlink where the whole
 * `--allow-ffi` is granted and `run` runs programs on this machine, else the program `ip`. Requires no permission.
 */
export function kernelFor(run: RunCommand): Kernel {
  const known = kernels.get(run);
  if (known !== undefined) return known;
  const kernel = new ChosenKernel(run);
  kernels.set(run, kernel);
  return kernel;
}

/** Loads what {@linkcode kernelFor} may need, so that a later lack of descriptors cannot prevent it. */
export async function loadKernels(): Promise<void> {
  await import("./ip_kernel.ts");
  if (mayCallLibc()) (await netlink()).prepare();
}

/** Loads one of the two when it is first needed: most commands need neither. */
class ChosenKernel implements Kernel {
  readonly #chosen: () => Promise<Kernel>;

  constructor(run: RunCommand) {
    this.#chosen = once(() => choose(run));
  }

  async apply<const T extends readonly Operation[]>(
    operations: T,
    options?: KernelOptions,
  ): Promise<Answers<T>> {
    return await (await this.#chosen()).apply(operations, options);
  }

  async createNetns(path: string, options?: CreateNetns): Promise<void> {
    await (await this.#chosen()).createNetns(path, options);
  }

  async pinNetns(
    source: number | string,
    path: string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<void> {
    await (await this.#chosen()).pinNetns(source, path, options);
  }

  async removeNetns(
    path: string,
    options?: { readonly signal?: AbortSignal | undefined },
  ): Promise<boolean> {
    return await (await this.#chosen()).removeNetns(path, options);
  }

  async readSysctls(
    names: readonly string[],
    options?: SysctlPlace,
  ): Promise<ReadonlyMap<string, string>> {
    return await (await this.#chosen()).readSysctls(names, options);
  }

  async writeSysctls(
    values: ReadonlyMap<string, string>,
    options?: SysctlPlace,
  ): Promise<ReadonlyMap<string, string>> {
    return await (await this.#chosen()).writeSysctls(values, options);
  }

  async shape(changes: readonly ShapingChange[], options?: ShapingPlace): Promise<void> {
    await (await this.#chosen()).shape(changes, options);
  }

  async shapingOf(device: string, options?: ShapingPlace): Promise<Shaping> {
    return await (await this.#chosen()).shapingOf(device, options);
  }

  async setPortVlans(change: PortVlanChange, options?: PortVlanPlace): Promise<void> {
    await (await this.#chosen()).setPortVlans(change, options);
  }

  async portVlans(options?: PortVlanPlace): Promise<ReadonlyMap<string, readonly PortVlans[]>> {
    return await (await this.#chosen()).portVlans(options);
  }
}

/**
 * Whether {@linkcode kernelFor} speaks netlink, and so needs no programs. The one place that decides between the two.
 * Requires no permission.
 */
export function speaksNetlink(run: RunCommand): boolean {
  return runsHere(run) && mayCallLibc();
}

async function choose(run: RunCommand): Promise<Kernel> {
  if (speaksNetlink(run)) return await netlink();
  const { IpKernel } = await import("./ip_kernel.ts");
  return new IpKernel(run);
}
