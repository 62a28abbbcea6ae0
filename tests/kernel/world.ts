// Two network namespaces for one test: one stands for the host, the other one is a pod's.
import { assertEquals } from "@std/assert";
import { parseCidr, parseIp } from "../../lib/cni/address.ts";
import type { Cidr, Ip } from "../../lib/cni/address.ts";
import { runCommand } from "../../lib/host/command.ts";
import { type LinkInfo, parseLinks } from "../../lib/host/link_info.ts";
import { createNetns, runInside } from "../../lib/host/netns.ts";
import { type Kernel, KernelError, type KernelOptions, type KernelProblem } from "../../lib/kernel/kernel.ts";
import type { Operation } from "../../lib/kernel/operation.ts";
import { type LinkKind, needLinks } from "../root/need_links.ts";
import { unmountBelow } from "../root/unmount.ts";
import type { TestedKernel } from "./kernels.ts";

export const MAC = "02:00:00:00:00:0a";
export const OTHER_MAC = "02:00:00:00:00:0b";

export interface World {
  readonly kernel: Kernel;
  /** A directory for namespaces. */
  readonly dir: string;
  /** The path of the namespace that stands for the host. */
  readonly host: string;
  readonly pod: string;
  /** Applies operations in a namespace. */
  apply<const T extends readonly Operation[]>(netns: string, ...operations: T): ReturnType<Kernel["apply"]>;
  /** Applies operations in a namespace of which one must fail. */
  fails(
    netns: string,
    operations: readonly Operation[],
    expected: { readonly index: number | undefined; readonly problem: KernelProblem },
    options?: KernelOptions,
  ): Promise<KernelError>;
}

/** Registers a test that gets a world of its own; a kernel that makes no such links skips it. */
export function worldTest(
  { name, isHere, make }: TestedKernel,
  sentence: string,
  fn: (world: World) => Promise<void>,
  kinds: readonly LinkKind[] = [],
): void {
  const { ignore } = needLinks(kinds);
  Deno.test({
    name: `${name}: ${sentence}`,
    ignore: ignore || !isHere,
    fn: async () => {
      const parent = await Deno.makeTempDir({ prefix: "pwt-" });
      const dir = `${parent}/netns`;
      const [host, pod] = [`${dir}/host`, `${dir}/pod`];
      try {
        await createNetns(host);
        await createNetns(pod);
        await fn(worldOf(make(), { dir, host, pod }));
      } finally {
        await unmountBelow(dir);
        await Deno.remove(parent, { recursive: true });
      }
    },
  });
}

function worldOf(kernel: Kernel, paths: Pick<World, "dir" | "host" | "pod">): World {
  return {
    kernel,
    ...paths,
    apply: (netns, ...operations) => kernel.apply(operations, { netns }),
    fails: async (netns, operations, expected, options = {}) => {
      const error = await kernel.apply(operations, { netns, ...options }).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!(error instanceof KernelError)) {
        throw new TypeError("Cannot compare: no KernelError", { cause: error });
      }
      assertEquals({ index: error.index, problem: error.problem }, expected, error.message);
      return error;
    },
  };
}

/** Runs a program in a namespace; it must exit with code 0. Returns what it prints. */
export async function inside(netns: string, program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runInside(netns, { program, args });
  assertEquals(code, 0, `${program} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** Runs lines of `ip` in a namespace. */
export async function ipLines(netns: string, lines: readonly string[]): Promise<void> {
  const request = { program: "ip", args: ["-batch", "-"], stdin: `${lines.join("\n")}\n` };
  const { code, stderr } = await runInside(netns, request);
  assertEquals(code, 0, stderr);
}

/** What `ip -j` prints in a namespace. */
export async function ipJson(netns: string, ...args: string[]): Promise<Record<string, unknown>[]> {
  const text = await inside(netns, "ip", "-d", "-j", ...args);
  return text.trim() === "" ? [] : JSON.parse(text);
}

/** The interfaces that `ip` shows in a namespace. */
export async function linksByIp(netns: string, ...args: string[]): Promise<readonly LinkInfo[]> {
  return parseLinks(await ipJson(netns, ...args));
}

/**
 * Asks a question, and says what `ip` shows with these arguments: before and after it the same, because the kernel changes
 * the state of a new interface a moment later.
 */
export async function besideIp<T>(
  netns: string,
  args: readonly string[],
  ask: () => Promise<T>,
): Promise<{ readonly answer: T; readonly byIp: readonly LinkInfo[] }> {
  for (;;) {
    const before = await linksByIp(netns, ...args);
    const answer = await ask();
    const byIp = await linksByIp(netns, ...args);
    if (JSON.stringify(before) === JSON.stringify(byIp)) return { answer, byIp };
  }
}

/** One interface, with its addresses, as `ip` shows it. */
export async function linkByIp(netns: string, name: string): Promise<LinkInfo> {
  const [link] = await linksByIp(netns, "address", "show", "dev", name);
  if (link === undefined) throw new TypeError(`Cannot compare: no "${name}"`);
  return link;
}

export async function names(netns: string): Promise<string[]> {
  return (await linksByIp(netns, "link", "show")).map(({ name }) => name).sort();
}

/** Runs a script on this machine; it must exit with code 0. The script gets `args` as $0, $1 and so on. */
export async function sh(script: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand({ program: "sh", args: ["-c", script, ...args] });
  assertEquals(code, 0, stderr);
  return stdout;
}

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === undefined) throw new TypeError(`Cannot read "${text}": it is not an address`);
  return parsed;
}

export function ip(text: string): Ip {
  const parsed = parseIp(text);
  if (parsed === undefined) throw new TypeError(`Cannot read "${text}": it is not an address`);
  return parsed;
}
