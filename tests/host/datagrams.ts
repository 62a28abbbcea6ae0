/** A datagram socket like that of a service manager, opened by perl: Deno has them only with an unstable flag. */
export class Datagrams implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #text = "";

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Listens at a path or, with an `@` before it, at an abstract name. */
  static async open(name: string): Promise<Datagrams> {
    const script = `
      use Socket; $| = 1;
      my $name = shift; $name =~ s/^@/\\0/;
      socket(my $s, PF_UNIX, SOCK_DGRAM, 0) or die $!;
      bind($s, pack_sockaddr_un($name)) or die $!;
      print "ready\\n";
      while (defined recv($s, my $data, 65536, 0)) { print map { "$_\\n" } split(/\\n/, $data) }
    `;
    const child = new Deno.Command("perl", {
      args: ["-e", script, name],
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const own = new Datagrams(child);
    await own.until("ready");
    return own;
  }

  /** Waits for a line, and returns the lines before it. */
  async until(line: string): Promise<readonly string[]> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 60_000);
    try {
      for (;;) {
        const lines = this.#text.split("\n");
        const at = lines.indexOf(line);
        if (at >= 0 && at < lines.length - 1) {
          this.#text = lines.slice(at + 1).join("\n");
          return lines.slice(0, at);
        }
        const { done, value } = await this.#reader.read();
        if (done) throw new Error(`"${line}" never came, but ${JSON.stringify(lines)}`);
        this.#text += value;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#reader.cancel();
    await this.#child.status;
  }
}
