/** A machine for one test, whose first process is the real systemd; see systemd_boot.sh. */
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { type CommandOutcome, runCommand } from "../../lib/host/command.ts";
import { SYSTEM_PATH, until } from "./binary_world.ts";
import { BUSYBOX, CATATONIT, CNI_1_1_1, missing, PODWIRE_BINARY, RUNC } from "./need.ts";

const BOOT = fromFileUrl(new URL("systemd_boot.sh", import.meta.url));
const PATIENCE_MS = 60_000;

/** What a user would have installed, and where. */
const PLACES = [
  [PODWIRE_BINARY, "usr/local/bin/podwire"],
  [RUNC, "usr/local/sbin/runc"],
  [CATATONIT, "usr/local/bin/catatonit"],
  [BUSYBOX, "usr/local/bin/busybox"],
  [CNI_1_1_1, "opt/cni/bin"],
];

/** What a kernel, or the container around this machine, may refuse. */
const PROBE = `
cgroup=/sys/fs/cgroup/unified
[ -d $cgroup ] || cgroup=/sys/fs/cgroup
cgroup=$cgroup/pwt-probe-$$
mkdir $cgroup && ls $cgroup/cgroup.procs && rmdir $cgroup || exit
exec unshare --cgroup --mount --pid --net --uts --ipc --fork --propagation private sh -ec '
mount -t tmpfs tmpfs /tmp
cd /tmp
mkdir proc sys cgroup
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 cgroup'`;

const refusal = missing(["root", "systemd"]).length === 0 ? await probe() : undefined;

async function probe(): Promise<string | undefined> {
  const { code, stderr } = await runCommand({ program: "sh", args: ["-c", PROBE] });
  return code === 0 ? undefined : stderr.trim().split("\n")[0] ?? "";
}

/**
 * Spread it into a test's definition: the test is ignored if no machine can be made within this one, and its
 * name says why, because a runner shows nothing else of it.
 */
export function needMachine(name: string): { name: string; ignore?: boolean } {
  return refusal === undefined
    ? { name }
    : { name: `${name} [no machine in this one: ${refusal}]`, ignore: true };
}

/** A running machine. */
export class SystemdMachine implements AsyncDisposable {
  readonly #dir: string;
  readonly #child: Deno.ChildProcess;
  #enter: readonly string[] = [];
  #root = "";

  private constructor(dir: string, child: Deno.ChildProcess) {
    this.#dir = dir;
    this.#child = child;
  }

  /** Starts one, with other programs at places of theirs too, and waits until it has booted. */
  static async boot(more: readonly (readonly [from: string, to: string])[] = []): Promise<SystemdMachine> {
    const dir = await Deno.makeTempDir({ prefix: "pwt-systemd-" });
    await Deno.writeTextFile(
      `${dir}/place`,
      [...PLACES, ...more].map((place) => `${place.join(" ")}\n`).join(""),
    );
    const child = new Deno.Command("sh", { args: [BOOT, dir], stdin: "piped" }).spawn();
    const machine = new SystemdMachine(dir, child);
    try {
      await machine.#booted();
      return machine;
    } catch (error) {
      const log = await Deno.readTextFile(`${dir}/log`).catch(() => "");
      await machine[Symbol.asyncDispose]();
      throw new Error(`systemd does not boot: ${log}`, { cause: error });
    }
  }

  async #booted(): Promise<void> {
    const pid = async () => (await Deno.readTextFile(`${this.#dir}/pid`).catch(() => "")).trim();
    await until("it has begun", async () => await pid() !== "", PATIENCE_MS);
    const first = `/proc/${await pid()}/ns`;
    this.#root = `/proc/${await pid()}/root`;
    // The process itself is not in the namespace that it made for its children.
    const path = (kind: string) => kind === "pid" ? "pid_for_children" : kind;
    this.#enter = ["mount", "pid", "net", "uts", "ipc", "cgroup"].map((kind) =>
      `--${kind}=${first}/${path(kind === "mount" ? "mnt" : kind)}`
    );
    const state = async () => (await this.sh("systemctl is-system-running")).stdout.trim();
    await until("systemd has booted", async () => await state() === "running", PATIENCE_MS);
  }

  /** Where its files are for a program that is not in it. */
  get root(): string {
    return this.#root;
  }

  /** Runs a shell command in it, as root's login does. */
  sh(script: string, stdin?: string): Promise<CommandOutcome> {
    const environment = [`PATH=${SYSTEM_PATH}`, "HOME=/root", "LC_ALL=C.UTF-8"];
    return runCommand({
      program: "nsenter",
      args: [...this.#enter, "env", "-i", ...environment, "sh", "-c", script],
      ...(stdin === undefined ? {} : { stdin }),
    });
  }

  /** As {@linkcode sh}, for a command that must succeed; returns its output. */
  async done(script: string, stdin?: string): Promise<string> {
    const { code, stdout, stderr } = await this.sh(script, stdin);
    assertEquals(code, 0, `${script}: ${stderr}`);
    return stdout;
  }

  /** Waits until a shell command succeeds. */
  async until(script: string): Promise<void> {
    await until(script, async () => (await this.sh(script)).code === 0, PATIENCE_MS);
  }

  /** Writes a file of the machine. */
  async write(path: string, text: string, mode = 0o644): Promise<void> {
    const folder = path.slice(0, path.lastIndexOf("/"));
    await this.done(`mkdir -p ${folder} && cat >${path} && chmod ${mode.toString(8)} ${path}`, text);
  }

  /** One property of the unit. */
  async property(name: string): Promise<string> {
    return (await this.done(`systemctl show podwire --value -p ${name}`)).trim();
  }

  /** Ends all of its processes; the machine of the test is as it was. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close();
    await this.#child.status;
    await Deno.remove(this.#dir, { recursive: true });
  }
}
