/** The daemon as a process of the compiled program, and clients of its socket. */
import { assertEquals } from "@std/assert";
import type { BinaryWorld } from "./binary_world.ts";

/** What the daemon answered. */
export interface Answered {
  readonly status: number;
  readonly head: string;
  readonly text: string;
  // deno-lint-ignore no-explicit-any
  readonly json: any;
}

/** `podwire serve`, or another daemon of the program, in a world of its own. */
export class DaemonProcess implements AsyncDisposable {
  readonly #log: Promise<string>;
  #ended = false;

  private constructor(readonly child: Deno.ChildProcess, readonly socket: string) {
    this.#log = new Response(child.stderr).text();
    void child.stdout.cancel();
    void child.status.then(() => this.#ended = true);
  }

  /** Starts it, and waits until it serves. */
  static async start(
    world: Pick<BinaryWorld, "dir" | "start">,
    args: readonly string[] = [],
    env: Readonly<Record<string, string>> = {},
    { command = "serve", socket: flag = "--socket" } = {},
  ): Promise<DaemonProcess> {
    const socket = `${world.dir}/run/${command === "serve" ? "p" : command}.sock`;
    const child = world.start([command, `${flag}=${socket}`, "--log-format=json", ...args], { env });
    const own = new DaemonProcess(child, socket);
    for (let tries = 0; tries < 1_200 && !own.#ended; tries++) {
      if ((await own.call("GET", "/healthz").catch(() => undefined))?.status === 200) return own;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await own[Symbol.asyncDispose]();
    throw new Error(`the daemon does not serve: ${await own.#log}`);
  }

  /** Whether the process is gone. */
  get isEnded(): boolean {
    return this.#ended;
  }

  /** One request on a connection of its own. */
  async call(method: string, target: string, body?: unknown): Promise<Answered> {
    const text = body === undefined ? "" : JSON.stringify(body);
    const length = new TextEncoder().encode(text).byteLength;
    const head = `${method} ${target} HTTP/1.1\r\nhost: podwire\r\nconnection: close\r\n`;
    return answered(await this.raw(`${head}content-length: ${length}\r\n\r\n${text}`));
  }

  /** The answer to these bytes, until the daemon closes the connection. */
  async raw(request: string): Promise<string> {
    using connection = await this.connect();
    await writeAll(connection, request);
    let text = "";
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const read = await connection.read(buffer).catch((error) => {
        // It did not read all of the request; its answer comes after this error.
        if (error instanceof Deno.errors.ConnectionReset) return 0;
        throw error;
      });
      if (read === null) return text;
      text += decoder.decode(buffer.subarray(0, read), { stream: true });
    }
  }

  connect(): Promise<Deno.UnixConn> {
    return Deno.connect({ transport: "unix", path: this.socket });
  }

  /** Ends it as a service manager does, and returns its log. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<readonly Record<string, unknown>[]> {
    this.child.kill(signal);
    assertEquals((await this.child.status).code, 0, await this.#log);
    const lines = (await this.#log).trimEnd().split("\n");
    return lines.map((line) => JSON.parse(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.child.kill("SIGKILL");
    await this.child.status;
    await this.#log;
  }
}

/** Everything, as far as the other side reads it. */
export async function writeAll(connection: Deno.Conn, text: string): Promise<void> {
  for (let rest = new TextEncoder().encode(text); rest.byteLength > 0;) {
    try {
      rest = rest.subarray(await connection.write(rest));
    } catch (error) {
      // It has answered, and reads no more.
      if (error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset) return;
      throw error;
    }
  }
}

function answered(text: string): Answered {
  const at = text.indexOf("\r\n\r\n");
  const [head, body] = [text.slice(0, at), text.slice(at + 4)];
  const isJson = /content-type: application\/json/i.test(head);
  return {
    status: Number(head.split(" ")[1]),
    head,
    text: body,
    json: isJson ? JSON.parse(body) : undefined,
  };
}

/** What a world has left beside the daemon's memory of its networks. */
export async function leftIn(world: BinaryWorld): Promise<string[]> {
  return (await world.traces()).filter((trace) => trace !== "state/readiness.json");
}
