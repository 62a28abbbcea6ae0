// Fetches what the tests need beyond Deno into .components/: real plugins of two generations, runc, catatonit, busybox.
import { fromFileUrl } from "@std/path";
import { ensureDir } from "@std/fs";

const FOLDER = fromFileUrl(new URL("../.components", import.meta.url));
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Unpacked beside each other, installed nowhere: none of them runs anything on installation. */
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
] as const;

/** Installed, because they are looked for on the PATH and need libraries of their own. */
const INSTALLED = [
  { package: "iproute2", file: "/usr/sbin/ip", alternative: "/sbin/ip" },
  { package: "nftables", file: "/usr/sbin/nft", alternative: "/sbin/nft" },
  { package: "iptables", file: "/usr/sbin/iptables", alternative: "/sbin/iptables" },
  { package: "zsh", file: "/usr/bin/zsh", alternative: "/bin/zsh" },
  { package: "fish", file: "/usr/bin/fish", alternative: "/bin/fish" },
  { package: "curl", file: "/usr/bin/curl", alternative: "/bin/curl" },
  { package: "perl-base", file: "/usr/bin/perl", alternative: "/bin/perl" },
  // For systemd-notify, and for systemd as the first process of machines of the tests' own.
  { package: "systemd", file: "/usr/bin/systemd-notify", alternative: "/bin/systemd-notify" },
] as const;

type Unpacked = typeof UNPACKED[number];

/**
 * Fetches what is not there yet; returns at once when all is there. Two runs at the same time wait for each other.
 *
 * @returns why nothing could be fetched, one sentence for each component, empty when all is there
 */
export async function prepareComponents(say: (line: string) => void): Promise<string[]> {
  if (Deno.build.os !== "linux") return ["the tests on a real kernel need Linux"];
  await ensureDir(FOLDER);
  using lock = await Deno.open(`${FOLDER}/lock`, { create: true, write: true });
  await lock.lock(true);

  const unpack = UNPACKED.filter((component) => !exists(`${FOLDER}/${component.name}/${component.file}`));
  const install = INSTALLED.filter(({ file, alternative }) => !exists(file) && !exists(alternative));
  if (unpack.length + install.length === 0) return [];
  const names = [...unpack.map(({ name }) => name), ...install.map((entry) => entry.package)];
  if (!exists("/usr/bin/apt-get")) return names.map((name) => `${name} is missing, and this is no Debian`);
  if (Deno.statSync("/proc/self").uid !== 0) {
    return names.map((name) => `${name} is missing, and only root can fetch it`);
  }

  say(`fetching ${names.join(", ")}`);
  // Left by a run that was killed; whoever holds the lock is alone here.
  for await (const { name } of Deno.readDir(FOLDER)) {
    if (name.startsWith("new-")) await Deno.remove(`${FOLDER}/${name}`, { recursive: true });
  }
  const apt = new Apt();
  const problems: string[] = [];
  for (const component of unpack) {
    await fetchUnpacked(apt, component, say)
      .catch((error: Error) => problems.push(`Cannot fetch ${component.name}: ${error.message}`));
  }
  if (install.length > 0) {
    await apt.install(install.map((entry) => entry.package))
      .catch((error: Error) => problems.push(`Cannot install the missing packages: ${error.message}`));
  }
  return problems;
}

async function fetchUnpacked(apt: Apt, component: Unpacked, say: (line: string) => void): Promise<void> {
  const work = await Deno.makeTempDir({ dir: FOLDER, prefix: "new-" });
  try {
    if ("suite" in component) {
      const options = await apt.suiteOptions(component.suite, work);
      await apt.download(component.package, component.version, work, options, say);
    } else {
      await apt.download(component.package, undefined, work, [], say);
    }
    const archive = [...Deno.readDirSync(work)].find(({ name }) => name.endsWith(".deb"));
    if (archive === undefined) throw new Error("apt-get left no package behind");
    await run("dpkg-deb", ["-x", `${work}/${archive.name}`, `${work}/root`]);
    if (!exists(`${work}/root/${component.file}`)) throw new Error(`no ${component.file} in ${archive.name}`);
    // The rename is the stamp: the folder is there only when it is whole.
    await Deno.remove(`${FOLDER}/${component.name}`, { recursive: true }).catch(ignoreAbsent);
    await Deno.rename(`${work}/root`, `${FOLDER}/${component.name}`);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

class Apt {
  #listsAreFresh = false;

  /** Options of an apt that knows one suite and shares neither lists nor state with the machine's own. */
  async suiteOptions(suite: string, work: string): Promise<string[]> {
    for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
      await ensureDir(`${work}/${folder}`);
    }
    const sources = `${work}/sources.list`;
    await Deno.writeTextFile(
      sources,
      `deb [signed-by=${KEYRING}] ${await this.#mirror()} ${suite} main\n`,
    );
    const options = {
      "Dir::Etc::SourceList": sources,
      "Dir::Etc::SourceParts": "/dev/null",
      "Dir::State": `${work}/state`,
      "Dir::State::status": "/dev/null",
      "Dir::Cache": `${work}/cache`,
      "Acquire::Languages": "none",
      "APT::Sandbox::User": "root",
    };
    const flags = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
    await run("apt-get", [...flags, "-q", "update"]);
    return flags;
  }

  /** The mirror of Debian's own packages that this machine uses. */
  async #mirror(): Promise<string> {
    const format = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)";
    let mirror: string | undefined;
    await this.#withLists(async () => {
      const lines = await run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
      // A suite with a dash in its name is one of updates.
      mirror = /^Debian \w+ main (\S+)$/m.exec(lines)?.[1];
      if (mirror === undefined) throw new Error("apt knows no mirror of Debian");
    });
    return mirror ?? "";
  }

  /** Downloads a package into `cwd`: the wished version, or, said aloud, the one that the suite has by now. */
  async download(
    name: string,
    version: string | undefined,
    cwd: string,
    options: string[],
    say: (line: string) => void,
  ): Promise<void> {
    const get = (wish: string) =>
      run("apt-get", [...options, "-q", "-o", "APT::Sandbox::User=root", "download", wish], cwd);
    if (version === undefined) return await this.#withLists(() => get(name));
    try {
      await get(`${name}=${version}*`);
    } catch {
      await get(name);
      say(`${name} ${version} is not to be had any more; taking what the suite has`);
    }
  }

  async install(names: string[]): Promise<void> {
    await this.#withLists(() => run("apt-get", ["-qy", "install", "--no-install-recommends", ...names]));
  }

  /** The machine's lists may be absent (an image strips them) or old (the named file is gone): one update, one retry. */
  async #withLists(action: () => Promise<unknown>): Promise<void> {
    try {
      await action();
      return;
    } catch (error) {
      if (this.#listsAreFresh) throw error;
    }
    // A source that does not answer must not stop the others from being used.
    await run("apt-get", ["-q", "update"]).catch(() => {});
    this.#listsAreFresh = true;
    await action();
  }
}

/** Runs a program and gives its standard output. */
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
