import type { CallOptions } from "../async/call_options.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { EMBEDDED_FILE } from "../catalog/embedded_network.ts";
import { parseCidr } from "../cni/address.ts";
import type { NetworkConfigList } from "../cni/config.ts";
import { CniError } from "../cni/error.ts";
import type { EmbeddedMtu } from "./embedded_mtu.ts";
import { mtuProblem } from "./mtu.ts";
import { subnetTexts } from "./network_subnets.ts";
import { findNetwork } from "./remove_network.ts";

/** What {@linkcode setNetwork} changes of a network. */
export interface NetworkChange {
  /** The largest packet of containers that are attached from now on, in bytes; null for that of the default route. */
  readonly mtu: number | null;
}

/** What {@linkcode setNetwork} works with. */
export interface SetNetworkContext {
  readonly catalog: (signal?: AbortSignal) => Promise<Catalog>;
  readonly embeddedMtu: Pick<EmbeddedMtu, "set">;
  /** Throws if a newer version of podwire wrote the state directory. */
  readonly requireWritable: () => Promise<void>;
}

/**
 * Changes the embedded network for containers that are attached from now on. What is attached stays as it is. A network with a
 * file is changed in the file.
 *
 * @throws {CniError} kind `not-found`, or `usage`
 */
export async function setNetwork(
  name: string,
  { mtu }: NetworkChange,
  { catalog, embeddedMtu, requireWritable }: SetNetworkContext,
  { signal }: CallOptions = {},
): Promise<void> {
  const { file, list } = findNetwork(await catalog(signal), name);
  if (file !== EMBEDDED_FILE) {
    throw new CniError("usage", `Cannot set the MTU of the network "${name}": its file says it`, {
      file,
      hint: 'change "mtu" in the file',
    });
  }
  const problem = mtu === null ? undefined : mtuProblem(mtu, hasIpv6(list));
  if (problem !== undefined) throw new CniError("usage", `mtu: ${problem}`, { path: "mtu" });
  await requireWritable();
  await embeddedMtu.set(mtu ?? undefined);
}

function hasIpv6(list: NetworkConfigList): boolean {
  return subnetTexts(list).some((text) => parseCidr(text)?.ip.family === 6);
}
