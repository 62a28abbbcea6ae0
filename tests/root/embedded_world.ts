/** Machines with nothing but podwire on them: the network that it has then is the embedded one. */
import { assertEquals } from "@std/assert";
import { runInside } from "../../lib/host/netns.ts";
import { DaemonProcess } from "./daemon_world.ts";
import { need, PODWIRE_BINARY } from "./need.ts";
import { sh } from "./binary_world.ts";
import { PluginWorld } from "./plugins_world.ts";
import { unmountBelow } from "./unmount.ts";

/** A machine with an uplink, and the program on it. */
export class Machine implements AsyncDisposable {
  readonly #made = new Set<string>();
  /** A script that changes the file systems as the program sees them. */
  files = ":";

  private constructor(readonly world: PluginWorld) {}

  get #dirs(): readonly string[] {
    const dirs = ["conf-dir", "state-dir", "cache-dir", "netns-dir"];
    return dirs.map((name) => `--${name}=${this.world.dir}/${name}`);
  }

  static async make(): Promise<Machine> {
    const world = await PluginWorld.make("1.9.1");
    // What the program mounts there is for all to see, in contrast to what `files` mounts.
    await sh(`mount --bind ${world.dir} ${world.dir} && mount --make-shared ${world.dir}`);
    return new Machine(world);
  }

  /** Starts the daemon, and waits until it serves. */
  async serve(...args: string[]): Promise<DaemonProcess> {
    const { dir, node } = this.world;
    const start = (command: readonly string[]) =>
      new Deno.Command("nsenter", {
        args: [`--net=${node}`, PODWIRE_BINARY, ...command, ...this.#dirs],
        ...{ stdin: "null", stdout: "piped", stderr: "piped" },
      }).spawn();
    await Deno.mkdir(`${dir}/conf-dir`, { recursive: true });
    return await DaemonProcess.start({ dir, start }, args);
  }

  /** Runs the program. */
  async podwire(args: readonly string[]) {
    const { dir, node } = this.world;
    await Deno.mkdir(`${dir}/conf-dir`, { recursive: true });
    const own = [PODWIRE_BINARY, ...args, ...this.#dirs];
    const shell = ["--mount", "--propagation=unchanged", "sh", "-c", `${this.files} && exec "$@"`, "sh"];
    return await runInside(node, { program: "unshare", args: [...shell, ...own] });
  }

  /** The embedded network, as JSON. */
  // deno-lint-ignore no-explicit-any
  async network(): Promise<any> {
    const { code, stdout, stderr } = await this.podwire(["network", "inspect", "podwire", "--json"]);
    assertEquals(code, 0, stderr);
    return JSON.parse(stdout);
  }

  /** The warnings of the embedded network, which must be ready. */
  async warnings(): Promise<readonly string[]> {
    const { code, stdout, stderr } = await this.podwire(["status", "--json"]);
    assertEquals(code, 0, stderr);
    return JSON.parse(stdout)[0].warnings ?? [];
  }

  async run(name: string, ...args: string[]): Promise<string> {
    this.#made.add(name);
    const { code, stdout, stderr } = await this.podwire(["run", name, "--json", ...args]);
    assertEquals(code, 0, stderr);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#made) await this.podwire(["rm", "-f", name]);
    await unmountBelow(this.world.dir);
    await this.world[Symbol.asyncDispose]();
  }
}

/** Hides programs of the system, by a pattern of the shell. */
export function without(pattern: string): string {
  // Links to what is hidden lead to what is in the new folder.
  return `mkdir -p /run/all-sbin && mount --bind /usr/sbin /run/all-sbin && mount -t tmpfs none /usr/sbin &&
    for program in /run/all-sbin/*; do
      case ${"${program##*/}"} in ${pattern}) ;; *) ln -s "$program" /usr/sbin/ ;; esac
    done`;
}

const needs = need("root", "ip", "binary", "cni-1.9.1", "nft", "iptables");

/** Tests of a machine of some kind. */
export function onMachine(name: string, fn: (machine: Machine) => Promise<void>): void {
  Deno.test({
    name,
    ...needs,
    fn: async () => {
      await using machine = await Machine.make();
      await fn(machine);
    },
  });
}
