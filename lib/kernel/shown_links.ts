import type { LinkAddress, LinkInfo } from "../host/link_info.ts";
import { readAddress } from "./address_answer.ts";
import { listAddresses } from "./address_request.ts";
import { type AnsweredLink, readLink } from "./link_answer.ts";
import { getLink, listLinks } from "./link_request.ts";
import { NetlinkFormatError } from "./netlink_reader.ts";
import { NetlinkError } from "./netlink_reply.ts";
import type { NetlinkSocket } from "./netlink_socket.ts";
import type { ShowLinks } from "./operation.ts";

/**
 * Returns an interface, by its index, its name, or an alternative name.
 *
 * @throws {NetlinkError} If there is none.
 */
export async function findLink(socket: NetlinkSocket, which: number | string): Promise<AnsweredLink> {
  const found: AnsweredLink[] = [];
  await socket.get(getLink(which), (message, reader) => {
    const link = readLink(message, reader);
    if (link !== undefined) found.push(link);
  });
  const [link] = found;
  if (link === undefined) throw new NetlinkFormatError("it is not about an interface");
  return link;
}

/** Shows one interface, with its addresses. @throws {NetlinkError} */
export async function showLink(socket: NetlinkSocket, name: string): Promise<LinkInfo> {
  const link = await findLink(socket, name);
  const addresses = await addressesOf(socket, link.index);
  return await shown(link, new LinkNames(socket, [link]), addresses.get(link.index));
}

/** Shows interfaces, see {@linkcode ShowLinks}. @throws {NetlinkError} */
export async function showLinks(
  socket: NetlinkSocket,
  { of, bridge, addresses = false, traffic }: ShowLinks,
): Promise<readonly LinkInfo[]> {
  const master = bridge === undefined ? undefined : (await findLink(socket, bridge)).index;
  const links = await listed(socket, listLinks({ kind: of, master }), (message, reader) => {
    return readLink(message, reader, traffic);
  });
  const known = addresses ? await addressesOf(socket) : undefined;
  const names = new LinkNames(socket, links);
  const result: LinkInfo[] = [];
  for (const link of links) {
    // The kernel may know no such filter.
    if (of !== undefined && link.kind !== of || master !== undefined && link.masterIndex !== master) continue;
    const one = of === undefined ? link : { ...link, port: undefined };
    result.push(await shown(one, names, known?.get(link.index)));
  }
  return result;
}

async function shown(
  { masterIndex, parentIndex, ...link }: AnsweredLink,
  names: LinkNames,
  addresses: readonly LinkAddress[] = [],
): Promise<LinkInfo> {
  return { ...link, parent: await names.of(parentIndex), master: await names.of(masterIndex), addresses };
}

/** The names of interfaces, some of which are known already. */
export class LinkNames {
  readonly #socket: NetlinkSocket;
  readonly #known: Map<number, string>;

  constructor(socket: NetlinkSocket, links: readonly AnsweredLink[]) {
    this.#socket = socket;
    this.#known = new Map(links.map(({ index, name }) => [index, name]));
  }

  /** The name of an interface, as `ip` prints it if it is gone; empty for the index 0. */
  async of(index: number): Promise<string> {
    if (index === 0) return "";
    const known = this.#known.get(index);
    if (known !== undefined) return known;
    const name = await findLink(this.#socket, index).then(({ name }) => name, (error: unknown) => {
      if (error instanceof NetlinkError && error.errno === "ENODEV") return `if${index}`;
      throw error;
    });
    this.#known.set(index, name);
    return name;
  }
}

/** The addresses by the index of their interface; only those of one interface if an index is given. */
async function addressesOf(socket: NetlinkSocket, index = 0): Promise<ReadonlyMap<number, LinkAddress[]>> {
  const found = new Map<number, LinkAddress[]>();
  for (const { index: of, ...address } of await listed(socket, listAddresses(index), readAddress)) {
    const list = found.get(of);
    if (list === undefined) found.set(of, [address]);
    else list.push(address);
  }
  return found;
}

/** The entries of a list of the kernel that `read` can read. @throws {NetlinkError} */
export async function listed<T>(
  socket: NetlinkSocket,
  request: Parameters<NetlinkSocket["list"]>[0],
  read: (...message: Parameters<ReturnType<Parameters<NetlinkSocket["list"]>[1]>>) => T | undefined,
): Promise<readonly T[]> {
  let entries: T[] = [];
  await socket.list(request, () => {
    entries = [];
    return (message, reader) => {
      const entry = read(message, reader);
      if (entry !== undefined) entries.push(entry);
    };
  });
  return entries;
}
