// Fetches what `./denow task test:kernel` needs into .components/: Debian's kernel with its modules, and an emulator
// if this machine has none. No other task needs them, and they are large.
import { ensureDir } from "@std/fs";
import { Apt, archivesIn } from "./apt.ts";
import { COMPONENT_FOLDER, exists, fetchMissing, putComponent } from "./component_folder.ts";
import { programOutput } from "./program_output.ts";
import { unpackTools } from "./unpacked_tools.ts";

/** Names the newest kernel of the suite by its dependency. It has what the one for clouds lacks: 9P. */
const META_PACKAGE = "linux-image-amd64";
const KERNEL = `${COMPONENT_FOLDER}/kernel`;
const EMULATOR = "usr/bin/qemu-system-x86_64";
const BUSYBOX = `${COMPONENT_FOLDER}/busybox/bin/busybox`;

/** A kernel that can be started. */
export interface KernelFiles {
  /** As `uname -r` says it. */
  readonly release: string;
  readonly image: string;
  /** The folder of its modules, with their dependencies. */
  readonly modules: string;
}

/** An emulator, with the arguments and variables that let it find its own files. */
export interface Emulator {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Fetches what is missing; returns at once when nothing is.
 *
 * @returns why nothing could be fetched, one sentence for each component; empty if nothing is missing
 */
export async function prepareKernel(say: (line: string) => void): Promise<string[]> {
  return await fetchMissing(
    () =>
      [
        { name: "kernel", what: fetchKernel, isThere: exists(KERNEL) },
        { name: "qemu", what: fetchEmulator, isThere: emulator() !== undefined },
      ].filter(({ isThere }) => !isThere),
    async (fetches, work) => {
      const apt = new Apt(work);
      const problems: string[] = [];
      for (const fetch of fetches) await fetch(apt, work, say).catch(({ message }) => problems.push(message));
      return problems;
    },
    say,
  );
}

/** The fetched kernel; undefined if there is none. */
export function kernelFiles(): KernelFiles | undefined {
  if (!exists(KERNEL)) return undefined;
  const release = [...Deno.readDirSync(`${KERNEL}/lib/modules`)][0]?.name ?? "";
  return { release, image: `${KERNEL}/boot/vmlinuz-${release}`, modules: `${KERNEL}/lib/modules/${release}` };
}

/** The emulator of this machine, else the fetched one; undefined if there is none. */
export function emulator(): Emulator | undefined {
  if (exists(`/${EMULATOR}`)) return { program: `/${EMULATOR}`, args: [], env: {} };
  const root = `${COMPONENT_FOLDER}/qemu`;
  if (!exists(`${root}/${EMULATOR}`)) return undefined;
  return {
    program: `${root}/${EMULATOR}`,
    args: ["-L", `${root}/usr/share/seabios`, "-L", `${root}/usr/share/qemu`],
    env: { LD_LIBRARY_PATH: `${root}/usr/lib/x86_64-linux-gnu` },
  };
}

async function fetchKernel(apt: Apt, work: string, say: (line: string) => void): Promise<void> {
  const download = async (name: string) => {
    const cwd = `${work}/${name}`;
    await ensureDir(cwd);
    await apt.download(name, { suite: undefined, version: undefined, cwd, say });
    return archivesIn(cwd)[0] ?? "";
  };
  const depends = await programOutput("dpkg-deb", ["-f", await download(META_PACKAGE), "Depends"]);
  const [name] = /linux-image-[^\s,]+/.exec(depends) ?? [];
  if (name === undefined) throw new Error(`Cannot fetch a kernel: ${META_PACKAGE} depends on none`);
  const root = `${work}/kernel`;
  await programOutput("dpkg-deb", ["-x", await download(name), root]);
  // The package does that when it is installed.
  await programOutput(BUSYBOX, ["depmod", "-b", root, name.replace("linux-image-", "")]);
  await putComponent(root, "kernel");
}

async function fetchEmulator(apt: Apt, work: string): Promise<void> {
  const root = `${work}/qemu`;
  await unpackTools(await apt.downloadWithDependencies(["qemu-system-x86"], `${work}/emulator`), root);
  await putComponent(root, "qemu");
}
