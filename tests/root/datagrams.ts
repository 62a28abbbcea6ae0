/** UDP between namespaces, over sockets that stay open, as the kernel tracks their packets. */

const ECHO = `
import dgram from "node:dgram";
const [port, name] = Deno.args;
const socket = dgram.createSocket({ type: "udp6", ipv6Only: false });
socket.on("message", (_, from) => socket.send(name + " " + from.address.replace("::ffff:", ""), from.port, from.address));
socket.bind(Number(port), "::", () => console.log("up"));`;

const ASK = `
import dgram from "node:dgram";
const [address, port] = Deno.args;
const socket = dgram.createSocket(address.includes(":") ? "udp6" : "udp4");
let answered = () => {};
socket.on("message", (data) => answered(data.toString()));
socket.on("error", () => {});
const decoder = new TextDecoder();
for await (const chunk of Deno.stdin.readable) {
  for (const _ of decoder.decode(chunk).trim().split("\\n")) {
    const answer = new Promise((resolve) => answered = resolve);
    const timer = setInterval(() => socket.send("hello", Number(port), address, () => {}), 50);
    socket.send("hello", Number(port), address, () => {});
    const limit = new Promise((resolve) => setTimeout(() => resolve("silence"), 1500));
    console.log(await Promise.race([answer, limit]));
    clearInterval(timer);
  }
}
socket.close();`;

function spawn(netns: string | undefined, script: string, args: readonly string[]): Deno.ChildProcess {
  const deno = [Deno.execPath(), "eval", "--no-config", script, ...args];
  const [program = "", ...rest] = netns === undefined ? deno : ["nsenter", `--net=${netns}`, ...deno];
  return new Deno.Command(program, { args: rest, stdin: "piped", stdout: "piped", stderr: "null" }).spawn();
}

/** A process of which lines are read one after another. */
class Talker implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<Uint8Array>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;

  constructor(netns: string | undefined, script: string, args: readonly string[]) {
    this.#process = spawn(netns, script, args);
    this.#lines = this.#process.stdout.getReader();
    this.#input = this.#process.stdin.getWriter();
  }

  async line(): Promise<string> {
    const { value } = await this.#lines.read();
    return new TextDecoder().decode(value).trim();
  }

  async say(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${text}\n`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#input.abort().catch(() => {});
    await this.#lines.cancel();
    await this.#process.status;
  }
}

/** A server that answers each datagram with its own name and the address of the client. */
export async function echoServer(netns: string, port: number, name: string): Promise<AsyncDisposable> {
  const talker = new Talker(netns, ECHO, [String(port), name]);
  await talker.line();
  return talker;
}

/** A client with one socket. */
export class DatagramClient implements AsyncDisposable {
  readonly #talker: Talker;

  constructor(netns: string | undefined, address: string, port: number) {
    this.#talker = new Talker(netns, ASK, [address, String(port)]);
  }

  /** The answer, as in `pod 192.0.2.1`, or `silence`. */
  async ask(): Promise<string> {
    await this.#talker.say("ask");
    return await this.#talker.line();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#talker[Symbol.asyncDispose]();
  }
}
