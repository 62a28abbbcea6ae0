/** Containers of the real runc that call the program's hook. */
import { type CommandOutcome, runCommand } from "../../lib/host/command.ts";
import { type BinaryWorld, SYSTEM_PATH } from "./binary_world.ts";
import { BUSYBOX, PODWIRE_BINARY, RUNC } from "./need.ts";

/** How a container is made. */
export interface ContainerOptions {
  readonly annotations?: Readonly<Record<string, string>>;
  /** What runs inside. */
  readonly script?: string;
  /** The program that runs inside. @default {a shell with the script} */
  readonly program?: string;
  /** What the options of the hook allow annotations to request. @default {networks alone} */
  readonly rules?: readonly string[];
  /** More hooks, after those of the program, by their stages; each is a shell script. */
  readonly hooks?: Readonly<Record<string, string>>;
  /** Whether the program is called at its end. @default {true} */
  readonly poststop?: boolean;
  /** Whether the runtime itself starts the hook, without a script in between. @default {true} */
  readonly direct?: boolean;
  /** Whether it has a network namespace of its own. @default {true} */
  readonly ownNetwork?: boolean;
  /** Seconds after which the runtime kills a hook. @default {never} */
  readonly timeout?: number;
}

/** A container that calls the program at both ends of its life, with nothing in the hooks' environment. */
export class Container {
  readonly id: string;
  readonly bundle: string;

  /** @param root where runc keeps it; runc's default if absent */
  constructor(readonly world: BinaryWorld, name: string, readonly root?: string) {
    this.id = world.id(name);
    this.bundle = `${world.dir}/bundles/${this.id}`;
  }

  async bundled(
    { annotations = {}, script = "", program, ownNetwork = true, timeout, ...more }: ContainerOptions,
  ): Promise<this> {
    const { rules = [], hooks = {}, poststop = true, direct = true } = more;
    await Deno.mkdir(`${this.bundle}/rootfs/bin`, { recursive: true });
    await Deno.copyFile(BUSYBOX, `${this.bundle}/rootfs/bin/busybox`);
    for (const name of ["sh", "ip", "ping", "nc", "sleep"]) {
      await Deno.symlink("busybox", `${this.bundle}/rootfs/bin/${name}`);
    }
    const hook = (stage: string) => {
      const args = ["podwire", "oci-hook", stage, ...this.world.dirs, ...rules];
      const limit = timeout === undefined ? {} : { timeout };
      if (direct) return [{ path: PODWIRE_BINARY, args, ...limit }];
      // A shell waits for it, because another command follows.
      const script = `${PODWIRE_BINARY} "$@"; exit $?`;
      return [{ path: "/bin/sh", args: ["sh", "-c", script, ...args], ...limit }];
    };
    const all: Record<string, unknown[]> = { createRuntime: hook("createRuntime") };
    if (poststop) all.poststop = hook("poststop");
    for (const [stage, script] of Object.entries(hooks)) {
      all[stage] = [...all[stage] ?? [], { path: "/bin/sh", args: ["sh", "-c", script] }];
    }
    const config = {
      ociVersion: "1.0.2",
      process: {
        args: program === undefined ? ["/bin/sh", "-c", script] : [program],
        env: ["PATH=/bin"],
        cwd: "/",
        user: { uid: 0, gid: 0 },
        capabilities: { bounding: ["CAP_NET_RAW"], effective: ["CAP_NET_RAW"], permitted: ["CAP_NET_RAW"] },
      },
      root: { path: "rootfs", readonly: true },
      mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
      annotations,
      hooks: all,
      linux: {
        cgroupsPath: `/${this.id}`,
        namespaces: ["pid", "ipc", "uts", "mount", ...(ownNetwork ? ["network"] : [])].map((type) => ({
          type,
        })),
      },
    };
    await Deno.mkdir(`${this.bundle}/rootfs/proc`);
    await Deno.writeTextFile(`${this.bundle}/config.json`, JSON.stringify(config));
    return this;
  }

  async runc(...args: string[]): Promise<CommandOutcome> {
    const where = this.root === undefined ? [] : ["--root", this.root];
    return await runCommand({
      program: RUNC,
      args: [...where, ...args],
      cwd: this.bundle,
      env: { PATH: SYSTEM_PATH },
    });
  }

  /** Runs it to its end. */
  async run(): Promise<CommandOutcome> {
    return await this.runc("run", this.id);
  }

  async state(): Promise<{ status: string; pid: number } | undefined> {
    const { code, stdout } = await this.runc("state", this.id);
    return code === 0 ? JSON.parse(stdout) : undefined;
  }

  /** What a failed test left. */
  async [Symbol.asyncDispose](): Promise<void> {
    // runc is called in its bundle, which a test may have removed.
    await Deno.mkdir(this.bundle, { recursive: true });
    await this.runc("delete", "--force", this.id);
  }
}
