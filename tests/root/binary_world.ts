/** The compiled program with directories, a network and plugins for one test. */
import { assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { iptablesChain } from "../../lib/builtin/attachment_tag.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { type CommandOutcome, runCommand } from "../../lib/host/command.ts";
import { bounded } from "../bounded.ts";
import { writeExecutable } from "../executable.ts";
import { until as patiently } from "../until.ts";
import { type Component, need, PODWIRE_BINARY, RUNC } from "./need.ts";
import { unmountBelow } from "./unmount.ts";

export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/**
 * Where the built-in host-local keeps the addresses of the embedded network, whatever the directories are.
 */
const EMBEDDED_ADDRESSES = "/var/lib/cni/networks/podwire";

/** How the program is called. */
export interface Call {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Options that name the world's own directories. */
  readonly dirs?: readonly string[];
  readonly signal?: AbortSignal;
}

/** What one test may use and must give back. */
export class BinaryWorld {
  readonly tag: string;
  readonly network: string;
  readonly bridge: string;
  readonly subnet4: string;
  readonly subnet6: string;
  readonly #ids: string[] = [];

  constructor(readonly dir: string) {
    const [a = 0, b = 0, ...rest] = crypto.getRandomValues(new Uint8Array(5));
    // At random: test files run at the same time, in one process.
    this.tag = [b, ...rest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    this.network = `net-${this.tag}`;
    this.bridge = `pwb-${this.tag}`;
    this.subnet4 = `10.${100 + a % 60}.${b}`;
    this.subnet6 = `fd01:${a.toString(16)}:${b.toString(16)}:1`;
  }

  get confDir(): string {
    return `${this.dir}/net.d`;
  }

  get pluginDir(): string {
    return `${this.dir}/bin`;
  }

  get netnsDir(): string {
    return `${this.dir}/netns`;
  }

  get stateDir(): string {
    return `${this.dir}/state`;
  }

  get dataDir(): string {
    return `${this.dir}/addresses`;
  }

  /** The options for the world's directories. */
  get dirs(): readonly string[] {
    return [
      `--conf-dir=${this.confDir}`,
      `--state-dir=${this.stateDir}`,
      `--cache-dir=${this.dir}/cache`,
      `--netns-dir=${this.netnsDir}`,
      `--plugin-dir=${this.pluginDir}`,
    ];
  }

  /** A container ID that {@linkcode traces} looks for. */
  id(name: string): string {
    return this.watch(`${name}-${this.tag}`);
  }

  /** Lets {@linkcode traces} look for a container ID that was made elsewhere. */
  watch(id: string): string {
    this.#ids.push(id);
    return id;
  }

  /** Runs the program to its end. The lines that only a slow machine produces are left out of its output. */
  async podwire(args: readonly string[], call: Call = {}): Promise<CommandOutcome> {
    const { env = {}, stdin, signal, dirs = this.dirs } = call;
    const outcome = await runCommand({
      program: PODWIRE_BINARY,
      args: [...dirs, ...args],
      env: { PATH: SYSTEM_PATH, ...env },
      ...(stdin === undefined ? {} : { stdin }),
      signal,
    });
    return { ...outcome, stderr: withoutWaiting(outcome.stderr) };
  }

  /** Runs the program to its end, which must be a success, and returns what it printed. */
  async done(args: readonly string[], call: Call = {}): Promise<string> {
    const { code, stdout, stderr } = await this.podwire(args, call);
    assertEquals({ args, code, stderr }, { args, code: 0, stderr: "" });
    return stdout;
  }

  /** As {@linkcode done}, for JSON. */
  // deno-lint-ignore no-explicit-any
  async json(args: readonly string[], call: Call = {}): Promise<any> {
    return JSON.parse(await this.done([...args, "--json"], call));
  }

  /**
   * Runs the program to its end, which must have this exit code, and returns the error object: the last line.
   */
  // deno-lint-ignore no-explicit-any
  async refused(code: number, args: readonly string[], call: Call = {}): Promise<any> {
    const outcome = await this.podwire(["--json", ...args], call);
    assertEquals(
      { args, code: outcome.code, stdout: outcome.stdout },
      { args, code, stdout: "" },
      outcome.stderr,
    );
    const lines = outcome.stderr.trimEnd().split("\n").map((line) => JSON.parse(line));
    assertEquals(
      lines.slice(0, -1).filter(({ level }) => level !== "warn"),
      [],
      "only the log stands before it",
    );
    return lines.at(-1);
  }

  /** Starts the program and does not wait for it. */
  start(args: readonly string[], { env = {}, dirs = this.dirs }: Call = {}): Deno.ChildProcess {
    return new Deno.Command(PODWIRE_BINARY, {
      args: [...dirs, ...args],
      env: { PATH: SYSTEM_PATH, ...env },
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  /** Writes a network configuration list with the world's network name. */
  async list(
    plugins: readonly JsonObject[],
    { name = this.network, cniVersion = "1.0.0" } = {},
  ): Promise<void> {
    await this.conf(`${name}.conflist`, JSON.stringify({ cniVersion, name, plugins }));
  }

  /** Writes a file of the configuration directory. */
  async conf(file: string, text: string): Promise<void> {
    await Deno.mkdir(this.confDir, { recursive: true });
    await Deno.writeTextFile(`${this.confDir}/${file}`, text);
  }

  /** Puts a plugin into the world's plugin directory. */
  async plugin(type: string, text: string, mode = 0o755): Promise<string> {
    await Deno.mkdir(this.pluginDir, { recursive: true });
    const path = `${this.pluginDir}/${type}`;
    writeExecutable(path, text, mode.toString(8));
    return path;
  }

  /** A bridge in both families with addresses, all of them the world's own. */
  bridgePlugin(more: JsonObject = {}): JsonObject {
    return {
      type: "bridge",
      bridge: this.bridge,
      isGateway: true,
      ipMasq: true,
      ipam: {
        type: "host-local",
        dataDir: this.dataDir,
        ranges: [[{ subnet: `${this.subnet4}.0/24` }], [{ subnet: `${this.subnet6}::/64` }]],
        routes: [{ dst: "0.0.0.0/0" }],
      },
      ...more,
    };
  }

  /**
   * Everything that the world's networks and sandboxes left: namespaces, bridge ports, addresses, records,
   * names, lock files, cached results, rules and processes. The bridge itself is not a trace: the original
   * plugin keeps it.
   */
  async traces(): Promise<string[]> {
    const ports = (await sh(`ip -o link show master ${this.bridge} 2>/dev/null || :`)).split("\n");
    const chains = await Promise.all(
      this.#ids.flatMap((containerId) =>
        [this.network, "podwire"].map((network) => iptablesChain({ network, containerId }))
      ),
    );
    const words = [this.network, ...this.#ids, ...chains].map((word) => `-e ${word}`).join(" ");
    const embedded = this.#ids.length === 0
      ? ""
      : await sh(`grep -rls ${this.#ids.map((id) => `-e ${id}`).join(" ")} ${EMBEDDED_ADDRESSES} || :`);
    return [
      ...await this.#files(),
      ...ports,
      ...(await sh(`(nft list ruleset; iptables-save; ip6tables-save) 2>/dev/null | grep -F ${words} || :`))
        .split("\n"),
      ...(await sh(`ip -o link | grep -F ${words} || :`)).split("\n"),
      ...embedded.split("\n"),
      ...await this.processes(),
    ].filter((line) => line !== "");
  }

  /** What the program and the plugins keep while something is attached. */
  async #files(): Promise<string[]> {
    return (await filesBelow(this.dir)).filter((file) =>
      /^(netns|addresses|cache|state)\//.test(file) &&
      !/^state\/(boot-id|format|(interfaces|by-name)\/\.complete|catalogs\/[0-9a-f]+\.json|run\/(gc\/[^/]+\.(lock|mark)|(names|boot|ports|interfaces|files)\.lock))$|^addresses\/[^/]+\/(lock|last_reserved_ip\.\d+)$/
        .test(file)
    );
  }

  /**
   * The processes that plugins and the program left: their environment holds the world's ID or its directory.
   */
  async processes(): Promise<string[]> {
    const words = [this.dir, ...this.#ids.map((id) => `CNI_CONTAINERID=${id}`)];
    const found = await sh(
      `grep -lszF ${words.map((word) => `-e ${word}`).join(" ")} /proc/[0-9]*/environ || :`,
    );
    const paths = found.split("\n").filter((path) => path !== "");
    return await Promise.all(
      paths.map(async (path) =>
        `${path} ${await sh(`tr '\\0' ' ' <${path.replace("environ", "cmdline")} || :`)}`
      ),
    );
  }

  async clean(): Promise<void> {
    for (const process of await this.processes()) {
      await sh(`kill -9 ${process.split("/")[2]} 2>/dev/null || :`);
    }
    if ((await this.#files()).length > 0) await this.#removeAll();
    await sh(`ip link delete dev ${this.bridge} 2>/dev/null || :`);
    await unmountBelow(this.netnsDir);
  }

  async #removeAll(): Promise<void> {
    // A failed test may have left a container, which only its runtime can end.
    const call = { env: { PATH: `${dirname(RUNC)}:${SYSTEM_PATH}` } };
    await this.podwire(["recover", "--timeout=10s"], call);
    const { stdout } = await this.podwire(["ps", "-q"]);
    for (const id of stdout.split("\n").filter((line) => line !== "")) {
      await this.podwire(["rm", "-f", id, "--timeout=10s"], call);
    }
  }
}

/** The program's output without the lines, text or JSON, about what it still waits for. */
export function withoutWaiting(stderr: string): string {
  return stderr.replace(/^(?:warn: |\{.*"msg":")still waiting for .*\n/gm, "");
}

/** Runs a test of the program in a world of its own, and cleans up after it. */
export function binaryTest(
  name: string,
  components: readonly Component[],
  fn: (world: BinaryWorld) => Promise<void>,
  { ignore = false }: { readonly ignore?: boolean } = {},
): void {
  const needed = need("root", "binary", "ip", ...components);
  Deno.test({
    name,
    ignore: ignore || needed.ignore,
    fn: async () => {
      const world = new BinaryWorld(await Deno.makeTempDir({ prefix: "pwt-" }));
      await Deno.mkdir(world.confDir);
      try {
        await bounded(() => fn(world));
      } finally {
        await world.clean();
        await Deno.remove(world.dir, { recursive: true });
      }
    },
  });
}

/** The output of a shell command that must succeed. */
export async function sh(script: string): Promise<string> {
  const { code, stdout, stderr } = await runCommand({ program: "sh", args: ["-c", script] });
  assertEquals(code, 0, `${script}: ${stderr}`);
  return stdout;
}

/** Waits until something holds. */
export function until(what: string, holds: () => Promise<boolean>, patienceMs?: number): Promise<void> {
  return patiently(holds, what, patienceMs);
}

export function isThere(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, (error) => {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  });
}

async function filesBelow(dir: string, prefix = ""): Promise<string[]> {
  const files: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${dir}/${prefix}`)) {
    if (isDirectory) files.push(...await filesBelow(dir, `${prefix}${name}/`));
    else files.push(`${prefix}${name}`);
  }
  return files.sort();
}
