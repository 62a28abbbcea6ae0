import { contains, parseCidr, parseIp } from "../cni/address.ts";
import { parseResolvConf } from "../cni/resolv_conf.ts";
import type { Dns } from "../cni/result.ts";
import { readTextIfThere } from "../host/file.ts";

/**
 * Where the host says which name servers it asks. The first one may name only a server on loopback, as that of
 * systemd-resolved does; the second one then has the servers that this server asks.
 */
export const HOST_RESOLV_CONFS: readonly string[] = [
  "/etc/resolv.conf",
  "/run/systemd/resolve/resolv.conf",
];

const LOOPBACK = ["127.0.0.0/8", "::1/128"].flatMap((text) => parseCidr(text) ?? []);

/**
 * Returns the settings of the host, without the name servers that a sandbox cannot ask: those on the loopback of the host, and
 * those with a zone, which is an interface of the host. If none is left in the first file, the servers of the next one count.
 *
 * Requires `--allow-read` for the files.
 */
export async function hostDns(files: readonly string[]): Promise<Dns> {
  let found: Dns = {};
  for (const [index, file] of files.entries()) {
    const text = await readTextIfThere(file);
    if (text === undefined) continue;
    const dns = parseResolvConf(text);
    const nameservers = (dns.nameservers ?? []).filter(isReachable);
    if (nameservers.length > 0) return { ...dns, nameservers };
    if (index === 0) found = { ...dns, nameservers: [] };
  }
  return found;
}

function isReachable(nameserver: string): boolean {
  const ip = parseIp(nameserver);
  return ip !== undefined && !LOOPBACK.some((network) => contains(network, ip));
}
