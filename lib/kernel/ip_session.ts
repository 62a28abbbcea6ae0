import { readFailure } from "../host/ip_batch.ts";
import { GroupChild } from "../host/launch.ts";

/** Succeeds wherever there is a network, and prints a list: of the interface with the index 1. */
const END = "addr show dev if1";
const encoder = new TextEncoder();

/** Flags of `ip` itself, which hold for all lines of a session. */
export type IpFlags = readonly ("-json" | "-d")[];

/** What became of lines. */
export type SessionOutcome =
  | { readonly done: true; readonly printed: readonly string[] }
  | {
    readonly done: false;
    /** Of the line that failed, from zero; undefined if `ip` did not name it. */
    readonly index: number | undefined;
    readonly reason: string;
  };

/**
 * An `ip` that waits for lines. A line that fails ends it, and so does the end of its standard input, which comes with the end
 * of this process.
 *
 * It remembers the index of each name that it met, for its whole life, also when the name belongs to another interface by
 * then.
 *
 * Requires `--allow-run=ip`.
 */
export class IpSession {
  /** The names of interfaces that it may remember. The caller keeps the list. */
  readonly names: Set<string> = new Set<string>();
  readonly #child: GroupChild;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #stdout: Pipe;
  readonly #stderr: Pipe;
  #lines = 0;
  #isSound = true;

  constructor(flags: IpFlags) {
    const args = [...flags, "-batch", "-"];
    this.#child = GroupChild.start({ program: "ip", args, stdin: "", ownGroup: false });
    this.#stdin = this.#child.stdin.getWriter();
    this.#stdout = new Pipe(this.#child.stdout);
    this.#stderr = new Pipe(this.#child.stderr);
  }

  /** Whether it waits for lines; not if it has ended, or was disturbed. */
  get isSound(): boolean {
    return this.#isSound;
  }

  /** While it is idle, this process may end; then it ends too. */
  set isIdle(idle: boolean) {
    if (idle) this.#child.unref();
    else this.#child.ref();
  }

  /**
   * Carries out lines up to the first one that fails. Returns what `answers` of them print.
   *
   * @throws The reason of `signal`; then it is not known which lines were carried out.
   */
  async run(lines: readonly string[], answers: number, signal?: AbortSignal): Promise<SessionOutcome> {
    signal?.throwIfAborted();
    this.#isSound = false;
    const before = this.#lines;
    this.#lines += lines.length + 1;
    // If it has ended, its standard error says why.
    this.#stdin.write(encoder.encode(`${[...lines, END].join("\n")}\n`)).catch(() => {});
    const printed: string[] = [];
    while (printed.length <= answers) {
      const line = await this.#stdout.line(signal);
      if (line === undefined) return await this.#failure(before);
      if (line.startsWith("[")) printed.push(line);
    }
    this.#stderr.drop();
    this.#isSound = true;
    return { done: true, printed: printed.slice(0, -1) };
  }

  /** Closes its standard input, and waits for its end. Without `kindly` it is killed. */
  async end({ kindly }: { readonly kindly: boolean }): Promise<void> {
    this.#isSound = false;
    this.isIdle = false;
    if (!kindly) this.#child.signal("SIGKILL");
    await this.#stdin.close().catch(() => {});
    await Promise.all([this.#child.status, this.#stdout.over, this.#stderr.over]);
  }

  async #failure(before: number): Promise<SessionOutcome> {
    await this.#stderr.over;
    const { line, reason } = readFailure(this.#stderr.drop());
    return {
      done: false,
      index: line === undefined ? undefined : line - 1 - before,
      reason: reason || "ip ended",
    };
  }
}

/** What a program prints, read while it runs. */
class Pipe {
  /** Settled at the end. */
  readonly over: Promise<void>;
  readonly #decoder = new TextDecoder();
  #text = "";
  #isOver = false;
  #wake = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.over = this.#read(stream);
  }

  /** Returns what was not asked for yet, and forgets it. */
  drop(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }

  /** Waits for the next line; undefined if there is none. @throws The reason of `signal`. */
  async line(signal: AbortSignal | undefined): Promise<string | undefined> {
    const onAbort = () => this.#wake.resolve();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for (let from = 0;;) {
        const end = this.#text.indexOf("\n", from);
        if (end >= 0) {
          const line = this.#text.slice(0, end);
          this.#text = this.#text.slice(end + 1);
          return line;
        }
        if (this.#isOver) return undefined;
        from = this.#text.length;
        this.#wake = Promise.withResolvers();
        signal?.throwIfAborted();
        await this.#wake.promise;
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    try {
      for await (const bytes of stream) {
        this.#text += this.#decoder.decode(bytes, { stream: true });
        this.#wake.resolve();
      }
    } catch {
      // Its end is all that matters.
    } finally {
      this.#isOver = true;
      this.#wake.resolve();
    }
  }
}
