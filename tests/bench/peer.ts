/**
 * The runtime that podwire is compared with, as a program that is not part of this repository.
 *
 * The program is started once, without arguments. It reads one request a line from standard input, a JSON object:
 *
 * ```json
 * {"id": 7, "op": "up", "pod": "p3", "netns": "/run/x/p3", "makesNetns": true, "ifName": "eth0", "network": "one",
 *  "confDir": "/x/conf", "pluginDirs": ["/x/bin"], "cacheDir": "/x/cache"}
 * ```
 *
 * - `up` attaches the pod to the network, which is in a file of `confDir`. With `makesNetns` the program first makes the
 *   network namespace at the path `netns`, and `down` removes it at the end; else it is there and stays.
 * - `check` asks whether the pod is as `up` left it (CHECK).
 * - `down` detaches it.
 *
 * The program prints one line for each request, `{"id": 7, "ok": true}` or `{"id": 7, "ok": false, "error": "why"}`, in
 * any order: several requests are sent before the first is answered, and it works on all of them at the same time. A
 * request of one pod is sent after the answer to the one before. Standard error is that of the bench. It ends when
 * standard input does.
 *
 * @module
 */
import { isObject, parseJson } from "../../lib/cni/json.ts";
import { LineSplitter } from "../../lib/host/capture.ts";

/** One thing that the peer is asked to do. */
export interface PeerRequest {
  readonly op: "up" | "check" | "down";
  readonly pod: string;
  readonly netns: string;
  readonly makesNetns: boolean;
  readonly ifName: string;
  readonly network: string;
  readonly confDir: string;
  readonly pluginDirs: readonly string[];
  readonly cacheDir: string;
}

/** A peer that does not keep to the protocol, or cannot do what it was asked for. */
export class PeerError extends Error {
  override readonly name = "PeerError";
}

const VERBS = { up: "attach", check: "check", down: "detach" } as const;
const LONGEST_QUOTE = 200;

/** The running peer. Disposing of it closes its standard input, and waits until it has ended. */
export class Peer implements AsyncDisposable {
  readonly #program: string;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>();
  readonly #reading: Promise<void>;
  #last = 0;
  #problem: PeerError | undefined;

  private constructor(program: string, child: Deno.ChildProcess) {
    this.#program = program;
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#reading = this.#read();
  }

  /** Starts the program at that path. @throws {PeerError} */
  static start(program: string, args: readonly string[] = []): Peer {
    const command = new Deno.Command(program, {
      args: [...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    });
    try {
      return new Peer(program, command.spawn());
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new PeerError(`Cannot start the peer "${program}": ${why}`, { cause });
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Resolves when the peer has done it. @throws {PeerError} if it says that it could not, or if it is at fault */
  async request(request: PeerRequest): Promise<void> {
    if (this.#problem !== undefined) throw this.#problem;
    const id = ++this.#last;
    const answer = Promise.withResolvers<void>();
    this.#waiting.set(id, answer);
    const line = `${JSON.stringify({ id, ...request })}\n`;
    // If it has closed its input, the end of its output says the same with its reason.
    this.#input.write(new TextEncoder().encode(line)).catch(() => {});
    try {
      await answer.promise;
    } catch (error) {
      if (error instanceof PeerError) throw error;
      throw new PeerError(`Cannot ${VERBS[request.op]} the pod "${request.pod}" with the peer: ${error}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input.close().catch(() => {});
    await this.#reading;
  }

  async #read(): Promise<void> {
    const lines = new LineSplitter((line) => this.#answer(line));
    for await (const bytes of this.#child.stdout) lines.push(bytes);
    lines.end();
    const { code, signal } = await this.#child.status;
    const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
    const count = this.#waiting.size;
    this.#fail(`it ended ${how}${count === 0 ? "" : `, without an answer to ${count} requests`}`);
  }

  #answer(line: string): void {
    if (line === "") return;
    const quoted = JSON.stringify(line.slice(0, LONGEST_QUOTE));
    const answer = answerIn(line);
    if (answer === undefined) return this.#fail(`${quoted} is not an answer`);
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return this.#fail(`${quoted} answers no request that waits`);
    this.#waiting.delete(answer.id);
    if (answer.ok) waiting.resolve();
    else waiting.reject(answer.error);
  }

  /** The first problem is the reason of those that follow from it. */
  #fail(why: string): void {
    this.#problem ??= new PeerError(`Cannot use the peer "${this.#program}": ${why}`);
    for (const waiting of this.#waiting.values()) waiting.reject(this.#problem);
    this.#waiting.clear();
  }
}

interface PeerAnswer {
  readonly id: number;
  readonly ok: boolean;
  readonly error: string;
}

function answerIn(line: string): PeerAnswer | undefined {
  try {
    const json = parseJson(line);
    if (!isObject(json)) return undefined;
    const { id, ok, error = "it gives no reason" } = json;
    return typeof id === "number" && typeof ok === "boolean" && typeof error === "string"
      ? { id, ok, error }
      : undefined;
  } catch {
    return undefined;
  }
}
