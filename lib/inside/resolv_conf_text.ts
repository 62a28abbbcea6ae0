import { printResolvConf } from "../cni/resolv_conf.ts";
import type { Dns } from "../cni/result.ts";
import type { InsideSandbox } from "./inside_sandbox.ts";

/**
 * Returns the text of the `resolv.conf` of a sandbox. Name servers, domains and options are chosen each for itself: what the
 * request asked for, of all networks in the order of attachment; if it asked for none, what the results say; and if they say
 * nothing, what the host has. The domains and options of the host only count with the name servers of the host.
 */
export function resolvConfText(sandbox: InsideSandbox, host: Dns): string {
  const { name, namespace, networks, wanted: own = {} } = sandbox;
  const wanted = merged([own, ...networks.map(({ wanted }) => wanted)]);
  const given = merged(networks.map(({ dns }) => dns));
  const nameservers = firstOf(wanted.nameservers, given.nameservers);
  const ofHost = nameservers.length === 0 ? merged([host]) : merged([]);
  const text = printResolvConf({
    nameservers: firstOf(nameservers, ofHost.nameservers),
    search: firstOf(wanted.search, given.search, ofHost.search),
    options: firstOf(wanted.options, given.options, ofHost.options),
  });
  return `# podwire made this file for the sandbox ${namespace}/${name}.\n${text}`;
}

function firstOf(...lists: readonly (readonly string[])[]): readonly string[] {
  return lists.find((list) => list.length > 0) ?? [];
}

/** Joins settings in their order. A domain is where short names are looked up first. */
function merged(all: readonly Dns[]): Required<Pick<Dns, "nameservers" | "search" | "options">> {
  return {
    nameservers: all.flatMap(({ nameservers = [] }) => nameservers),
    search: all.flatMap(({ domain, search = [] }) => domain ? [domain, ...search] : search),
    options: all.flatMap(({ options = [] }) => options),
  };
}
