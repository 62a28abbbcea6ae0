import { compareIp, type Ip, parseCidr } from "../cni/address.ts";
import { FAMILIES } from "../cni/default_route.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import type { Flow } from "../kernel/flow.ts";
import { removeFlows } from "../kernel/flows.ts";
import { type Forwarding, includesIp, type WantedForwarding, wantedPorts } from "./forwarding.ts";
import type { Host } from "./host.ts";
import type { PortRange } from "./port_range.ts";

type Log = (line: string) => void;

const LOOPBACK: Ip = { family: 4, value: 0x7f00_0000n };
const LOOPBACK_BITS = 24n;

/**
 * Lets the kernel forget UDP connections that went to ports of this host before rules led these to a container: a client that
 * keeps on sending would never reach it. Connections to the same port of other machines stay.
 */
export async function forgetFlowsBefore(host: Host, wanted: WantedForwarding, log: Log): Promise<void> {
  const udp = wanted.config.ports.filter(isUdp);
  if (udp.length === 0) return;
  await reported(log, async () => {
    const [links] = await kernelFor(host.run).apply([{ kind: "show-links", addresses: true }], host);
    const own = links.flatMap(({ addresses }) =>
      addresses.flatMap(({ address }) => parseCidr(address)?.ip ?? [])
    );
    for (const [family, { ip: pod }] of wanted.targets) {
      const ports = wantedPorts(wanted, family).filter(isUdp);
      const isSelected = ({ destination, port, answerer }: Flow) =>
        compareIp(answerer, pod) !== 0 && (includesIp(own, destination) || isLoopback(destination)) &&
        ports.some((one) =>
          isPortOf(port, one) && (one.hostIp === undefined || compareIp(one.hostIp, destination) === 0)
        );
      if (ports.length > 0) await forget(host, { family, port: onlyPort(ports), isSelected }, log);
    }
  });
}

/**
 * Lets the kernel forget the UDP connections that rules have led to a container: else it would send what comes later to the
 * same address, which another container may have then.
 */
export async function forgetFlowsOf(host: Host, removed: readonly Forwarding[], log: Log): Promise<void> {
  const udp = removed.filter(({ port }) => isUdp(port));
  await reported(log, async () => {
    for (const family of FAMILIES) {
      const ours = udp.filter(({ target }) => target.family === family);
      const isSelected = ({ port, answerer }: Flow) =>
        ours.some((one) => isPortOf(port, one.port) && compareIp(one.target, answerer) === 0);
      const port = onlyPort(ours.map(({ port }) => port));
      if (ours.length > 0) await forget(host, { family, port, isSelected }, log);
    }
  });
}

async function forget(
  { run, signal }: Host,
  selection: Parameters<typeof removeFlows>[1],
  log: Log,
): Promise<void> {
  if (await removeFlows(run, selection, { signal }) !== undefined) return;
  log(
    "portmap: Cannot end UDP connections that went elsewhere before: the program conntrack is missing, " +
      "and --allow-ffi is not granted",
  );
}

/** The rules are right without that, so a failure is only reported. */
async function reported(log: Log, fn: () => Promise<void>): Promise<void> {
  try {
    await fn();
  } catch (error) {
    log(`portmap: Cannot end UDP connections that went elsewhere before: ${messageOf(error)}`);
  }
}

function isUdp({ protocol }: PortRange): boolean {
  return protocol === "udp";
}

/** The port of the host, if all of them are that one. */
function onlyPort(ports: readonly PortRange[]): number | undefined {
  const [first] = ports;
  return ports.every(({ hostPort, count }) => count === 1 && hostPort === first?.hostPort)
    ? first?.hostPort
    : undefined;
}

function isPortOf(port: number, { hostPort, count }: PortRange): boolean {
  return port >= hostPort && port < hostPort + count;
}

function isLoopback({ family, value }: Ip): boolean {
  return family === 4 && value >> LOOPBACK_BITS === LOOPBACK.value >> LOOPBACK_BITS;
}
