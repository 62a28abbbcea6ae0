/**
 * Random steps of two owners over the same namespaces: plain data, so that a history can be printed and
 * shortened.
 */
import type { Random } from "../cni/random.ts";

/** The two installations that act on the namespaces; they know nothing of each other. */
export type Owner = "a" | "b";

/** A namespace; `own` is podwire's own. */
export type Place = "x" | "y" | "z" | "own";

/** Kinds of links that others make. */
export type ForeignKind = "veth" | "bridge" | "port" | "tap";

/** An interface of a network. */
export interface Wanted {
  readonly network: string;
  readonly ifName: string;
}

interface Attachment extends Wanted {
  readonly by: Owner;
  /** The number of the container. */
  readonly id: number;
  readonly place: Place;
  /** Whether the path is a symbolic link to that of the namespace. */
  readonly viaLink: boolean;
}

/** One step. */
export type Step =
  | ({ readonly do: "add" | "del" | "check" } & Attachment)
  | {
    readonly do: "run";
    readonly by: Owner;
    readonly id: number;
    readonly networks: readonly Wanted[];
    /** Undefined for a new namespace. */
    readonly place: Place | undefined;
    readonly sysctl: boolean;
    readonly replace: boolean;
  }
  | { readonly do: "stop" | "rm"; readonly by: Owner; readonly id: number; readonly force: boolean }
  | { readonly do: "gc"; readonly by: Owner; readonly how: "plain" | "all" | "valid" | "dry" }
  | { readonly do: "recover"; readonly by: Owner }
  /** The namespace is removed, and another one gets its name, perhaps with a foreign link. */
  | { readonly do: "again"; readonly place: Place; readonly eth0: ForeignKind | undefined }
  /** A link is renamed, and perhaps another one gets its name. */
  | {
    readonly do: "rename";
    readonly place: Place;
    readonly ifName: string;
    readonly decoy: ForeignKind | undefined;
  }
  | { readonly do: "move"; readonly place: Place; readonly ifName: string; readonly to: Place }
  /** Others make a link, or remove theirs. */
  | { readonly do: "foreign"; readonly place: Place; readonly ifName: string; readonly kind: ForeignKind };

/** What steps choose from. */
export interface Choices {
  /** The networks, without the mark of their owner. */
  readonly networks: readonly string[];
}

const PLACES: readonly Place[] = ["x", "y", "z"];
/** The last one is a name of foreign links only. */
const NAMES = ["eth0", "eth0", "eth0", "eth1", "keep0"];
const KINDS: readonly ForeignKind[] = ["veth", "bridge", "port", "tap"];
const HOW = ["plain", "all", "valid", "dry"] as const;

/** A history of steps. Most detaching and checking is of what earlier steps wanted to attach. */
export function stepsOf(random: Random, { networks }: Choices): readonly Step[] {
  const steps: Step[] = [];
  const added: Attachment[] = [];
  const by = (): Owner => random.one(["a", "b"]);
  const ifName = () => random.one(NAMES);
  const place = (): Place => random.chance(6) ? "own" : random.one(PLACES);
  const kind = () => random.chance(70) ? random.one(KINDS) : undefined;
  const attachment = (): Attachment => ({
    by: by(),
    id: random.below(2),
    network: random.one(networks),
    ifName: ifName(),
    place: place(),
    viaLink: random.chance(20),
  });
  const earlier = (): Attachment => {
    if (added.length === 0 || random.chance(25)) return attachment();
    const known = random.one(added);
    // What was never attached: another interface, network, path or container.
    if (!random.chance(25)) return known;
    const other = attachment();
    return {
      ...known,
      ...random.one([{ ifName: other.ifName }, { network: other.network }, { place: other.place }, {
        id: other.id,
      }]),
    };
  };
  const add = (): Step => {
    const wanted = attachment();
    added.push(wanted);
    return { do: "add", ...wanted };
  };
  const run = (): Step => {
    const wanted = Array.from({ length: 1 + random.below(2) }, (_, index) => ({
      network: random.one(networks),
      ifName: random.chance(85) ? `eth${index}` : ifName(),
    }));
    return {
      do: "run",
      by: by(),
      id: random.below(2),
      networks: wanted,
      place: random.chance(60) ? place() : undefined,
      sysctl: random.chance(30),
      replace: random.chance(20),
    };
  };
  const makers: readonly (readonly [weight: number, make: () => Step])[] = [
    [26, add],
    [14, () => ({ do: "del", ...earlier() })],
    [5, () => ({ do: "check", ...earlier() })],
    [14, run],
    [
      9,
      () => ({
        do: random.chance(75) ? "rm" : "stop",
        by: by(),
        id: random.below(2),
        force: random.chance(50),
      }),
    ],
    [9, () => ({ do: "gc", by: by(), how: random.one(HOW) })],
    [5, () => ({ do: "recover", by: by() })],
    [5, () => ({ do: "again", place: random.one(PLACES), eth0: kind() })],
    [
      5,
      () => ({
        do: "rename",
        place: random.one(PLACES),
        ifName: random.one(["eth0", "eth1"]),
        decoy: kind(),
      }),
    ],
    [
      4,
      () => ({
        do: "move",
        place: random.one(PLACES),
        ifName: random.one(["eth0", "eth1"]),
        to: random.one(PLACES),
      }),
    ],
    [4, () => ({ do: "foreign", place: random.one(PLACES), ifName: ifName(), kind: random.one(KINDS) })],
  ];
  const total = makers.reduce((sum, [weight]) => sum + weight, 0);
  for (let left = 6 + random.below(9); left > 0; left--) {
    let number = random.below(total);
    const [, make] = makers.find(([weight]) => (number -= weight) < 0) ?? makers[0]!;
    steps.push(make());
  }
  return steps;
}
