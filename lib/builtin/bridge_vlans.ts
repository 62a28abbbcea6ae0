import { integer, mapped, openObjectOf, orNull, type Shape, ValidationError } from "../cni/shape.ts";
import type { PortVlans } from "../kernel/port_vlan.ts";
import { FLAG, optionalList } from "./config_shape.ts";

/** The highest number of a VLAN; the one after it is reserved. */
const LAST_ID = 4094;
/** The VLAN of a port with a trunk and without a VLAN of its own, and the one that the kernel gives each port. */
const FIRST_ID = 1;

const ID = orNull(integer(FIRST_ID, LAST_ID));
const TRUNK_ENTRY: Shape<readonly number[]> = mapped(
  openObjectOf({}, { id: ID, minID: ID, maxID: ID }),
  ({ id, minID, maxID }, path) => {
    if (minID === undefined && maxID !== undefined) {
      throw new ValidationError([...path, "minID"], "is missing: minID and maxID belong together");
    }
    if (minID !== undefined && maxID === undefined) {
      throw new ValidationError([...path, "maxID"], "is missing: minID and maxID belong together");
    }
    const [first = 0, last = -1] = [minID, maxID];
    if (minID !== undefined && first > last) {
      throw new ValidationError([...path, "minID"], `is greater than maxID: ${first} and ${last}`);
    }
    const range = Array.from({ length: last - first + 1 }, (_, at) => first + at);
    return id === undefined ? range : [...range, id];
  },
);

/** The members of the configuration about VLANs. */
export const VLAN_MEMBERS = {
  vlan: orNull(integer(0, LAST_ID)),
  vlanTrunk: optionalList(TRUNK_ENTRY),
  preserveDefaultVlan: FLAG,
};

/** The member that a DEL and a GC need. */
export const VLAN: Shape<number | undefined> = integer(0, LAST_ID);

/** What a configuration says of VLANs. */
export interface BridgeVlans {
  /** Whether the bridge has to keep VLANs apart. */
  readonly filters: boolean;
  /** The VLAN of frames without a tag; 0 for none, also if a trunk gives the port one. */
  readonly vlan: number;
  /** What the port is given; empty for nothing. */
  readonly ofPort: readonly PortVlans[];
  /** Whether the port keeps the VLAN that the kernel gives each port. */
  readonly keepsDefault: boolean;
}

/** Reads {@linkcode VLAN_MEMBERS}. */
export function bridgeVlans(
  { vlan = 0, vlanTrunk, preserveDefaultVlan = false }: {
    readonly vlan?: number | undefined;
    readonly vlanTrunk?: readonly (readonly number[])[] | undefined;
    readonly preserveDefaultVlan?: boolean | undefined;
  },
): BridgeVlans {
  const trunk = new Set(vlanTrunk?.flat());
  const native = vlan === 0 && trunk.size > 0 ? FIRST_ID : vlan;
  trunk.delete(native);
  const tagged = rangesOf([...trunk].sort((a, b) => a - b));
  return {
    filters: vlan !== 0 || vlanTrunk !== undefined,
    vlan,
    ofPort: native === 0 ? tagged : [onlyVlan(native), ...tagged],
    keepsDefault: preserveDefaultVlan,
  };
}

/** The VLAN of a port whose frames have no tags. */
export function onlyVlan(id: number): PortVlans {
  return { first: id, last: id, isNative: true, isUntagged: true };
}

function rangesOf(sorted: readonly number[]): readonly PortVlans[] {
  const ranges: PortVlans[] = [];
  for (const id of sorted) {
    const open = ranges.at(-1);
    if (open?.last === id - 1) ranges[ranges.length - 1] = { ...open, last: id };
    else ranges.push({ first: id, last: id, isNative: false, isUntagged: false });
  }
  return ranges;
}

/**
 * Says what is wrong with the VLANs of a port; undefined if nothing is. A port may have the first VLAN beside its own: plugins
 * before 1.8.0 leave it.
 */
export function vlanProblem(
  { ofPort, keepsDefault }: BridgeVlans,
  found: readonly PortVlans[],
): string | undefined {
  const wanted = byId(ofPort);
  const present = byId(found);
  for (const [id, { isNative, isUntagged }] of wanted) {
    const has = present.get(id);
    if (has === undefined) return `does not have the VLAN ${id}`;
    if (has.isNative !== isNative) {
      return `has the VLAN ${id} ${isNative ? "not " : ""}for frames without a tag`;
    }
    if (has.isUntagged !== isUntagged) {
      return `sends frames of the VLAN ${id} with${isUntagged ? "" : "out"} a tag`;
    }
  }
  for (const id of present.keys()) {
    if (!wanted.has(id) && id !== FIRST_ID && !keepsDefault) {
      return `has the VLAN ${id}, which is not its own`;
    }
  }
  return undefined;
}

/** Whether a port has a VLAN. */
export function hasVlan(vlans: readonly PortVlans[], id: number): boolean {
  return vlans.some(({ first, last }) => first <= id && id <= last);
}

function byId(vlans: readonly PortVlans[]): ReadonlyMap<number, PortVlans> {
  return new Map(
    vlans.flatMap((range) =>
      Array.from({ length: range.last - range.first + 1 }, (_, at) => [range.first + at, range] as const)
    ),
  );
}
