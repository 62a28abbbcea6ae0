/** A TCP connection that stays open between two namespaces, so that a test sees whether it survives something. */

const SERVER = `const listener = Deno.listen({ hostname: Deno.args[0], port: Number(Deno.args[1]) });
  console.log("up");
  for await (const connection of listener) connection.readable.pipeTo(connection.writable).catch(() => {});`;
const CLIENT = `const connection = await Deno.connect({ hostname: Deno.args[0], port: Number(Deno.args[1]) });
  Deno.stdin.readable.pipeTo(connection.writable).catch(() => {});
  await connection.readable.pipeTo(Deno.stdout.writable);`;

const ANSWER_MS = 60_000;

/** A connection that is cut off waits for ever. */
async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not within a minute: ${what}`)), ANSWER_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What says back what it gets. */
export class EchoServer implements AsyncDisposable {
  private constructor(readonly child: Deno.ChildProcess) {}

  /** Starts it in a namespace, and waits until it listens. */
  static async start(netns: string, address: string, port: number): Promise<EchoServer> {
    const child = spawn(netns, SERVER, address, port);
    await child.stdin.close();
    const reader = child.stdout.getReader();
    await soon("the server listens", reader.read());
    reader.releaseLock();
    return new EchoServer(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.child.stdout.cancel();
    await end(this.child);
  }
}

/** A connection to an {@linkcode EchoServer}. */
export class EchoStream implements AsyncDisposable {
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  private constructor(readonly child: Deno.ChildProcess) {
    this.#lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#writer = child.stdin.getWriter();
  }

  /** Connects from a namespace, and waits until the other side answers. */
  static async open(netns: string, address: string, port: number): Promise<EchoStream> {
    const stream = new EchoStream(spawn(netns, CLIENT, address, port));
    await stream.say("hello");
    return stream;
  }

  /** Sends a word on the connection, and waits until it comes back. */
  async say(word: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(`${word}\n`));
    for (let text = ""; !text.endsWith(`${word}\n`);) {
      const { done, value = "" } = await soon(`"${word}" comes back`, this.#lines.read());
      if (done) throw new Error(`the connection has ended before "${word}" came back`);
      text += value;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#lines.cancel().catch(() => {});
    await end(this.child);
  }
}

function spawn(netns: string, script: string, address: string, port: number): Deno.ChildProcess {
  return new Deno.Command("nsenter", {
    args: [`--net=${netns}`, Deno.execPath(), "eval", "--no-config", script, address, String(port)],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

async function end(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
  await child.status;
}
