/** Machines of their own for the tests of the firewall plugin, and its calls there. */
import type { Json, JsonObject } from "../../lib/cni/json.ts";
import { DEFAULT_PATH, type RunCommand } from "../../lib/host/command.ts";
import { runInside } from "../../lib/host/netns.ts";
import type { Verb } from "../../lib/plugin/invocation.ts";
import { type Answer, type Call, callBinary, callBuiltin } from "./builtin_call.ts";
import { sh, type World } from "./builtin_world.ts";
import { CNI_1_1_1, CNI_1_9_1, type Component } from "./need.ts";

/** Calls a firewall plugin on a machine. */
export type Caller = (call: Call, machine: Machine) => Promise<Answer>;

export const OURS: Caller = (call, { run }) => callBuiltin("firewall", call, run);

/** The originals, with what a test needs for them. */
export const ORIGINALS: readonly (readonly [needs: Component, call: Caller])[] = [
  ["cni-1.1.1", (call, { run }) => callBinary(CNI_1_1_1, "firewall", call, run)],
  ["cni-1.9.1", (call, { run }) => callBinary(CNI_1_9_1, "firewall", call, run)],
];

/** Where the plugins of a test run: no rule of another test is there. */
export class Machine {
  private constructor(readonly netns: string, readonly run: RunCommand) {}

  /** `path` is where it looks for programs. */
  static async make(world: World, name: string, path?: string): Promise<Machine> {
    const netns = await world.netns(name);
    const env = path === undefined ? {} : { env: { PATH: path, LC_ALL: "C" } };
    return new Machine(netns, async (request) => {
      const outcome = await runInside(netns, { ...request, ...env });
      // The program that enters the namespace is there.
      if (!outcome.stderr.startsWith("nsenter: failed to execute")) return outcome;
      throw new Deno.errors.NotFound(outcome.stderr);
    });
  }

  /** The output of a shell command there, which must succeed. */
  async sh(script: string): Promise<string> {
    return await sh(script, this.netns);
  }

  /** The rules of the `filter` table of both families. */
  async rules(): Promise<readonly string[]> {
    const text = await this.sh("iptables -w -S; echo IPv6; ip6tables -w -S");
    return text.trimEnd().split("\n");
  }
}

/** A folder with all programs of the system except some; `PATH` for {@linkcode Machine.make}. */
export async function pathWithout(world: World, ...missing: RegExp[]): Promise<string> {
  const folder = await Deno.makeTempDir({ dir: world.dir, prefix: "programs-" });
  for (const from of DEFAULT_PATH.split(":")) {
    for (const { name } of await list(from)) {
      if (missing.some((pattern) => pattern.test(name))) continue;
      await Deno.symlink(`${from}/${name}`, `${folder}/${name}`).catch(() => {});
    }
  }
  return folder;
}

async function list(folder: string): Promise<readonly Deno.DirEntry[]> {
  try {
    return await Array.fromAsync(Deno.readDir(folder));
  } catch {
    return [];
  }
}

/** An attachment for which the plugin is called. */
export interface Attachment {
  readonly id: string;
  readonly ips: readonly string[];
  readonly bridge?: string | undefined;
  readonly network?: string | undefined;
  readonly netns?: string | undefined;
  readonly cniVersion?: string | undefined;
  readonly config?: JsonObject | undefined;
}

/** The result of the plugins before. */
export function resultOf({ id, ips, bridge = "br0", netns = "/run/netns/x" }: Attachment): JsonObject {
  return {
    cniVersion: "1.0.0",
    interfaces: [
      { name: bridge, mac: "02:00:00:00:00:01" },
      { name: `veth-${id}`, mac: "02:00:00:00:00:02" },
      { name: "eth0", mac: "02:00:00:00:00:03", sandbox: netns },
    ],
    ips: ips.map((address): Json => ({ address, interface: 2 })),
    dns: {},
  };
}

/** A call of the plugin with the result of the plugins before. */
export function callOf(verb: Verb, attachment: Attachment, config: JsonObject = {}): Call {
  const { id, network = "net", netns = "/run/netns/x", cniVersion = "1.0.0" } = attachment;
  return {
    ...{ verb, containerId: id, netns, ifName: "eth0" },
    config: {
      ...{ cniVersion, name: network, type: "firewall", ...attachment.config },
      ...{ prevResult: { ...resultOf(attachment), cniVersion }, ...config },
    },
  };
}

/** What Docker 28 has made on a machine, without its comments. */
export const DOCKER = `iptables-restore <<'END'
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
END
ip6tables -w -P FORWARD DROP`;
