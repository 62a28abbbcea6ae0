/** A machine of its own with pods whose rules a test takes away, and a namespace beyond it. */
import { assertEquals } from "@std/assert";
import type { CommandRequest, RunCommand } from "../../lib/host/command.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import { createNetns, removeNetns } from "../../lib/host/netns.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import { sh, World } from "./builtin_world.ts";
import { Machine } from "./firewall_world.ts";
import { SYSTEM_PATH } from "./binary_world.ts";
import { DaemonProcess } from "./daemon_world.ts";
import { PODWIRE_BINARY } from "./need.ts";
import { SandboxWorld } from "./sandbox_world.ts";

/** What makes rules. */
export const BACKENDS = ["iptables", "nftables"] as const;

/** One of {@linkcode BACKENDS}. */
export type Backend = typeof BACKENDS[number];

const SUBNETS = { 4: "10.33.0", 6: "fd00:33" } as const;
const OUTSIDE = { 4: "192.0.2", 6: "2001:db8" } as const;

/** The network of a world: built-in plugins only, with all rules that these make. */
export function networkOf(backend: Backend, name = "net"): JsonObject {
  const builtin = { podwireBuiltin: true };
  return {
    cniVersion: "1.1.0",
    name,
    plugins: [
      {
        ...{ type: "bridge", ...builtin, bridge: `br-${name}`, isGateway: true, hairpinMode: true },
        ...{ ipMasq: true, ipMasqBackend: backend, macspoofchk: true },
        capabilities: { ips: true, mac: true },
        ipam: {
          type: "host-local",
          ranges: [[{ subnet: `${SUBNETS[4]}.0/24` }], [{ subnet: `${SUBNETS[6]}::/64` }]],
          routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
          dataDir: "",
        },
      },
      { type: "portmap", ...builtin, backend, capabilities: { portMappings: true } },
      { type: "firewall", ...builtin, backend, ingressPolicy: "same-bridge" },
    ],
  };
}

export class DriftWorld implements AsyncDisposable {
  /** Each program that changed rules, and the lines that it got. */
  readonly changes: { readonly program: string; readonly lines: readonly string[] }[] = [];

  private constructor(
    readonly own: SandboxWorld,
    readonly machine: Machine,
    /** Beyond the machine: `192.0.2.2` and `2001:db8::2`; the machine has `.1` and `::1` there. */
    readonly outside: string,
    readonly backend: Backend,
    private readonly world: World,
  ) {}

  static async make(backend: Backend): Promise<DriftWorld> {
    const own = await SandboxWorld.make();
    const world = new World(own.dir);
    const machine = await Machine.make(world, "host");
    const outside = `/run/netns/pwt-${world.tag}-out`;
    await createNetns(outside);
    const self = new DriftWorld(own, machine, outside, backend, world);
    await machine.sh(`ip link set lo up
      ip link add up0 type veth peer name eth0 netns pwt-${world.tag}-out
      ip addr add ${OUTSIDE[4]}.1/24 dev up0; ip addr add ${
      OUTSIDE[6]
    }::1/64 dev up0 nodad; ip link set up0 up`);
    await sh(
      `ip link set lo up; ip addr add ${OUTSIDE[4]}.2/24 dev eth0; ip addr add ${
        OUTSIDE[6]
      }::2/64 dev eth0 nodad
      ip link set eth0 up`,
      outside,
    );
    await self.network(networkOf(backend));
    return self;
  }

  /** Adds a network. */
  async network(list: JsonObject): Promise<void> {
    const text = JSON.stringify(list).replaceAll('"dataDir":""', `"dataDir":"${this.own.dir}/addresses"`);
    await Deno.writeTextFile(`${this.own.confDir}/${list.name}.conflist`, text);
  }

  /** A runtime as in a process that has just been started. */
  podwire(): Podwire {
    return this.own.podwire({ run: this.run });
  }

  /** Runs programs on the machine, and notes those that change rules. */
  readonly run: RunCommand = async (request) => {
    const lines = changing(request);
    if (lines !== undefined) this.changes.push({ program: request.program, lines });
    return await this.machine.run(request);
  };

  /** Starts the compiled program as a daemon on the machine. */
  async daemon(...args: readonly string[]): Promise<DaemonProcess> {
    return await DaemonProcess.start({
      dir: this.own.dir,
      start: (more) =>
        new Deno.Command("nsenter", {
          args: [`--net=${this.machine.netns}`, PODWIRE_BINARY, ...this.dirs, ...more, ...args],
          env: { PATH: SYSTEM_PATH },
          clearEnv: true,
          stdin: "null",
          stdout: "piped",
          stderr: "piped",
        }).spawn(),
    });
  }

  /** The options for the directories of the world. */
  get dirs(): readonly string[] {
    const { confDir, stateDir, netnsDir, dir, plugins } = this.own;
    return [
      ...[`--conf-dir=${confDir}`, `--state-dir=${stateDir}`, `--netns-dir=${netnsDir}`],
      ...[`--cache-dir=${dir}/cache`, `--plugin-dir=${plugins.dir}`],
    ];
  }

  /** All rules of the machine, in their order in each table. A table that is made again comes after the others. */
  async rules(): Promise<readonly string[]> {
    const text = await this.machine.sh(
      'for each in iptables ip6tables; do for table in nat filter; do echo "table $each $table"; ' +
        "$each -w -t $table -S; done; done; nft -s list ruleset",
    );
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("# Warning"));
    const tables = lines.join("\n").split(/^(?=table )/m).map((table) => table.trimEnd());
    // What nft shows of the tables of iptables is not always the same.
    return tables.filter((table) => !/^table ip6? (nat|filter) /.test(table)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { sandboxes } = this.podwire();
    for (const { id } of await sandboxes.list()) {
      assertEquals(await sandboxes.remove(id, { force: true }), []);
    }
    await removeNetns(this.outside);
    await this.world.clean();
    await this.own[Symbol.asyncDispose]();
  }
}

/** The lines with which a program changes rules; undefined if it changes none. */
function changing({ program, args = [], stdin = "" }: CommandRequest): readonly string[] | undefined {
  const isRestore = /^ip6?tables-restore$/.test(program);
  return isRestore || (program === "nft" && args.includes("-f")) ? stdin.trimEnd().split("\n") : undefined;
}
