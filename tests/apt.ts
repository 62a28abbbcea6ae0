// apt-get for what is unpacked and not installed: this machine's own apt is not changed.
import { ensureDir } from "@std/fs";
import { programOutput } from "./program_output.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** How a package is downloaded. */
export interface DownloadOptions {
  /** @default {the machine's own} */
  readonly suite: string | undefined;
  /** The wanted version. What the suite has instead is taken, and reported. */
  readonly version: string | undefined;
  readonly cwd: string;
  readonly say: (line: string) => void;
}

/** apt-get with the machine's sources and keys, and with lists and a cache of its own. */
export class Apt {
  readonly #work: string;
  readonly #ready = new Map<string, Promise<readonly string[]>>();

  constructor(work: string) {
    this.#work = work;
  }

  async download(name: string, { suite, version, cwd, say }: DownloadOptions): Promise<void> {
    const options = await this.#options(suite);
    const get = (wanted: string) => programOutput("apt-get", [...options, "-q", "download", wanted], cwd);
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
    await programOutput("apt-get", [...options, ...archives, "-qy", ...install]);
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
    await programOutput("apt-get", [...options, "-q", "update"]).catch(() => {});
    return options;
  }

  /** The mirror of Debian's own packages that this machine uses. */
  async #mirror(): Promise<string> {
    const options = await this.#options(undefined);
    const format = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)";
    const command = [...options, "indextargets", "--format", format, "Created-By: Packages"];
    const lines = await programOutput("apt-get", command);
    // A suite with a dash in its name is one of updates.
    const mirror = /^Debian \w+ main (\S+)$/m.exec(lines)?.[1];
    if (mirror === undefined) throw new Error("apt knows no mirror of Debian");
    return mirror;
  }
}

/** The packages in a folder. */
export function archivesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".deb"));
}
