import { bitsOf, type Cidr, formatCidr, formatIp, networkOf } from "../cni/address.ts";
import type {
  AddAddress,
  AddRoute,
  AddRule,
  CreateBridge,
  CreateLink,
  CreateVeth,
  LinkType,
  NextHop,
  Operation,
  RemoveRoute,
  RemoveRule,
  SetLink,
  SetPort,
  ShowLinks,
} from "./operation.ts";

/** Characters that `ip -batch` interprets even inside quotes. */
const UNWRITABLE = /["'\\#\p{Cc}]/u;

/** Whether `ip -batch` takes a text as it is, between quotes if it has blanks. */
export function isWritable(text: string): boolean {
  return !UNWRITABLE.test(text);
}

/** Returns the first name, path or alias of an operation that `ip -batch` would not take as it is; undefined if there is none. */
export function unwritableIn(operation: Operation): string | undefined {
  const { names, texts } = wordsOf(operation);
  return names.find((name) => name === "" || /\s/u.test(name) || !isWritable(name)) ??
    texts.find((text) => !isWritable(text));
}

/** `names` are written as single words, `texts` between quotes. */
function wordsOf(
  operation: Operation,
): { readonly names: readonly string[]; readonly texts: readonly string[] } {
  switch (operation.kind) {
    case "create-veth": {
      const { name, mac, bridge, peer } = operation;
      return {
        names: [name, mac, ...(bridge === undefined ? [] : [bridge]), peer.name, peer.mac],
        texts: peer.netns === undefined ? [] : [peer.netns],
      };
    }
    case "create-bridge":
      return { names: [operation.name, operation.mac], texts: [] };
    case "create-link": {
      const { name, mac, link, netns = "" } = operation;
      const master = "master" in link ? link.master : undefined;
      return { names: [name, mac, master].filter((word) => word !== undefined), texts: [netns] };
    }
    case "set-link": {
      const { name, newName, mac, master, alias = "", netns = "" } = operation;
      const names = [name, newName, mac, master || undefined].filter((word) => word !== undefined);
      return { names, texts: [alias, netns] };
    }
    case "add-address":
    case "remove-address":
    case "add-route":
      return { names: [operation.device], texts: [] };
    case "set-neighbor":
      return { names: [operation.device, operation.mac], texts: [] };
    case "remove-route":
      return { names: operation.hops.map(({ device }) => device), texts: [] };
    case "show-routes":
    case "add-rule":
    case "remove-rule":
    case "show-rules":
    case "find-route":
      return { names: [], texts: [] };
    case "show-links":
      return { names: operation.bridge === undefined ? [] : [operation.bridge], texts: [] };
    case "set-port":
    case "remove-link":
    case "show-link":
      return { names: [operation.name], texts: [] };
  }
}

/** Returns the line of `ip -batch` for each operation. All words of it have to be writable, see {@linkcode unwritableIn}. */
export function ipLines(operations: readonly Operation[]): readonly string[] {
  return operations.map((operation, index) => lineOf(operation, index === operations.length - 1));
}

function lineOf(operation: Operation, isLast: boolean): string {
  switch (operation.kind) {
    case "create-veth":
      return vethLine(operation);
    case "create-bridge":
      return bridgeLine(operation);
    case "create-link":
      return createLine(operation);
    case "set-port":
      return portLine(operation);
    case "set-link":
      return linkLine(operation);
    case "remove-link":
      return `link delete dev ${operation.name}`;
    case "add-address": {
      const { device, replace = false } = operation;
      return `address ${replace ? "replace" : "add"} ${addressWords(operation)} dev ${device}`;
    }
    case "remove-address":
      return `address delete ${formatCidr(operation.address)} dev ${operation.device}`;
    case "set-neighbor": {
      const { device, ip, mac } = operation;
      return `neighbour replace ${formatIp(ip)} lladdr ${mac} dev ${device} nud stale`;
    }
    case "add-route":
      return routeLine(operation);
    case "remove-route":
      return removalLine(operation);
    case "show-routes":
      // `root` and `exact` also select the family.
      return `route show table all ${operation.defaults ? "exact" : "root"} ${
        operation.family === 4 ? "0.0.0.0/0" : "::/0"
      }`;
    case "add-rule":
      return `rule add ${ruleWords(operation)}`;
    case "remove-rule":
      return `rule delete ${ruleWords(operation)}`;
    case "show-rules":
      return "rule show";
    case "find-route":
      return `route get ${formatIp(operation.to)}`;
    case "show-link":
      return `addr show dev ${operation.name}`;
    case "show-links":
      return linksLine(operation, isLast);
  }
}

function vethLine({ name, mac, mtu, bridge, peer }: CreateVeth): string {
  return `link add name ${name} address ${mac}${mtuWords(mtu)}${
    bridge === undefined ? "" : ` master ${bridge}`
  } up type veth ` +
    `peer name ${peer.name} address ${peer.mac}${mtuWords(mtu)}${
      peer.netns === undefined ? "" : ` netns "${peer.netns}"`
    }`;
}

function bridgeLine({ name, mac, mtu, filtersVlans = false }: CreateBridge): string {
  const filtering = filtersVlans ? " vlan_filtering 1" : "";
  return `link add name ${name} address ${mac}${mtuWords(mtu)} type bridge${filtering}`;
}

function createLine({ name, mac, mtu, netns, link }: CreateLink): string {
  return [
    "link add",
    ...("master" in link ? [`link ${link.master}`] : []),
    `name ${name}`,
    ...(mac === undefined ? [] : [`address ${mac}`]),
    ...(mtu === undefined ? [] : [`mtu ${mtu}`]),
    ...(netns === undefined ? [] : [`netns "${netns}"`]),
    `type ${typeWords(link)}`,
  ].join(" ");
}

function typeWords(link: LinkType): string {
  switch (link.type) {
    case "macvlan": {
      const queue = link.broadcastQueue === undefined ? "" : ` bcqueuelen ${link.broadcastQueue}`;
      return `macvlan mode ${link.mode}${queue}`;
    }
    case "ipvlan":
      return `ipvlan mode ${link.mode}`;
    case "vlan":
      return `vlan id ${link.id}`;
    case "dummy":
    case "ifb":
      return link.type;
    case "vrf":
      return `vrf table ${link.table}`;
  }
}

function mtuWords(mtu: number | undefined): string {
  return mtu === undefined ? "" : ` mtu ${mtu}`;
}

function portLine({ name, hairpin, isolated }: SetPort): string {
  return `link set dev ${name} type bridge_slave hairpin ${onOff(hairpin)} isolated ${onOff(isolated)}`;
}

function linkLine(
  { name, newName, netns, master, up, promiscuous, allMulticast, mtu, txQueueLength, mac, alias }: SetLink,
): string {
  return [
    `link set dev ${name}`,
    ...(newName === undefined ? [] : [`name ${newName}`]),
    ...(netns === undefined ? [] : [`netns "${netns}"`]),
    ...(master === undefined ? [] : [master === "" ? "nomaster" : `master ${master}`]),
    ...(up === undefined ? [] : [up ? "up" : "down"]),
    ...(promiscuous === undefined ? [] : [`promisc ${onOff(promiscuous)}`]),
    ...(allMulticast === undefined ? [] : [`allmulticast ${onOff(allMulticast)}`]),
    ...(mtu === undefined ? [] : [`mtu ${mtu}`]),
    ...(txQueueLength === undefined ? [] : [`txqueuelen ${txQueueLength}`]),
    ...(mac === undefined ? [] : [`address ${mac}`]),
    ...(alias === undefined ? [] : [`alias "${alias}"`]),
  ].join(" ");
}

function onOff(on: boolean): string {
  return on ? "on" : "off";
}

function addressWords({ address, detectsDuplicates = false }: AddAddress): string {
  if (address.ip.family === 6) return `${formatCidr(address)}${detectsDuplicates ? "" : " nodad"}`;
  // A network that is too small has no broadcast address.
  return address.prefix >= bitsOf(address.ip) - 1
    ? formatCidr(address)
    : `${formatCidr(address)} broadcast +`;
}

function routeLine({ device, dst, gateway, replace = false, ...more }: AddRoute): string {
  const { metric, table, scope, source, mtu, advmss, protocol } = more;
  const given = { metric, table, scope, protocol, src: source && formatIp(source), mtu, advmss };
  return [
    `route ${replace ? "replace" : "prepend"} ${formatCidr(networkOf(dst))}`,
    ...(gateway === undefined ? [] : [`via ${formatIp(gateway)}`]),
    `dev ${device}`,
    ...Object.entries(given).flatMap(([word, value]) => value === undefined ? [] : [`${word} ${value}`]),
  ].join(" ");
}

function removalLine({ dst, table, metric, hops }: RemoveRoute): string {
  return [
    `route delete ${formatCidr(networkOf(dst))} table ${table ?? "main"}`,
    ...(metric === undefined ? [] : [`metric ${metric}`]),
    ...hops.map((hop) => hopWords(dst, hop, hops.length > 1)),
  ].join(" ");
}

function ruleWords({ source, table, priority }: AddRule | RemoveRule): string {
  const order = priority === undefined ? "" : ` priority ${priority}`;
  return `from ${formatCidr(networkOf(source))} table ${table}${order}`;
}

function hopWords(dst: Cidr, { device, gateway, weight = 1 }: NextHop, isOneOfSeveral: boolean): string {
  const family = gateway === undefined || gateway.family === dst.ip.family
    ? []
    : [`inet${gateway.family === 6 ? 6 : ""}`];
  return [
    ...(isOneOfSeveral ? ["nexthop"] : []),
    ...(gateway === undefined ? [] : ["via", ...family, formatIp(gateway)]),
    `dev ${device}`,
    ...(isOneOfSeveral ? [`weight ${weight}`] : []),
  ].join(" ");
}

/** After `link show`, the same process handles addresses of the link layer only: then it has to be the last line. */
function linksLine(operation: ShowLinks, isLast: boolean): string {
  const { of, bridge, addresses = false } = operation;
  return [
    `${addresses || !isLast ? "addr" : "link"} show`,
    ...(bridge === undefined ? [] : [`master ${bridge}`]),
    ...(of === undefined ? [] : [`type ${of}`]),
  ].join(" ");
}

/**
 * Whether `ip` has to show details, the kinds of interfaces among them. They make the output six times as long, so a list of
 * interfaces that are all of one kind does without them.
 */
export function needsDetails(operations: readonly Operation[]): boolean {
  const [first] = operations;
  const isAlone = operations.length === 1;
  // With addresses, `ip` shows aliases among the details only.
  if (isAlone && first?.kind === "show-links" && first.addresses !== true) return first.of === undefined;
  return operations.some(({ kind }) => kind === "show-link" || kind === "show-links");
}

/**
 * Whether `ip` has to show numbers: a machine may give other names to the tables of rules. Then the words for the types of
 * interfaces are numbers too, so that a call that shows interfaces does without them.
 */
export function needsNumbers(operations: readonly Operation[]): boolean {
  return operations.some(({ kind }) => kind === "show-rules") && !needsDetails(operations);
}

/** Whether `ip` takes the operation only if its flags name the family. */
export function needsFamily6(operation: Operation): boolean {
  switch (operation.kind) {
    case "add-rule":
    case "remove-rule":
      return operation.source.ip.family === 6;
    case "show-rules":
      return operation.family === 6;
    default:
      return false;
  }
}
