import type { Cidr } from "../cni/address.ts";
import type { Sysctl } from "../host/ip_batch.ts";
import { baseOf, type RunCommand } from "../host/command.ts";
import { kernelFor, speaksNetlink } from "../kernel/choose_kernel.ts";
import type { Host } from "./host.ts";

const FORWARDING = "net/ipv6/conf/all/forwarding";
/** Where this process has seen that the host forwards, or has made it do so: without netlink each look starts a program. */
const forwarding = new WeakSet<RunCommand>();

const acceptRa = (device: string) => `net/ipv6/conf/${device}/accept_ra`;

/**
 * Returns the kernel parameters with which this host keeps the default routes that routers advertise to it when it begins to
 * forward IPv6: the kernel would remove them, and the host would be cut off. To be set before forwarding is switched on.
 */
export async function advertisedRouteSysctls(
  host: Host,
  addresses: readonly Cidr[],
): Promise<readonly Sysctl[]> {
  if (!addresses.some(({ ip }) => ip.family === 6)) return [];
  const kernel = kernelFor(host.run);
  const { signal } = host;
  const base = baseOf(host.run);
  if (forwarding.has(base) && !speaksNetlink(host.run)) return [];
  const forwards = (await kernel.readSysctls([FORWARDING], { signal })).get(FORWARDING);
  // When it was switched on, the routes were kept, or lost.
  forwarding.add(base);
  if (forwards !== "0") return [];
  const question = { kind: "show-routes", family: 6, defaults: true } as const;
  const [routes] = await kernel.apply([question], { signal });
  const advertised = routes.filter(({ isAdvertised, isMain }) => isAdvertised && isMain);
  const devices = [...new Set(advertised.flatMap(({ hops }) => hops.map(({ device }) => device)))];
  const values = await kernel.readSysctls(devices.map(acceptRa), { signal });
  return devices.map(acceptRa).filter((name) => values.get(name) === "1").map((name) => {
    return { name, value: "2", required: true };
  });
}
