import type { CallOptions } from "../async/call_options.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { type AttachmentFilter, findAttachments } from "../state/attachment_filter.ts";
import type { AttachmentRecord } from "../state/attachment_store.ts";
import { type CreatedNetwork, createNetwork, type CreateNetworkContext } from "./create_network.ts";
import type { NetworkRequest } from "./network_request.ts";
import { findNetwork, removeNetwork, type RemoveNetworkContext } from "./remove_network.ts";
import { type NetworkChange, setNetwork, type SetNetworkContext } from "./set_network.ts";
import { type Network, viewNetwork } from "./view_network.ts";

/** The dependencies of {@linkcode Networks}. */
export interface NetworksContext
  extends
    Omit<CreateNetworkContext, "catalog">,
    Omit<RemoveNetworkContext, "catalog" | "store">,
    Omit<SetNetworkContext, "catalog"> {
  readonly store: RemoveNetworkContext["store"] & Parameters<typeof findAttachments>[1]["store"];
  readonly failed: Parameters<typeof findAttachments>[1]["failed"];
}

/** Creates, shows and removes networks: the files of the configuration directory. */
export class Networks {
  readonly #context: NetworksContext;
  readonly #catalog: (signal?: AbortSignal) => Promise<Catalog>;

  /** `catalog` returns the networks as they are configured now. */
  constructor(context: NetworksContext, catalog: (signal?: AbortSignal) => Promise<Catalog>) {
    this.#context = context;
    this.#catalog = catalog;
  }

  /** See {@linkcode createNetwork}. */
  async create(request: NetworkRequest, options: CallOptions = {}): Promise<CreatedNetwork> {
    return await createNetwork(request, { ...this.#context, catalog: this.#catalog }, options);
  }

  /** See {@linkcode setNetwork}. */
  async set(name: string, change: NetworkChange, options: CallOptions = {}): Promise<void> {
    await setNetwork(name, change, { ...this.#context, catalog: this.#catalog }, options);
  }

  /** See {@linkcode removeNetwork}. */
  async remove(name: string, options: CallOptions = {}): Promise<string> {
    return await removeNetwork(name, { ...this.#context, catalog: this.#catalog }, options);
  }

  /**
   * Returns one network with its containers.
   *
   * @throws {CniError} kind `not-found`
   */
  async get(name: string, { signal }: CallOptions = {}): Promise<Network> {
    const catalog = await this.#catalog(signal);
    const { list } = findNetwork(catalog, name);
    return viewOf(catalog, list.name, await this.#attachments({ network: name }));
  }

  /** Returns all networks that pods can use, in the order of their files, each with its containers. */
  async list({ signal }: CallOptions = {}): Promise<readonly Network[]> {
    const catalog = await this.#catalog(signal);
    const byNetwork = Map.groupBy(await this.#attachments({}), ({ network }) => network);
    return catalog.entries.filter(isInUse).map(({ name = "" }) =>
      viewOf(catalog, name, byNetwork.get(name) ?? [])
    );
  }

  async #attachments(filter: AttachmentFilter): Promise<readonly AttachmentRecord[]> {
    return await findAttachments(filter, this.#context);
  }
}

function isInUse({ status }: Catalog["entries"][number]): boolean {
  return status === "used" || status === "stale";
}

function viewOf(catalog: Catalog, name: string, records: readonly AttachmentRecord[]): Network {
  const { file, list } = findNetwork(catalog, name);
  return viewNetwork({ file, default: catalog.defaultName === name }, list, records);
}
