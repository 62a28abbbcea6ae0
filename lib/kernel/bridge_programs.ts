import { HostError, runOk } from "../host/command.ts";
import { type IpOptions, runInNetns } from "../host/ip_command.ts";
import type { PortVlanChange, PortVlans } from "./port_vlan.ts";

/** Makes a change by `bridge`. Requires `--allow-run=bridge`. @throws {HostError} */
export async function changeVlansByBridge(change: PortVlanChange, options: IpOptions): Promise<void> {
  const { device, add, replaces = false } = change;
  const before = replaces ? await vlansShown(["dev", device], options) : new Map<string, PortVlans[]>();
  const lines = [
    ...[...before.values()].flat().map((vlans) => `vlan delete dev ${device} ${rangeWords(vlans)}`),
    ...add.map((vlans) =>
      `vlan add dev ${device} ${rangeWords(vlans)}${vlans.isNative ? " pvid" : ""}${
        vlans.isUntagged ? " untagged" : ""
      }`
    ),
  ];
  if (lines.length > 0) await bridge(["-batch", "-"], options, `${lines.join("\n")}\n`);
}

/** Shows the VLANs by the names of the ports, by `bridge`. @throws {HostError} */
export async function vlansByBridge(options: IpOptions): Promise<ReadonlyMap<string, readonly PortVlans[]>> {
  return await vlansShown([], options);
}

/** A port, as `bridge -j` shows it. */
interface Shown {
  readonly ifname?: string;
  readonly vlans?: readonly {
    readonly vlan?: number;
    readonly vlanEnd?: number;
    readonly flags?: readonly string[];
  }[];
}

async function vlansShown(words: readonly string[], options: IpOptions): Promise<Map<string, PortVlans[]>> {
  const args = ["-j", "-compressvlans", "vlan", "show", ...words];
  const text = await bridge(args, options);
  const found = new Map<string, PortVlans[]>();
  for (const { ifname = "", vlans = [] } of parse(text, args)) {
    found.set(
      ifname,
      vlans.flatMap(({ vlan: first, vlanEnd: last = first, flags = [] }) => {
        if (first === undefined || last === undefined) return [];
        return [{
          ...{ first, last },
          isNative: flags.includes("PVID"),
          isUntagged: flags.includes("Egress Untagged"),
        }];
      }),
    );
  }
  return found;
}

function parse(text: string, args: readonly string[]): readonly Shown[] {
  try {
    return text.trim() === "" ? [] : JSON.parse(text);
  } catch (cause) {
    const message = `Cannot read the output of "bridge ${args.join(" ")}": not JSON`;
    throw new HostError(message, { reason: "bad-output", program: "bridge", args, code: 0, cause });
  }
}

function rangeWords({ first, last }: PortVlans): string {
  return `vid ${first === last ? first : `${first}-${last}`}`;
}

async function bridge(args: readonly string[], options: IpOptions, stdin?: string): Promise<string> {
  const request = { program: "bridge", args, stdin, signal: options.signal, ownGroup: false };
  return (await runOk((request) => runInNetns(request, options), request)).stdout;
}
