/**
 * Pods of an engine with directories, networks, plugins and namespaces of their own, in this process and in
 * others.
 */
import { fromFileUrl } from "@std/path";
import type { CniError } from "../../lib/cni/error.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import type { PodRequest } from "../../lib/pod/request.ts";
import { Pods, type PodsOptions } from "../../lib/runtime/pods.ts";
import { bounded } from "../bounded.ts";
import { need } from "./need.ts";
import type { PodsCall } from "./pods_process.ts";
import { SandboxWorld } from "./sandbox_world.ts";

const PROCESS = fromFileUrl(new URL("pods_process.ts", import.meta.url));
const REPOSITORY = fromFileUrl(new URL("../../", import.meta.url));

export class PodsWorld implements AsyncDisposable {
  readonly #processes: PodsProcess[] = [];
  readonly #namespaces: string[] = [];

  private constructor(readonly sandbox: SandboxWorld) {}

  static async make(): Promise<PodsWorld> {
    return new PodsWorld(await SandboxWorld.make());
  }

  get options() {
    return { ...this.sandbox.options, watch: false } satisfies PodsOptions;
  }

  /** Opens pods in this process. */
  async open(options: PodsOptions = {}): Promise<Pods> {
    return await Pods.open({ ...this.options, log: this.sandbox.log, ...options });
  }

  /** Opens pods in a process of its own. */
  async process(options: PodsOptions & { readonly boot?: string } = {}): Promise<PodsProcess> {
    const started = await PodsProcess.start({ ...this.options, ...options });
    this.#processes.push(started);
    return started;
  }

  /** Makes the namespace of a pod, as its engine would, and returns a description of the pod. */
  async pod(name: string, more: Partial<PodRequest> = {}): Promise<PodRequest> {
    const containerId = this.sandbox.id(name);
    const netns = `${this.sandbox.dir}/netns/${name}`;
    this.#namespaces.push(netns);
    await createNetns(netns);
    return { containerId, name, namespace: "default", uid: `uid-${name}`, netns, ...more };
  }

  /** Removes the namespace of a pod. */
  async gone({ netns }: Pick<PodRequest, "netns">): Promise<void> {
    await removeNetns(netns);
  }

  /**
   * The running plugins of this world, and the processes that they or podwire started for its containers, as
   * `PID COMMAND`.
   */
  async running(): Promise<string[]> {
    const found = await this.sandbox.sh(
      'for file in $(grep -lszF -e "$1" -e "CNI_PATH=$2" /proc/[0-9]*/environ); do ' +
        "pid=${file#/proc/}; pid=${pid%/environ}; " +
        'echo "$pid $(tr "\\0" " " 2>/dev/null <"/proc/$pid/cmdline")"; done',
      this.sandbox.id(""),
      this.sandbox.plugins.dir,
    );
    return found.split("\n").filter((line) => line !== "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#processes.map((process) => process[Symbol.asyncDispose]()));
    // Those that a failed test left.
    for (const line of await this.running()) {
      await this.sandbox.sh('kill -9 "$1" 2>/dev/null || :', line.split(" ")[0] ?? "");
    }
    await Promise.all(this.#namespaces.map((path) => removeNetns(path)));
    await this.sandbox[Symbol.asyncDispose]();
  }
}

/** The answer of a process to a call. */
export interface PodsAnswer {
  // deno-lint-ignore no-explicit-any
  readonly value?: any;
  /** The JSON form of a {@linkcode CniError}. */
  readonly error?: Pick<CniError, "kind" | "msg" | "code"> & CniError["context"];
}

/** Another process with pods open. */
export class PodsProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<number, PromiseWithResolvers<PodsAnswer>>();
  readonly #open = Promise.withResolvers<void>();
  readonly #ended: Promise<void>;
  #calls = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#ended = this.#read();
  }

  static async start(options: Readonly<Record<string, unknown>>): Promise<PodsProcess> {
    const { log: _log, run: _run, ...plain } = options;
    const child = new Deno.Command("./denow", {
      args: ["run", "-q", "--no-prompt", "-A", PROCESS, JSON.stringify(plain)],
      cwd: REPOSITORY,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const process = new PodsProcess(child);
    await process.#open.promise;
    return process;
  }

  /**
   * Calls a method there; the answer comes when it is done. A process that has ended before answers nothing.
   */
  async call(call: PodsCall, ...args: readonly unknown[]): Promise<PodsAnswer> {
    const id = ++this.#calls;
    const waiting = Promise.withResolvers<PodsAnswer>();
    this.#waiting.set(id, waiting);
    const line = `${JSON.stringify({ id, call, args })}\n`;
    await this.#input.write(new TextEncoder().encode(line)).catch(() => waiting.resolve({}));
    return await waiting.promise;
  }

  /** As {@linkcode call}, for a call that must succeed: returns the value. */
  // deno-lint-ignore no-explicit-any
  async value(call: PodsCall, ...args: readonly unknown[]): Promise<any> {
    const { value, error } = await this.call(call, ...args);
    if (value === undefined) throw new Error(`${call} failed: ${JSON.stringify(error)}`);
    return value;
  }

  /** Kills it at once, in the middle of its work. */
  async kill(): Promise<void> {
    this.#signal();
    await this.#ended;
  }

  #signal(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      // It is gone already.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(JSON.parse(line));
    }
    await this.#child.status;
    const gone = new Error("the process has ended");
    this.#open.reject(gone);
    for (const waiting of this.#waiting.values()) waiting.resolve({});
    await this.#input.close().catch(() => {});
  }

  #take({ id, ...answer }: PodsAnswer & { readonly id?: number }): void {
    if (id === undefined) return this.#open.resolve();
    this.#waiting.get(id)?.resolve(answer);
    this.#waiting.delete(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {});
    const timer = setTimeout(() => this.#signal(), 60_000);
    await this.#ended;
    clearTimeout(timer);
  }
}

/** Runs a test that needs the kernel, in a world of its own. */
export function podsTest(name: string, fn: (world: PodsWorld) => Promise<void>): void {
  Deno.test({
    name,
    ...need("root", "ip"),
    fn: async () => {
      await using world = await PodsWorld.make();
      await bounded(() => fn(world));
    },
  });
}
