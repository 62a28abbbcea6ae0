import type { Member } from "./member.ts";

/** One network of a sandbox, as its `hosts` file shows it. */
export interface HostsNetwork {
  /** The name of the network. */
  readonly network: string;
  /** The sandbox itself. */
  readonly own: Member;
  /** All sandboxes on the network; undefined if they are too many to be listed. */
  readonly members: MemberLines | undefined;
}

const HEAD = `# podwire made this file, and makes it anew when a sandbox on the same network comes or goes.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** No sandbox takes these names. */
const LOOPBACK_NAMES: readonly string[] = [
  "localhost",
  "ip6-localhost",
  "ip6-loopback",
  "localhost.localdomain",
];

/**
 * Returns the text of the `hosts` file of a sandbox: its own names first, then those of the others on its networks. The names
 * of sandboxes of another namespace are followed by that namespace.
 */
export function hostsText(networks: readonly HostsNetwork[]): string {
  const own = networks.map(({ own }) => linesOf(own, own.namespace));
  const others = networks.map(({ network, own: { id, namespace }, members }) => {
    if (members === undefined) {
      return `# too many sandboxes are on the network ${network} to be listed here\n`;
    }
    return members.without(id, namespace);
  });
  return [HEAD, ...own, ...others].join("");
}

/** The lines of all sandboxes on one network, which are the same for all that read them from one namespace. */
export class MemberLines {
  readonly #members: readonly Member[];
  readonly #seenFrom = new Map<string, readonly { readonly id: string; readonly lines: string }[]>();

  constructor(members: Iterable<Member>) {
    this.#members = [...members];
  }

  /** Returns the lines of the others, as they are read from a namespace. */
  without(id: string, namespace: string): string {
    const seen = this.#seenFrom.get(namespace) ??
      this.#members.map((member) => ({ id: member.id, lines: linesOf(member, namespace) }));
    this.#seenFrom.set(namespace, seen);
    let text = "";
    for (const other of seen) if (other.id !== id) text += other.lines;
    return text;
  }
}

function linesOf({ name, namespace, addresses, aliases }: Member, seenFrom: string): string {
  const long = `${name}.${namespace}`;
  // Another namespace may have its own sandbox of that name, or with that alias.
  const all = namespace === seenFrom
    ? [name, long, ...aliases]
    : [long, ...aliases.map((alias) => `${alias}.${namespace}`)];
  const names = all.filter((name, index) => all.indexOf(name) === index && !LOOPBACK_NAMES.includes(name));
  return addresses.map((address) => `${address}\t${names.join(" ")}\n`).join("");
}
