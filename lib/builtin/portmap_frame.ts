import { iptablesChain, type TaggedAttachment } from "./attachment_tag.ts";
import type { WantedForwarding } from "./forwarding.ts";
import { isListed } from "./iptables.ts";
import type { PortRange } from "./port_range.ts";
import { type Marking, span } from "./portmap_chain.ts";

// Chains, rules and their order are those of the CNI plugins project, so that each of the two finds what the other has made.
/** The chain that leads to those of all containers. */
export const DNAT = "CNI-HOSTPORT-DNAT";
const SET_MARK = "CNI-HOSTPORT-SETMARK";
const MASQUERADE = "CNI-HOSTPORT-MASQ";
const ENTRIES = ["PREROUTING", "OUTPUT"];
/** Only packets to addresses of this machine are for its ports, not those that it forwards. */
const TO_THIS_MACHINE = "-m addrtype --dst-type LOCAL";
/** The match `multiport` has no place for more; a range takes two. */
const MOST_PORTS = 15;

/** Returns the name of the chain with the rules of a container. */
export async function dnatChain(container: Omit<TaggedAttachment, "ifName">): Promise<string> {
  return await iptablesChain(container, "DN-");
}

/** The chains that all containers share, and what leads to them, as far as they are missing. */
export function frameLines(lines: readonly string[], { config }: WantedForwarding): readonly string[] {
  const isOwnMark = config.snat && config.setMarkChain === undefined;
  const frame = [...isOwnMark ? markFrame(config.markBit) : [], ...DNAT_FRAME];
  const chains = [...isOwnMark ? [SET_MARK, MASQUERADE] : [], DNAT];
  return [
    // Not `:CHAIN`, which would empty a chain that another process makes meanwhile.
    ...chains.filter((chain) => !isListed(lines, `-N ${chain}`)).map((chain) => `-N ${chain}`),
    ...frame.filter((line) => !isListed(lines, line.replace(/^-I (\S+) 1 /, "-A $1 "))),
  ];
}

const DNAT_FRAME = ENTRIES.map((entry) => `-A ${entry} ${TO_THIS_MACHINE} -j ${DNAT}`);

/** The masquerading comes first, because bridge and ptp accept packets of their networks before. */
function markFrame(bit: number): readonly string[] {
  const mark = `0x${(2 ** bit).toString(16)}/0x${(2 ** bit).toString(16)}`;
  return [
    `-A ${SET_MARK} -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${mark}`,
    `-A ${MASQUERADE} -m mark --mark ${mark} -j MASQUERADE`,
    `-I POSTROUTING 1 -m comment --comment "CNI portfwd requiring masquerade" -j ${MASQUERADE}`,
  ];
}

/** Returns how packets are marked that are to be masqueraded; undefined if none are. */
export function markingOf({ config }: WantedForwarding): Marking | undefined {
  if (!config.snat) return undefined;
  return { chain: config.setMarkChain ?? SET_MARK, isForAll: config.masqAll };
}

/** Whether a rule that leads to a chain does so for a port. */
export function isEntryOf(jump: string, { protocol, hostPort, count }: PortRange): boolean {
  const list = / --dports (?<list>\S+) /.exec(jump)?.groups?.list;
  if (list === undefined || !jump.includes(` -p ${protocol} `)) return false;
  return list.split(",").some((text) => {
    const [first = 0, last = first] = text.split(":").map(Number);
    return first < hostPort + count && hostPort <= last;
  });
}

/** The ports by protocol, in lists that one rule has place for. The entries of both families have the same ports. */
export function entrySpans(
  ports: readonly PortRange[],
): readonly (readonly [protocol: string, list: string])[] {
  const byProtocol = Map.groupBy(ports, ({ protocol }) => protocol);
  return [...byProtocol.keys()].toSorted().flatMap((protocol) => {
    const lists: string[][] = [];
    let left = 0;
    for (const { hostPort, count } of byProtocol.get(protocol) ?? []) {
      const places = count === 1 ? 1 : 2;
      if (places > left) {
        lists.push([]);
        left = MOST_PORTS;
      }
      lists.at(-1)?.push(span(hostPort, count));
      left -= places;
    }
    return lists.map((list) => [protocol, list.join(",")] as const);
  });
}

/** An entry of a container, as its comment and its target name it. */
export interface Entry {
  readonly name: string;
  readonly containerId: string;
  readonly chain: string;
}

/** Returns the entries of all containers, out of the lines of `iptables -S`. */
export function entriesOf(lines: readonly string[]): readonly Entry[] {
  return lines.flatMap((line) => {
    const found = new RegExp(
      `^-A ${DNAT} .*--comment "dnat name: \\\\"(?<name>[^"\\\\]*)\\\\" id: \\\\"(?<id>[^"\\\\]*)\\\\"" .*-j (?<chain>CNI-DN-\\S+)$`,
    ).exec(line)?.groups;
    return found === undefined
      ? []
      : [{ name: found.name ?? "", containerId: found.id ?? "", chain: found.chain ?? "" }];
  });
}
