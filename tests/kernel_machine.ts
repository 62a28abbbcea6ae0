// An emulated machine with a kernel of its own, and the root of this one below a layer of memory. It can change nothing
// here: it reads this machine's files, and has no network.
import { shellWord } from "../lib/host/shell_word.ts";
import type { Emulator, KernelFiles } from "./kernel_components.ts";
import { programOutput } from "./program_output.ts";

/** What the first process needs before it can read this machine's files. */
const FIRST_MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];
const MEMORY_MIB = 4096;
const CPUS = 2;
/** So many lines of the kernel's say why a machine ended. */
const LAST_LINES = 20;

/** A machine to be. */
export interface KernelMachine {
  readonly kernel: KernelFiles;
  readonly emulator: Emulator;
  /** The file of a busybox that needs no libraries. */
  readonly busybox: string;
  /** The first process, a script for busybox and for /bin/sh. */
  readonly init: string;
  /** The folder in which the command runs. */
  readonly checkout: string;
  readonly env: Readonly<Record<string, string>>;
  readonly command: readonly string[];
}

/**
 * Runs the command of a machine, and passes on what it writes. The machine ends with this process at the latest, with
 * `signal` at once.
 *
 * @param dir a folder for its files, which the caller removes
 * @returns the exit code of the command, and all that it wrote
 * @throws {Error} if the machine ended before the command did, with the kernel's last words
 */
export async function runKernelMachine(
  machine: KernelMachine,
  dir: string,
  signal: AbortSignal,
): Promise<{ code: number; text: string }> {
  await makeRamDisk(machine, dir);
  const { program, env } = machine.emulator;
  const args = ["--pdeathsig", "KILL", program, ...emulatorArgs(machine, dir)];
  const child = new Deno.Command("setpriv", { args, env, signal, stdin: "null", stdout: "piped" }).spawn();
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    for (let done = 0; done < chunk.length;) done += Deno.stdout.writeSync(chunk.subarray(done));
  }
  const status = await child.status;
  signal.throwIfAborted();
  const code = exitCodeIn(await readIfThere(`${dir}/report`));
  if (code !== undefined) return { code, text };
  const last = (await readIfThere(`${dir}/console`)).trimEnd().split("\n").slice(-LAST_LINES).join("\n");
  throw new Error(`the emulator ended with ${status.code}, and the command had not:\n${last}`);
}

/** The arguments of the emulator: nothing but processors, memory, three serial lines and this machine's files. */
export function emulatorArgs({ kernel, emulator }: KernelMachine, dir: string): string[] {
  return [
    ...emulator.args,
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    // KVM is not used even where it is: what passes here must pass everywhere.
    ...["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"],
    ...["-smp", `${CPUS}`, "-m", `${MEMORY_MIB}`],
    ...["-kernel", kernel.image, "-initrd", `${dir}/ram-disk`],
    // A kernel that panics starts again at once, which is the end here.
    ...["-append", "console=ttyS0 quiet panic=-1"],
    ...["-serial", `file:${dir}/console`, "-serial", "stdio", "-serial", `file:${dir}/report`],
    "-virtfs",
    "local,path=/,mount_tag=around,security_model=passthrough,readonly=on,multidevs=remap",
  ];
}

/** The exit code in a report of the first process; undefined if it has not come to that. */
export function exitCodeIn(report: string): number | undefined {
  const [, code] = /^(\d{1,3})\r?\n$/.exec(report) ?? [];
  return code === undefined ? undefined : Number(code);
}

/** The paths below the modules' folder that these modules need, themselves included, of the text of `modules.dep`. */
export function moduleFiles(names: readonly string[], dependencies: string): string[] {
  const lines = dependencies.split("\n").map((line) => line.split(/:? /).filter((path) => path !== ""));
  const needed = names.flatMap((name) => {
    const found = lines.find(([path = ""]) => /([^/]*)\.ko[^/]*$/.exec(path.replace(/:$/, ""))?.[1] === name);
    if (found === undefined) throw new Error(`Cannot start a kernel: it has no module ${name}`);
    return found.map((path) => path.replace(/:$/, ""));
  });
  return [...new Set(needed)];
}

/** The text for a shell that sets the variables, and the positional parameters to the command. */
export function shellSettings(env: Readonly<Record<string, string>>, command: readonly string[]): string {
  const lines = Object.entries(env).map(([name, value]) => `export ${name}=${shellWord(value)}`);
  return `${[...lines, `set -- ${command.map(shellWord).join(" ")}`].join("\n")}\n`;
}

async function makeRamDisk(machine: KernelMachine, dir: string): Promise<void> {
  const { kernel, busybox, init, checkout, env, command } = machine;
  const root = `${dir}/root`;
  const modules = `lib/modules/${kernel.release}`;
  await Deno.mkdir(`${root}/bin`, { recursive: true });
  await Deno.copyFile(busybox, `${root}/bin/busybox`);
  await Deno.writeTextFile(`${root}/init`, `#!/bin/busybox sh\n${await Deno.readTextFile(init)}`);
  await Deno.chmod(`${root}/init`, 0o755);
  const own = { KERNEL_BUSYBOX: busybox, KERNEL_MODULES: kernel.modules, KERNEL_CHECKOUT: checkout };
  await Deno.writeTextFile(`${root}/settings`, shellSettings({ ...env, ...own }, command));
  const dependencies = await Deno.readTextFile(`${kernel.modules}/modules.dep`);
  for (const file of moduleFiles(FIRST_MODULES, dependencies)) {
    await Deno.mkdir(`${root}/${modules}/${file.replace(/[^/]*$/, "")}`, { recursive: true });
    await Deno.copyFile(`${kernel.modules}/${file}`, `${root}/${modules}/${file}`);
  }
  await programOutput(busybox, ["depmod", "-b", root, kernel.release]);
  const archive = `cd "$1" && find . | "$2" cpio -o -H newc >"$3"`;
  await programOutput("sh", ["-ec", archive, "sh", root, busybox, `${dir}/ram-disk`]);
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
