/** podwire as a plugin of the real containerd. */
import type { BinaryWorld } from "../root/binary_world.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import type { Containerd } from "./containerd.ts";

/** The annotation that names networks of podwire. */
export const NETWORKS = "podwire.dev/networks";

/** Writes a policy: pods of the namespace "shop" may use these networks. */
export async function writePolicy(world: BinaryWorld, networks: readonly string[]): Promise<void> {
  const rules = networks.map((name) => [name, { namespaces: { shop: {} } }]);
  await Deno.writeTextFile(policyFile(world), JSON.stringify({ networks: Object.fromEntries(rules) }));
}

function policyFile({ dir }: BinaryWorld): string {
  return `${dir}/nri.json`;
}

/** Starts `podwire nri`, and waits until it is registered. */
export async function startNri(
  world: BinaryWorld,
  engine: Pick<Containerd, "nriSocket">,
  args: readonly string[] = [],
): Promise<DaemonProcess> {
  const all = [
    `--policy=${policyFile(world)}`,
    `--socket=${engine.nriSocket}`,
    "--builtin=prefer",
    "--no-dhcp",
  ];
  return await DaemonProcess.start(world, [...all, ...args], {}, { command: "nri", socket: "--http-socket" });
}

/** A network whose ADD waits until a file is gone, and whose DEL fails while another one is there. */
export interface SlowNetwork {
  readonly name: string;
  readonly gate: string;
  readonly broken: string;
}

/** Makes such a network: point to point, and a plugin of sh that passes the result on. */
export async function makeSlowNetwork(world: BinaryWorld): Promise<SlowNetwork> {
  const [name, gate, broken] = ["slow", `${world.dir}/gate`, `${world.dir}/broken`];
  await world.plugin(
    "slow",
    `#!/bin/sh
config=$(cat)
case $CNI_COMMAND in
  VERSION) printf '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
  ADD)
    while [ -e ${gate} ]; do sleep 0.05; done
    result=\${config#*'"prevResult":'}
    printf %s "\${result%?}" ;;
  DEL) [ ! -e ${broken} ] ;;
esac
`,
  );
  const subnet = world.subnet4.replace(/^10\.\d+/, "10.202");
  const ipam = { type: "host-local", dataDir: `${world.dir}/addresses`, subnet: `${subnet}.0/24` };
  await world.list([{ type: "ptp", ipam }, { type: "slow" }], { name });
  return { name, gate, broken };
}
