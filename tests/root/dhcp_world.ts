// A DHCP server of the real kind, on a bridge of its own, and the plugin `dhcp` of one release.
import { assertEquals } from "@std/assert";
import type { JsonObject } from "../../lib/cni/json.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, type BinaryWorld, sh, until } from "./binary_world.ts";
import type { DaemonProcess } from "./daemon_world.ts";
import { BUSYBOX } from "./need.ts";
import { type Release, RELEASES } from "./plugins_world.ts";

/** A lease in the book of the server. */
export interface ServerLease {
  readonly mac: string;
  readonly address: string;
  readonly host: string;
  readonly isOver: boolean;
}

/** What the server gives away. */
export interface ServerOptions {
  /** The last numbers of the first and the last address. */
  readonly range?: readonly [number, number];
  /** In seconds. A client renews its lease after half of it. */
  readonly lease?: number;
}

/** busybox's `udhcpd` in a namespace of its own. */
export class DhcpServer implements AsyncDisposable {
  /** Packets with a release that were seen on the wire until the last question. */
  #releases = 0;
  #child: Deno.ChildProcess | undefined;

  private constructor(readonly world: BinaryWorld, readonly netns: string) {}

  /** Makes the bridge of the world, and starts a server on it. */
  static async start(world: BinaryWorld, options: ServerOptions = {}): Promise<DhcpServer> {
    const { tag, bridge, subnet4 } = world;
    const netns = `/run/netns/pwt-${tag}-dhcp`;
    await createNetns(netns);
    await sh(`ip link add ${bridge} type bridge && ip link set ${bridge} up &&
      ip link add pwd-${tag} type veth peer name eth0 netns pwt-${tag}-dhcp &&
      ip link set pwd-${tag} master ${bridge} up &&
      ip -n pwt-${tag}-dhcp addr add ${subnet4}.1/24 dev eth0 && ip -n pwt-${tag}-dhcp link set eth0 up &&
      nsenter --net=${netns} nft -f - <<'END'
table ip seen {
  chain seen {
    type filter hook prerouting priority -300;
    ip saddr 0.0.0.0 ip daddr ${subnet4}.1 udp dport 67 counter
  }
}
END
`);
    const server = new DhcpServer(world, netns);
    await server.begin(options);
    return server;
  }

  /** Begins with an empty book. */
  async begin({ range: [first, last] = [10, 100], lease = 600 }: ServerOptions = {}): Promise<void> {
    const { dir, subnet4 } = this.world;
    await Deno.writeTextFile(this.#leases, "");
    await Deno.writeTextFile(
      `${dir}/udhcpd.conf`,
      `start ${subnet4}.${first}
end ${subnet4}.${last}
interface eth0
lease_file ${this.#leases}
pidfile ${dir}/udhcpd.pid
min_lease 1
opt subnet 255.255.255.0
opt router ${subnet4}.1
opt lease ${lease}
`,
    );
    // It looks for 50 ms, not for two seconds, whether another machine has an address.
    const args = [`--net=${this.netns}`, "sh", "-c", 'exec "$@" 2>>"$0"', `${dir}/udhcpd.log`];
    const server = [BUSYBOX, "udhcpd", "-f", "-a", "50", `${dir}/udhcpd.conf`];
    this.#child = new Deno.Command("nsenter", { args: [...args, ...server], stdin: "null", stdout: "null" })
      .spawn();
    await until("the server runs", async () => (await this.log()).includes("started"));
  }

  get #leases(): string {
    return `${this.world.dir}/udhcpd.leases`;
  }

  /** What it has said. */
  async log(): Promise<string> {
    return await Deno.readTextFile(`${this.world.dir}/udhcpd.log`).catch(() => "");
  }

  /** How often it has confirmed that address. */
  async confirmed(address: string): Promise<number> {
    const lines = (await this.log()).split("\n");
    return lines.filter((line) => line.endsWith(`sending ACK to ${address}`)).length;
  }

  /** Its book as it is now. */
  async book(): Promise<readonly ServerLease[]> {
    const before = await Deno.stat(this.#leases);
    this.#child?.kill("SIGUSR1");
    await until("the book is written", async () => {
      const now = await Deno.stat(this.#leases);
      return now.mtime?.getTime() !== before.mtime?.getTime() || now.ino !== before.ino;
    });
    const text = await sh(`${BUSYBOX} dumpleases -f ${this.#leases}`);
    return text.trimEnd().split("\n").slice(1).map((line) => {
      const [, mac = "", address = "", host = "", end = ""] =
        /^(\S+) (\S+) +(.*?) +(expired|[\d:]+|\d+ days.*)$/.exec(line) ?? [];
      return { mac, address, host, isOver: end === "expired" };
    });
  }

  /**
   * Whether a lease was given back since the last question. The daemon of the release 1.9.1 sends that from the address 0.0.0.0 to that of the server,
   * which Linux drops before a server with an ordinary socket gets it: then it can be seen only on the wire.
   */
  async isReleased(address: string, release: Release): Promise<boolean> {
    if (release === "1.1.1") return (await this.leaseOf(address))?.isOver === true;
    const rules = await sh(`nsenter --net=${this.netns} nft list table ip seen`);
    const count = Number(/counter packets (\d+)/.exec(rules)?.[1] ?? 0);
    const isNew = count > this.#releases;
    this.#releases = count;
    return isNew;
  }

  /** The entry of an address. */
  async leaseOf(address: string): Promise<ServerLease | undefined> {
    return (await this.book()).find((lease) => lease.address === address);
  }

  /** Ends the server; its clients keep what they have. */
  async end(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#child?.status;
    this.#child = undefined;
    await Deno.remove(`${this.world.dir}/udhcpd.log`).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    await removeNetns(this.netns);
    for (const pid of await dhcpDaemons(this.world)) await sh(`kill -9 ${pid} || :`);
  }
}

/** Where the daemon of a world listens. */
export const dhcpSocket = ({ dir }: BinaryWorld) => `${dir}/dhcp.sock`;

/** The DHCP daemons that listen, or want to listen, at the socket of a world. */
export async function dhcpDaemons(world: BinaryWorld): Promise<readonly number[]> {
  const text = await sh(
    `for pid in $(grep -lszF -e ${dhcpSocket(world)} /proc/[0-9]*/cmdline | cut -d/ -f3); do
      echo "$pid $(tr '\\0' ' ' 2>/dev/null </proc/$pid/cmdline)"
    done`,
  );
  return text.split("\n").flatMap((line) => /^(\d+) \S*\/dhcp daemon /.exec(line)?.[1] ?? []).map(Number);
}

/** A plugin on the bridge of a world whose addresses come from the server. */
export function dhcpPlugin(world: BinaryWorld, more: JsonObject = {}): JsonObject {
  const provide = [{ option: "host-name", fromArg: "K8S_POD_NAME" }];
  const ipam = { type: "dhcp", daemonSocketPath: dhcpSocket(world), provide };
  return { type: "bridge", bridge: world.bridge, ipam, ...more };
}

/** Puts plugins of a release into the directory of the plugins. */
export async function install(world: BinaryWorld, release: Release, ...types: string[]): Promise<void> {
  await Deno.mkdir(world.pluginDir, { recursive: true });
  for (const type of types) {
    await Deno.copyFile(`${RELEASES[release].folder}/${type}`, `${world.pluginDir}/${type}`);
  }
}

/** Registers a test with a server, and with the plugin `dhcp` of each of the releases. */
export function dhcpTest(
  name: string,
  fn: (world: BinaryWorld, server: DhcpServer, release: Release) => Promise<void>,
  { releases = ["1.1.1", "1.9.1"], lease }: {
    readonly releases?: readonly Release[];
    readonly lease?: number;
  } = {},
): void {
  for (const release of releases) {
    binaryTest(`${name}: plugins ${release}`, ["busybox", "nft", RELEASES[release].needs], async (world) => {
      await using server = await DhcpServer.start(world, lease === undefined ? {} : { lease });
      await install(world, release, "dhcp");
      await world.list([dhcpPlugin(world)]);
      await fn(world, server, release);
    });
  }
}

/** Makes a sandbox, and returns its address. */
export async function leased(world: BinaryWorld, name: string, ...more: string[]): Promise<string> {
  const { ips } = await world.json(["run", name, "--id", world.id(name), ...more]);
  assertEquals(ips.length, 1);
  return ips[0];
}

/** The addresses that the interface of a sandbox has. */
export async function addressesIn(world: BinaryWorld, name: string): Promise<string> {
  return await world.done(["exec", name, "--", "ip", "-4", "-br", "addr", "show", "eth0"]);
}

/** How often a daemon of podwire has counted that event of a DHCP daemon. */
export async function events(world: BinaryWorld, daemon: DaemonProcess, event: string): Promise<number> {
  return await counted(daemon, "daemon_events_total", { socket: dhcpSocket(world), event });
}

/** How often a daemon of podwire has counted that outcome of a lease. */
export async function leases(daemon: DaemonProcess, outcome: string): Promise<number> {
  return await counted(daemon, "leases_total", { outcome });
}

async function counted(
  daemon: DaemonProcess,
  name: string,
  labels: Readonly<Record<string, string>>,
): Promise<number> {
  const families = parseExposition((await daemon.call("GET", "/metrics")).text);
  return valueOf(families, `podwire_dhcp_${name}`, labels) ?? 0;
}
