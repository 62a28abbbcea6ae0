// Fetches what the tests need beyond Deno into .components/: real plugins of two generations, runc,
// catatonit, busybox, and the tools that this machine lacks. Nothing is installed, and this machine's own apt
// is not changed.
import { ensureDir } from "@std/fs";
import { fromFileUrl } from "@std/path";
import { ownUser } from "../lib/host/stat.ts";

const FOLDER = fromFileUrl(new URL("../.components", import.meta.url));
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Unpacked side by side, installed nowhere: none of them runs anything on installation. */
const UNPACKED = [
  { name: "cni-1.1.1", package: "containernetworking-plugins", file: "usr/lib/cni/bridge" },
  {
    name: "cni-1.9.1",
    package: "containernetworking-plugins",
    file: "usr/lib/cni/bridge",
    suite: "forky",
    version: "1.9.1",
  },
  { name: "runc", package: "runc", file: "usr/sbin/runc" },
  { name: "catatonit", package: "catatonit", file: "usr/bin/catatonit" },
  { name: "busybox", package: "busybox-static", file: "bin/busybox" },
  { name: "podman", package: "podman", file: "usr/bin/podman" },
  { name: "conmon", package: "conmon", file: "usr/bin/conmon" },
  // The libraries of these two that some machines lack; their path depends on the architecture.
  ...["libgpgme11", "libassuan0", "libdevmapper1.02.1", "libsubid4", "libglib2.0-0"].map((name) => ({
    name,
    package: name,
    file: `usr/share/doc/${name}/copyright`,
  })),
] as const;

/**
 * They are found by the PATH, so they are unpacked into one folder, with the packages that they depend on and
 * this machine lacks, and `machine.sh` lays that folder over /usr and /etc. What this machine has is not
 * fetched.
 */
const TOOLS = [
  { package: "iproute2", files: ["usr/sbin/ip", "usr/bin/ip"] },
  { package: "nftables", files: ["usr/sbin/nft"] },
  { package: "iptables", files: ["usr/sbin/iptables"] },
  { package: "zsh", files: ["usr/bin/zsh"] },
  { package: "fish", files: ["usr/bin/fish"] },
  { package: "curl", files: ["usr/bin/curl"] },
  { package: "perl-base", files: ["usr/bin/perl"] },
  // For systemd-notify, and for systemd as the first process of machines of the tests' own.
  { package: "systemd", files: ["usr/bin/systemd-notify"] },
] as const;

/** What Debian's packages make on installation, not when they are unpacked. */
const ALTERNATIVES = ["", "-save", "-restore"].flatMap((verb) => [`iptables${verb}`, `ip6tables${verb}`])
  .map((name) => ({ link: `usr/sbin/${name}`, target: "xtables-nft-multi" }));

type Unpacked = typeof UNPACKED[number];

/**
 * Fetches what is missing; returns at once when nothing is. Two runs at the same time wait for each other.
 *
 * @returns why nothing could be fetched, one sentence for each component; empty if nothing is missing
 */
export async function prepareComponents(say: (line: string) => void): Promise<string[]> {
  if (Deno.build.os !== "linux") return ["the tests on a real kernel need Linux"];
  await ensureDir(FOLDER);
  using lock = await Deno.open(`${FOLDER}/lock`, { create: true, write: true });
  await lock.lock(true);

  const unpack = UNPACKED.filter((component) => !exists(`${FOLDER}/${component.name}/${component.file}`));
  const absent = TOOLS.filter(({ files }) => !files.some((file) => exists(`/${file}`)));
  const isFetched = absent.every(({ files }) => files.some((file) => exists(`${FOLDER}/tools/${file}`)));
  const tools = isFetched ? [] : absent;
  if (unpack.length + tools.length === 0) return [];
  const names = [...unpack.map(({ name }) => name), ...tools.map((entry) => entry.package)];
  if (!exists("/usr/bin/apt-get")) {
    return names.map((name) => `${name} is missing, and this machine is not Debian`);
  }
  if (ownUser() !== 0) {
    return names.map((name) => `${name} is missing, and only root can fetch it`);
  }

  say(`fetching ${names.join(", ")}`);
  // Left by a run that was killed; the holder of the lock is alone here.
  for await (const { name } of Deno.readDir(FOLDER)) {
    if (name.startsWith("new-")) await Deno.remove(`${FOLDER}/${name}`, { recursive: true });
  }
  const work = await Deno.makeTempDir({ dir: FOLDER, prefix: "new-" });
  const problems: string[] = [];
  try {
    const apt = new Apt(work);
    for (const component of unpack) {
      await fetchUnpacked(apt, component, work, say)
        .catch((error: Error) => problems.push(`Cannot fetch ${component.name}: ${error.message}`));
    }
    if (tools.length > 0) {
      await fetchTools(apt, tools.map((entry) => entry.package), work)
        .catch((error: Error) => problems.push(`Cannot fetch the missing tools: ${error.message}`));
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  return problems;
}

async function fetchUnpacked(
  apt: Apt,
  component: Unpacked,
  work: string,
  say: (line: string) => void,
): Promise<void> {
  const folder = `${work}/${component.name}`;
  await ensureDir(folder);
  const [suite, version] = "suite" in component
    ? [component.suite, component.version]
    : [undefined, undefined];
  await apt.download(component.package, { suite, version, cwd: folder, say });
  const archive = archivesIn(folder)[0];
  if (archive === undefined) throw new Error("apt-get left no package behind");
  await run("dpkg-deb", ["-x", archive, `${folder}/root`]);
  if (!exists(`${folder}/root/${component.file}`)) throw new Error(`no ${component.file} in ${archive}`);
  await put(`${folder}/root`, component.name);
}

async function fetchTools(apt: Apt, packages: readonly string[], work: string): Promise<void> {
  const folder = `${work}/archives`;
  const root = `${work}/tools`;
  await ensureDir(`${root}/usr`);
  for (const archive of await apt.downloadWithDependencies(packages, folder)) {
    await run("dpkg-deb", ["-x", archive, root]);
  }
  // As on a machine on which these are links into /usr: only that is laid over the machine's own.
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    if (!exists(`${root}/${name}`)) continue;
    await ensureDir(`${root}/usr/${name}`);
    await run("cp", ["-a", `${root}/${name}/.`, `${root}/usr/${name}`]);
    await Deno.remove(`${root}/${name}`, { recursive: true });
  }
  for (const { link, target } of ALTERNATIVES) {
    const isFetched = exists(`${root}/usr/sbin/${target}`) && !exists(`${root}/${link}`);
    if (isFetched) await Deno.symlink(target, `${root}/${link}`);
  }
  await put(root, "tools");
}

/** The rename is the stamp: the folder exists only when it is complete. */
async function put(root: string, name: string): Promise<void> {
  await Deno.remove(`${FOLDER}/${name}`, { recursive: true }).catch(ignoreAbsent);
  await Deno.rename(root, `${FOLDER}/${name}`);
}

function archivesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".deb"));
}

/** How a package is downloaded. */
interface DownloadOptions {
  /** @default {the machine's own} */
  readonly suite: string | undefined;
  /** The wanted version. What the suite has instead is taken, and reported. */
  readonly version: string | undefined;
  readonly cwd: string;
  readonly say: (line: string) => void;
}

/** apt-get with the machine's sources and keys, and with lists and a cache of its own. */
class Apt {
  readonly #work: string;
  readonly #ready = new Map<string, Promise<readonly string[]>>();

  constructor(work: string) {
    this.#work = work;
  }

  async download(name: string, { suite, version, cwd, say }: DownloadOptions): Promise<void> {
    const options = await this.#options(suite);
    const get = (wanted: string) => run("apt-get", [...options, "-q", "download", wanted], cwd);
    if (version === undefined) return void await get(name);
    try {
      await get(`${name}=${version}*`);
    } catch {
      await get(name);
      say(`${name} ${version} is not to be had any more; taking what the suite has`);
    }
  }

  /** Downloads what an installation would install; returns the paths of the archives. */
  async downloadWithDependencies(names: readonly string[], folder: string): Promise<string[]> {
    const options = await this.#options(undefined);
    await ensureDir(`${folder}/partial`);
    const archives = ["-o", `Dir::Cache::archives=${folder}`];
    const install = ["install", "--download-only", "--no-install-recommends", ...names];
    await run("apt-get", [...options, ...archives, "-qy", ...install]);
    return archivesIn(folder);
  }

  /** An apt-get that knows the machine's sources, or one suite alone; its lists are fetched once. */
  #options(suite: string | undefined): Promise<readonly string[]> {
    const key = suite ?? "";
    const known = this.#ready.get(key) ?? this.#prepare(suite);
    this.#ready.set(key, known);
    return known;
  }

  async #prepare(suite: string | undefined): Promise<readonly string[]> {
    const own = `${this.#work}/apt-${suite ?? "machine"}`;
    for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
      await ensureDir(`${own}/${folder}`);
    }
    const settings: Record<string, string> = {
      "Dir::State": `${own}/state`,
      "Dir::State::status": "/var/lib/dpkg/status",
      "Dir::Cache": `${own}/cache`,
      "Acquire::Languages": "none",
      "APT::Sandbox::User": "root",
      "Debug::NoLocking": "true",
    };
    if (suite !== undefined) {
      const sources = `${own}/sources.list`;
      const line = `deb [signed-by=${KEYRING}] ${await this.#mirror()} ${suite} main\n`;
      await Deno.writeTextFile(sources, line);
      settings["Dir::Etc::SourceList"] = sources;
      settings["Dir::Etc::SourceParts"] = "/dev/null";
      settings["Dir::State::status"] = "/dev/null";
    }
    const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    // A source that does not answer must not stop the others; what is missing then reports itself.
    await run("apt-get", [...options, "-q", "update"]).catch(() => {});
    return options;
  }

  /** The mirror of Debian's own packages that this machine uses. */
  async #mirror(): Promise<string> {
    const options = await this.#options(undefined);
    const format = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)";
    const command = [...options, "indextargets", "--format", format, "Created-By: Packages"];
    const lines = await run("apt-get", command);
    // A suite with a dash in its name is one of updates.
    const mirror = /^Debian \w+ main (\S+)$/m.exec(lines)?.[1];
    if (mirror === undefined) throw new Error("apt knows no mirror of Debian");
    return mirror;
  }
}

/** Runs a program and returns its standard output. */
async function run(program: string, args: string[], cwd?: string): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(program, {
    args,
    env: { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" },
    stdin: "null",
    ...(cwd === undefined ? {} : { cwd }),
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  const said = new TextDecoder().decode(stderr.length > 0 ? stderr : stdout).trim().split("\n").at(-1);
  throw new Error(`${program} ${args.at(-1)} exited with ${code}: ${said}`);
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    ignoreAbsent(error);
    return false;
  }
}

function ignoreAbsent(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
