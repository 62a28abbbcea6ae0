import type { CallOptions } from "../async/call_options.ts";
import { call } from "../errors/call.ts";
import type { CreatedNetwork } from "../network/create_network.ts";
import type { NetworkRequest } from "../network/network_request.ts";
import { Networks } from "../network/networks.ts";
import type { NetworkChange } from "../network/set_network.ts";
import type { Network } from "../network/view_network.ts";
import type { RuntimeContext } from "./context.ts";

/** The operations on networks that all runtimes have in common. */
export class NetworkOperations {
  readonly #networks: Networks;

  /** Called by the composition root, and by the classes that have more operations. */
  constructor({ networks, readOnlyCatalog }: Pick<RuntimeContext, "networks" | "readOnlyCatalog">) {
    // Read again for each call: what another process has just created has a name and a subnet already.
    this.#networks = new Networks(networks, readOnlyCatalog);
  }

  /**
   * Writes the configuration of a network into the configuration directory, whole or not at all. Any CNI runtime can use the
   * file. Nothing else changes: the interfaces of the host are made with the first container.
   *
   * Permissions: those of `Podwire.networks`, `--allow-write` for the configuration directory, and
   * `--allow-run=ip` or the whole `--allow-ffi` to see which subnets this host uses.
   *
   * @throws {CniError} kind `usage` with the `path` of a wrong member, or `conflict` for a name or a subnet that is taken
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const podwire = new Podwire();
   * const { file, warnings } = await podwire.createNetwork({ name: "back", internal: true });
   * console.log(file, warnings);
   * await podwire.sandboxes.run({ name: "db", networks: [{ name: "back" }] });
   * ```
   */
  async createNetwork(request: NetworkRequest, options: CallOptions = {}): Promise<CreatedNetwork> {
    return await call(options, () => this.#networks.create(request, options));
  }

  /**
   * Removes a network that {@linkcode NetworkOperations.createNetwork} made: its file, and its bridge. Files of others stay.
   *
   * Permissions: those of {@linkcode NetworkOperations.createNetwork}, and root.
   *
   * @throws {CniError} kind `not-found`, `usage` for a file that podwire has not made, or `conflict` while a container is
   * attached
   */
  async removeNetwork(name: string, options: CallOptions = {}): Promise<void> {
    await call(options, async () => {
      await this.#networks.remove(name, options);
    });
  }

  /**
   * Changes the embedded network: the MTU of containers that are attached from now on. It is remembered in the state
   * directory. What is attached stays as it is.
   *
   * Permissions: those of `Podwire.networks`, and `--allow-write` for the state directory.
   *
   * @throws {CniError} kind `not-found`, or `usage` for a wrong value and for a network with a file, which says its MTU
   *
   * @example
   * ```ts
   * import { Podwire } from "./podwire.ts";
   *
   * const podwire = new Podwire();
   * await podwire.setNetwork("podwire", { mtu: 1420 });
   * console.log((await podwire.inspectNetwork("podwire")).mtu);
   * ```
   */
  async setNetwork(name: string, change: NetworkChange, options: CallOptions = {}): Promise<void> {
    await call(options, () => this.#networks.set(name, change, options));
  }

  /**
   * Returns one network: its configuration, its subnets, and the containers that are attached to it.
   *
   * Permissions: as `Podwire.networks` and `Podwire.attachments`.
   *
   * @throws {CniError} kind `not-found`
   */
  async inspectNetwork(name: string, options: CallOptions = {}): Promise<Network> {
    return await call(options, () => this.#networks.get(name, options));
  }

  /**
   * Returns all networks that pods can use, as {@linkcode NetworkOperations.inspectNetwork} does.
   *
   * Permissions: as that.
   *
   * @throws {CniError} if the directory or the records cannot be read
   */
  async listNetworks(options: CallOptions = {}): Promise<readonly Network[]> {
    return await call(options, () => this.#networks.list(options));
  }
}
