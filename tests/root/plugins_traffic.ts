/** TCP connections from one namespace to another. */
import { runInside } from "../../lib/host/netns.ts";

const ANSWER_WITH_PEER = `
const listener = Deno.listen({ hostname: Deno.args[1], port: Number(Deno.args[0]) });
console.log("up");
for await (const connection of listener) {
  const { hostname } = connection.remoteAddr;
  await connection.write(new TextEncoder().encode(hostname.replace("::ffff:", "") + "\\n")).catch(() => {});
  connection.close();
}`;

/** A server that answers each client with the client's address. */
export class PeerServer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
  }

  static async start(netns: string, port: number, hostname = "::"): Promise<PeerServer> {
    const script = ["eval", "--no-config", ANSWER_WITH_PEER, String(port), hostname];
    const args = [`--net=${netns}`, Deno.execPath(), ...script];
    const process = new Deno.Command("nsenter", { args, stdin: "null", stdout: "piped", stderr: "null" })
      .spawn();
    const reader = process.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    return new PeerServer(process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.stdout.cancel();
    await this.#process.status;
  }
}

/**
 * The address under which a server sees a client in that namespace; undefined if the server cannot be reached
 * at once.
 */
export async function seenOnce(netns: string, address: string, port: number): Promise<string | undefined> {
  const script = `exec 3<>/dev/tcp/${address}/${port} && read -r line <&3 && echo "$line"`;
  const { code, stdout } = await runInside(netns, { program: "timeout", args: ["2", "bash", "-c", script] });
  return code === 0 ? stdout.trim() : undefined;
}

/**
 * As {@linkcode seenOnce}, for a server that must become reachable: neighbours may have to find each other.
 */
export async function seenAs(netns: string, address: string, port: number): Promise<string | undefined> {
  for (let attempt = 0; attempt < 30; attempt++) {
    const seen = await seenOnce(netns, address, port);
    if (seen !== undefined) return seen;
  }
  return undefined;
}
