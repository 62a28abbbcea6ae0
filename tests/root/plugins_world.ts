/**
 * A node for one test of the real plugins: a network namespace in which they run as in a machine's own
 * network, another one beyond its uplink, pods, and a runtime with its own directories. So tests see
 * everything that is left behind, whatever else happens on the machine.
 */
import { assert, assertEquals } from "@std/assert";
import type { AttachRequest } from "../../lib/attachment/attachments.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { SpecVersion } from "../../lib/cni/version.ts";
import { type RunCommand, runCommand } from "../../lib/host/command.ts";
import { createNetns, nsProblem, removeNetns, runInside } from "../../lib/host/netns.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component } from "./need.ts";

/** A release of the reference plugins: its folder, what the test needs for it, and its versions. */
export const RELEASES = {
  "1.1.1": { folder: CNI_1_1_1, needs: "cni-1.1.1", versions: ["0.3.1", "0.4.0", "1.0.0"] },
  "1.9.1": { folder: CNI_1_9_1, needs: "cni-1.9.1", versions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] },
} as const satisfies Record<string, { folder: string; needs: Component; versions: readonly SpecVersion[] }>;

export type Release = keyof typeof RELEASES;

export class PluginWorld implements AsyncDisposable {
  readonly confDir: string;
  readonly ipamDir: string;
  readonly tuningDir: string;
  readonly podwire: Podwire;
  /** The network whose configuration {@linkcode network} wrote last. */
  name = "";
  readonly #namespaces: string[] = [];

  private constructor(readonly release: Release, readonly dir: string, readonly tag: string) {
    this.confDir = `${dir}/conf`;
    this.ipamDir = `${dir}/ipam`;
    this.tuningDir = `${dir}/tuning`;
    const { folder } = RELEASES[release];
    const run: RunCommand = (request) =>
      request.program.startsWith(`${folder}/`) ? runInside(this.node, request) : runCommand(request);
    this.podwire = new Podwire({
      confDir: this.confDir,
      pluginDirs: [folder],
      cacheDir: `${dir}/cache`,
      stateDir: `${dir}/state`,
      netnsDir: `${dir}/netns`,
      builtinPolicy: "off",
      run,
    });
  }

  /**
   * A node with these pods, that is, their namespaces. Its uplink leads to a namespace of its own, `outside`.
   */
  static async make(release: Release, ...pods: string[]): Promise<PluginWorld> {
    const dir = await Deno.makeTempDir({ prefix: "pwt-plugins-" });
    await Deno.mkdir(`${dir}/conf`);
    const world = new PluginWorld(release, dir, crypto.randomUUID().slice(0, 8));
    await Promise.all(["node", "outside", ...pods].map((name) => world.netns(name)));
    await world.sh(
      `ip link add up0 type veth peer name up0 netns ${world.base("outside")} &&
      ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && ip link set up0 up &&
      sysctl -wq net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && nsenter --net=${world.outside} sh -c '
      ip addr add 192.0.2.2/24 dev up0 && ip addr add 2001:db8::2/64 dev up0 nodad && ip link set up0 up'`,
    );
    // Some plugins wait until no address is tentative any more.
    const settle = "sysctl -wq net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0";
    await Promise.all(["node", ...pods].map((name) => world.sh(settle, world.path(name))));
    return world;
  }

  get node(): string {
    return this.path("node");
  }

  get outside(): string {
    return this.path("outside");
  }

  /** The path of the namespace with that name. */
  path(name: string): string {
    return `/run/netns/${this.base(name)}`;
  }

  base(name: string): string {
    return `pwt-${this.tag}-${name}`;
  }

  get bridge(): string {
    return `br-${this.tag}`;
  }

  /** Makes a namespace, and returns its path. */
  async netns(name: string): Promise<string> {
    const path = this.path(name);
    this.#namespaces.push(path);
    await createNetns(path);
    return path;
  }

  /** Configures a network. */
  async network(cniVersion: SpecVersion, plugins: readonly JsonObject[], name = "net"): Promise<void> {
    this.name = `${name}-${this.tag}`;
    const list = { cniVersion, name: this.name, plugins };
    await Deno.writeTextFile(`${this.confDir}/${name}.conflist`, JSON.stringify(list));
  }

  /** A request for a pod of this world; the container has the pod's name. */
  request(pod: string, overrides: Partial<AttachRequest> = {}): AttachRequest {
    const target = { containerId: this.base(pod), netns: this.path(pod), ifName: "eth0" };
    return { ...target, args: [], capabilityArgs: {}, owner: "test", ...overrides };
  }

  /** The output of a shell command in a namespace, by default the node's; it must succeed. */
  async sh(script: string, netns = this.node): Promise<string> {
    const { code, stdout, stderr } = await runInside(netns, { program: "sh", args: ["-c", script] });
    assertEquals(code, 0, `${script}: ${stderr}`);
    return stdout;
  }

  /** The JSON that `ip` or `tc` print, one document a line. */
  // deno-lint-ignore no-explicit-any
  async json(command: string, netns = this.node): Promise<any[]> {
    const lines = (await this.sh(command, netns)).split("\n");
    return lines.filter((line) => line.trim() !== "").flatMap((line) => JSON.parse(line));
  }

  /** The links of a namespace, with their addresses. */
  // deno-lint-ignore no-explicit-any
  async links(netns: string): Promise<ReadonlyMap<string, any>> {
    const links = await this.json("ip -j -d addr show", netns);
    return new Map(links.map((link) => [link.ifname, link]));
  }

  /** The link of that name, with its addresses; it must be exactly one. */
  // deno-lint-ignore no-explicit-any
  async link(name: string, netns = this.path("pod")): Promise<any> {
    const link = (await this.links(netns)).get(name);
    assert(link !== undefined, `no link ${name}`);
    return link;
  }

  /** The rules of the node that do not belong to all of its attachments alike. */
  async rules(): Promise<string[]> {
    return ownRules(await this.sh("iptables-save; ip6tables-save; nft list ruleset"));
  }

  /** What detaching must remove and has not. */
  async left(pod = "pod"): Promise<string[]> {
    const look = (netns: string, more = "") =>
      this.sh(`ip -o link | cut -d' ' -f2; ip rule; ip -6 rule; tc qdisc; ${more}`, netns);
    const [node, inside, files] = await Promise.all([
      look(this.node, "echo; iptables-save; ip6tables-save; nft list ruleset"),
      await nsProblem(this.path(pod)) === undefined ? look(this.path(pod)) : "",
      this.#files(),
    ]);
    const [state = "", ...rules] = node.split("\n\n");
    const found = [
      ...state.split("\n").map((line) => `node: ${line}`),
      ...inside.trim().split("\n").map((line) => `pod: ${line}`),
      ...ownRules(rules.join("\n")),
      ...files.map((file) => `file: ${file}`),
    ];
    return found.filter((line) =>
      !EXPECTED.some((expected) => expected.test(line)) && !line.includes(this.bridge)
    );
  }

  async #files(): Promise<string[]> {
    const folders = ["ipam", "tuning", "cache/results", "state/records", "state/run/containers"];
    const args = [...folders.map((folder) => `${this.dir}/${folder}`), "-type", "f"];
    const { stdout } = await runCommand({ program: "find", args });
    return stdout.split("\n").filter((line) => line !== "").map((line) => line.slice(this.dir.length + 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#namespaces.map((path) => removeNetns(path)));
    await Deno.remove(this.dir, { recursive: true });
  }
}

function ownRules(text: string): string[] {
  const own: string[] = [];
  let table: string | undefined;
  for (const line of text.split("\n").map((line) => line.trim())) {
    if (line.startsWith("table ")) table = line;
    // nftables lists the rules of iptables once more, including the shared ones, in its own syntax.
    const isOwn = table === undefined
      ? !SHARED.some((shared) => shared.test(line))
      : !TABLES_OF_IPTABLES.test(table) && OWN.test(line);
    if (isOwn) own.push(line);
  }
  return own;
}

const TABLES_OF_IPTABLES = /^table ip6? (nat|filter) /;

/**
 * Lines of iptables that belong to all attachments of a node, or of a bridge; the plugins leave them on
 * purpose.
 */
const SHARED: readonly RegExp[] = [
  /^$|^#|^\*|^COMMIT$/,
  /^:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING|CNI-HOSTPORT-\w+|CNI-FORWARD|CNI-ADMIN|CNI-ISOLATION-STAGE-\d) /,
  /^-A (PREROUTING|OUTPUT) .*-j CNI-HOSTPORT-DNAT$/,
  /^-A POSTROUTING .*-j CNI-HOSTPORT-MASQ$/,
  /^-A CNI-HOSTPORT-(MASQ|SETMARK) .*(MASQUERADE|--set-xmark 0x2000\/0x2000)$/,
  /^-A (FORWARD|CNI-FORWARD) .*-j (CNI-FORWARD|CNI-ADMIN|CNI-ISOLATION-STAGE-1)$/,
  /^-A CNI-ISOLATION-STAGE-\d /,
];

/** What marks a rule of nftables as one of a single attachment: a name, or an address of the pods. */
const OWN = /pwt-|\b10\.80\.|fd00:80:/;

/** What exists when nothing is attached. */
const EXPECTED: readonly RegExp[] = [
  /: (lo|up0@\w+):$/,
  /: \d+:\tfrom all lookup (local|main|default|\[l3mdev-table\])$/,
  /: qdisc noqueue /,
  /: $/,
  /^file: ipam\/[^/]+\/(lock|last_reserved_ip\.\d+)$/,
];
