import type { InsideSandbox } from "./inside_sandbox.ts";

/** A sandbox as the others on one network see it. */
export interface Member {
  /** The container ID. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  /** All of its networks, in the order of attachment. */
  readonly networks: readonly string[];
  /** Its addresses in this network. */
  readonly addresses: readonly string[];
  /** Its other names in this network. */
  readonly aliases: readonly string[];
}

/** Neither a space, which ends a name, nor the comma, which ends one in a line. */
const WORD = /^[!-+\--~]+$/;

/** Returns what each of the networks of a sandbox has of it, by the name of the network. */
export function membersOf(
  { id, name, namespace, networks }: InsideSandbox,
): ReadonlyMap<string, Member> {
  const names = [...new Set(networks.map(({ network }) => network))];
  return new Map(names.map((of) => {
    const here = networks.filter(({ network }) => network === of);
    const words = (texts: readonly string[]) => [...new Set(texts)].filter((text) => WORD.test(text));
    return [of, {
      ...{ id, namespace, name, networks: names },
      addresses: words(here.flatMap(({ addresses }) => addresses)),
      aliases: words(here.flatMap(({ aliases }) => aliases)),
    }];
  }));
}

/** Prints a member as one line without its end. */
export function printMember({ id, namespace, name, networks, addresses, aliases }: Member): string {
  return [id, namespace, name, networks.join(","), addresses.join(","), aliases.join(",")].join("\t");
}

/** Reads such a line; undefined if it is not one. */
export function parseMember(line: string): Member | undefined {
  const parts = line.split("\t");
  const [id, namespace, name, networks, addresses, aliases] = parts;
  if (!id || !namespace || !name || networks === undefined || addresses === undefined) return undefined;
  if (aliases === undefined || parts.length !== 6) return undefined;
  return {
    ...{ id, namespace, name },
    networks: words(networks),
    addresses: words(addresses),
    aliases: words(aliases),
  };
}

function words(text: string): readonly string[] {
  return text === "" ? [] : text.split(",");
}
