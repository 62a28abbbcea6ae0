/**
 * A part of the real kernel's network for one test: namespaces and a bridge with names and subnets of their
 * own.
 */
import { assertEquals } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";

/** What one test may use and must give back. */
export class World {
  readonly tag: string;
  /**
   * Used by no other test, and unlikely to be used by anything else: `10.<a>.<b>.0/24`, `fd00:<a>:<b>::/64`.
   */
  readonly subnet4: string;
  readonly subnet6: string;
  readonly bridge: string;
  readonly #netns: string[] = [];

  constructor(readonly dir: string) {
    const [a = 0, b = 0, ...rest] = crypto.getRandomValues(new Uint8Array(5));
    // At random: test files run at the same time, in one process.
    this.tag = [b, ...rest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    this.subnet4 = `10.${200 + a % 40}.${b}`;
    this.subnet6 = `fd00:${a.toString(16)}:${b.toString(16)}:1`;
    this.bridge = `pwt-${this.tag}`;
  }

  /** Makes a namespace, and returns its path. */
  async netns(name: string): Promise<string> {
    const path = `/run/netns/pwt-${this.tag}-${name}`;
    await createNetns(path);
    this.#netns.push(path);
    return path;
  }

  async clean(): Promise<void> {
    for (const path of this.#netns) await removeNetns(path);
    await sh(`ip link delete dev ${this.bridge} 2>/dev/null || :`);
  }
}

/** Runs a test in a world of its own and cleans up after it. */
export function inWorld(fn: (world: World) => Promise<void>): () => Promise<void> {
  return async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-" });
    const world = new World(dir);
    try {
      await fn(world);
    } finally {
      await world.clean();
      await Deno.remove(dir, { recursive: true });
    }
  };
}

/** The output of a shell command that must succeed. */
export async function sh(script: string, netns?: string): Promise<string> {
  const enter = netns === undefined ? [] : ["nsenter", `--net=${netns}`];
  const [program = "", ...args] = [...enter, "sh", "-c", script];
  const { code, stdout, stderr } = await runCommand({ program, args });
  assertEquals(code, 0, `${script}: ${stderr}`);
  return stdout;
}

/** The rules of iptables and nftables that name a container. */
export async function masqueradeRules(containerId: string): Promise<string[]> {
  const text = await sh(
    "iptables-save -t nat; ip6tables-save -t nat; nft list table inet cni_plugins_masquerade 2>/dev/null || :",
  );
  return text.split("\n").filter((line) => line.includes(containerId));
}

/** Whether a TCP connection from one namespace reaches a listener in another (or on the host). */
export async function connects(
  from: string | undefined,
  to: string | undefined,
  address: string,
): Promise<boolean> {
  const port = 20_000 + crypto.getRandomValues(new Uint16Array(1))[0]! % 12_000;
  const enter = (netns: string | undefined) => netns === undefined ? [] : ["nsenter", `--net=${netns}`];
  const deno = Deno.execPath();
  const listen = `const l = Deno.listen({hostname: "${address}", port: ${port}}); console.log("up");
    const c = await l.accept(); await c.write(new TextEncoder().encode("hello")); c.close(); l.close();`;
  const [program = "", ...args] = [...enter(to), deno, "eval", "--no-config", listen];
  const server = new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "null" }).spawn();
  try {
    const reader = server.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    const talk = `exec 3<>/dev/tcp/${address}/${port} && read -r line <&3 || [ "$line" = hello ]`;
    const [client = "", ...rest] = [...enter(from), "timeout", "60", "bash", "-c", talk];
    return (await runCommand({ program: client, args: rest })).code === 0;
  } finally {
    try {
      server.kill("SIGKILL");
    } catch {
      // It ended by itself after its answer.
    }
    await server.stdout.cancel();
    await server.status;
  }
}
