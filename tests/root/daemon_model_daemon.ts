/**
 * A daemon that can be ended, killed and started again, in this process or in one of its own, and its client.
 */
import { fromFileUrl } from "@std/path";
import { Daemon } from "../../lib/daemon/daemon.ts";
import type { Logger } from "../../lib/host/log.ts";
import { daemonOptions, type DaemonSettings } from "./daemon_model_options.ts";

const PROCESS = fromFileUrl(new URL("daemon_model_process.ts", import.meta.url));
const REPOSITORY = fromFileUrl(new URL("../../", import.meta.url));
const PATIENCE_MS = 300_000;

/** The answer from the socket. */
export interface SocketAnswer {
  readonly status: number;
  // deno-lint-ignore no-explicit-any
  readonly json: any;
}

export class LifeDaemon implements AsyncDisposable {
  #daemon: Daemon | undefined;
  #child: Deno.ChildProcess | undefined;
  #client: Deno.HttpClient | undefined;

  constructor(readonly isProcess: boolean, readonly log: Logger) {}

  async start(settings: DaemonSettings): Promise<void> {
    if (this.isProcess) await this.#spawn(settings);
    else this.#daemon = await Daemon.start({ ...daemonOptions(settings), log: this.log });
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: settings.socket } });
  }

  async #spawn(settings: DaemonSettings): Promise<void> {
    this.#child = new Deno.Command("./denow", {
      args: ["run", "-q", "--no-prompt", "-A", PROCESS, JSON.stringify(settings)],
      cwd: REPOSITORY,
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = this.#child.stdout.getReader();
    const { value } = await reader.read();
    // It prints nothing else.
    await reader.cancel();
    const text = new TextDecoder().decode(value);
    if (text !== "ready\n") throw new Error(`the daemon did not start: ${text}`);
  }

  async end(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await this.#daemon?.end();
    this.#daemon = undefined;
    await this.#signal("SIGTERM");
  }

  async kill(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await this.#signal("SIGKILL");
  }

  async #signal(name: Deno.Signal): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    child.kill(name);
    const { code } = await child.status;
    if (name === "SIGTERM" && code !== 0) throw new Error(`the daemon ended with ${code}`);
  }

  async call(
    method: string,
    path: string,
    options: { readonly body?: unknown; readonly signal?: AbortSignal } = {},
  ): Promise<SocketAnswer> {
    const response = await this.#fetch(method, path, options);
    const text = await response.text();
    return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
  }

  async #fetch(
    method: string,
    path: string,
    { body, signal }: { readonly body?: unknown; readonly signal?: AbortSignal },
  ): Promise<Response> {
    if (this.#client === undefined) throw new Error("there is no daemon");
    const limit = AbortSignal.timeout(PATIENCE_MS);
    return await fetch(`http://localhost${path}`, {
      method,
      client: this.#client,
      signal: signal === undefined ? limit : AbortSignal.any([limit, signal]),
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
  }

  /** The answer of a route that returns no JSON. */
  async text(path: string): Promise<string> {
    const response = await this.#fetch("GET", path, {});
    return await response.text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (this.isProcess ? this.kill() : this.end());
  }
}
