import { EMBEDDED_BRIDGE, isEmbedded } from "../catalog/embedded_network.ts";
import { formatCidr, networkOf, parseCidr } from "../cni/address.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { member, numberOf } from "../cni/json.ts";
import { HostError } from "../host/command.ts";
import type { Kernel, KernelOptions } from "../kernel/kernel.ts";
import { vethsOfHost } from "../kernel/links.ts";
import { subnetsOfHost } from "./host_subnets.ts";
import { subnetTexts } from "./network_subnets.ts";
import { describeTaken, overlapsOf } from "./taken_subnet.ts";
import { narrowest, uplinksOf } from "./uplink.ts";

type Options = Pick<KernelOptions, "signal">;

/**
 * Returns what has changed on this machine so that containers on the embedded network do not reach everything; nothing for
 * another network, which its administrator has made for the machine.
 *
 * Permissions: `--allow-run=ip` or the whole `--allow-ffi`.
 */
export async function warningsOf(
  list: NetworkConfigList,
  kernel: Kernel,
  options: Options = {},
): Promise<readonly string[]> {
  if (!isEmbedded(list)) return [];
  try {
    return [...await mtuWarnings(list, kernel, options), ...await overlapWarnings(list, kernel, options)];
  } catch (error) {
    // The answer of its plugins says what is wrong then.
    if (error instanceof HostError) return [];
    throw error;
  }
}

/** Compares also with the containers that are there: a new MTU changes nothing for them. */
async function mtuWarnings(
  { plugins: [bridge] }: NetworkConfigList,
  kernel: Kernel,
  options: Options,
): Promise<readonly string[]> {
  const uplink = narrowest(await uplinksOf(kernel, options));
  if (uplink === undefined) return [];
  const configured = bridge === undefined ? undefined : numberOf(member(bridge.json, "mtu"));
  const ports = (await vethsOfHost(kernel, options)).filter(({ master }) => master === EMBEDDED_BRIDGE);
  const widest = Math.max(configured ?? 0, ...ports.map(({ mtu }) => mtu));
  if (widest <= uplink.mtu) return [];
  const what = `the MTU of its containers is ${widest}`;
  return [
    `${what}, but "${uplink.device}", through which the default route leads, takes ${uplink.mtu} only: ` +
    `podwire network set podwire --mtu ${uplink.mtu} is for new containers`,
  ];
}

async function overlapWarnings(
  list: NetworkConfigList,
  kernel: Kernel,
  options: Options,
): Promise<readonly string[]> {
  const taken = (await subnetsOfHost(kernel, options)).filter(({ device }) => device !== EMBEDDED_BRIDGE);
  return subnetTexts(list).flatMap((text) => {
    const cidr = parseCidr(text);
    const [reason] = cidr === undefined ? [] : overlapsOf(networkOf(cidr), taken).refused;
    if (cidr === undefined || reason === undefined) return [];
    return [`its subnet ${formatCidr(cidr)} overlaps with ${describeTaken(reason)}`];
  });
}
