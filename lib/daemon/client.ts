import type { CallOptions } from "../async/call_options.ts";
import { isObject, type JsonObject, printJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { NetworkRequest } from "../network/network_request.ts";
import type { NetworkChange } from "../network/set_network.ts";
import type { Network } from "../network/view_network.ts";
import type { WantedNetwork } from "../pod/request.ts";
import type { SettingTable } from "../pod/setting.ts";
import { SETTINGS } from "../pod/settings.ts";
import type { ConnectOptions, DisconnectOptions } from "../sandbox/connect.ts";
import { type DisposableSandbox, withRemoval } from "../sandbox/disposable.ts";
import type { SandboxFilter } from "../sandbox/filter.ts";
import type { FindOptions } from "../sandbox/find_sandbox.ts";
import type { SandboxRequest } from "../sandbox/request.ts";
import type { Sandbox } from "../sandbox/view.ts";
import { DaemonConnection, parsedJson } from "./daemon_connection.ts";
import { dataOfEvents } from "./event_stream.ts";

/** One thing that happened on the machine of the daemon. */
export interface DaemonEvent extends JsonObject {
  /**
   * `sandbox`, `attachment`, `catalogue` (the networks changed), `status` (the readiness of one changed) or `dhcp` (a DHCP
   * daemon or a lease changed).
   */
  readonly type: string;
  /** When it happened, in ISO 8601. */
  readonly time: string;
}

/** How {@linkcode DaemonClient.remove} removes a sandbox. */
export interface DaemonRemoveOptions extends FindOptions {
  /** Whether the sandbox is forgotten even if not everything could be torn down. @default {false} */
  readonly force?: boolean | undefined;
}

/**
 * A client of the daemon that serves at a Unix socket (`podwire serve`). Each call uses a connection of its own.
 *
 * Permissions: `--allow-read` and `--allow-write` for the socket; from Deno 2.9 on `--allow-net=unix:PATH` too.
 *
 * @example
 * ```ts
 * import { DaemonClient } from "./client.ts";
 *
 * const client = new DaemonClient("/run/podwire/podwire.sock");
 * const { id, ips } = await client.run({ name: "web" }, { signal: AbortSignal.timeout(30_000) });
 * console.log(ips, (await client.list()).length);
 * await client.remove(id);
 * ```
 */
export class DaemonClient {
  readonly #daemon: DaemonConnection;

  /** Creates a client of the socket at that path; connects at each call. */
  constructor(socket: string) {
    this.#daemon = new DaemonConnection(socket);
  }

  /**
   * Lets the daemon create a sandbox, or hand out one that is ready. If the signal fires first, the connection is closed, and
   * the daemon undoes what it did. With `await using` the sandbox is removed at the end of the block.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} the error of the daemon; kind `not-ready` if no daemon serves, `io` if it ended before it answered
   */
  async run(request: SandboxRequest, options: CallOptions = {}): Promise<DisposableSandbox> {
    const body = printJson(bodyOf(request));
    const sandbox = await this.#daemon.ask({ method: "POST", target: "/v1/sandboxes", body }, options);
    return withRemoval(sandbox as unknown as Sandbox, (id) => this.remove(id));
  }

  /**
   * Returns the sandboxes that match the filter, oldest first.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as {@linkcode DaemonClient.run}
   */
  async list(filter: SandboxFilter = {}, options: CallOptions = {}): Promise<readonly Sandbox[]> {
    const { labels, ...members } = filter;
    const label = labels && Object.entries(labels)
      .map(([key, value]) => value === undefined ? key : `${key}=${value}`).join(",");
    const target = `/v1/sandboxes${queryOf({ ...members, label: label === "" ? undefined : label })}`;
    return await this.#daemon.ask(
      { method: "GET", target, isAnswer: Array.isArray },
      options,
    ) as unknown as readonly Sandbox[];
  }

  /**
   * Returns one sandbox, by name, ID or unambiguous prefix of an ID.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`, or as {@linkcode DaemonClient.run}
   */
  async get(nameOrId: string, { namespace, signal }: FindOptions = {}): Promise<Sandbox> {
    const target = `${pathOf(nameOrId)}${queryOf({ namespace })}`;
    return await this.#daemon.ask({ method: "GET", target }, { signal }) as unknown as Sandbox;
  }

  /**
   * Tears down the networks of a sandbox, keeps its record, and returns it. What could not be torn down is logged by the
   * daemon, and stays among the attachments.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`, or as {@linkcode DaemonClient.run}
   */
  async stop(nameOrId: string, { namespace, signal }: FindOptions = {}): Promise<Sandbox> {
    const target = `${pathOf(nameOrId)}/stop${queryOf({ namespace })}`;
    return await this.#daemon.ask({ method: "POST", target, body: "{}" }, { signal }) as unknown as Sandbox;
  }

  /**
   * Tears down a sandbox and forgets it. A sandbox that does not exist counts as success.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} what could not be torn down unless `force`, or as {@linkcode DaemonClient.run}
   */
  async remove(
    nameOrId: string,
    { namespace, force = false, signal }: DaemonRemoveOptions = {},
  ): Promise<void> {
    const target = `${pathOf(nameOrId)}${queryOf({ namespace, force: force ? "true" : undefined })}`;
    await this.#daemon.ask({ method: "DELETE", target, isAnswer: (json) => json === undefined }, { signal });
  }

  /**
   * Connects a ready sandbox to one more network, or changes nothing; returns the sandbox.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as `Sandboxes.connect`, or as {@linkcode DaemonClient.run}
   */
  async connect(
    nameOrId: string,
    network: WantedNetwork,
    { namespace, allowOverlap, signal }: ConnectOptions = {},
  ): Promise<Sandbox> {
    const target = `${pathOf(nameOrId)}/networks${queryOf({ namespace })}`;
    const body = printJson({
      ...membersOf(network, SETTINGS) as JsonObject,
      ...(allowOverlap && { allowOverlap }),
    });
    return await this.#daemon.ask({ method: "POST", target, body }, { signal }) as unknown as Sandbox;
  }

  /**
   * Disconnects a sandbox from a network, and returns the sandbox. That it is not connected counts as success; what could not be
   * detached is logged by the daemon, and stays among the attachments.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found` if there is no such sandbox, or as {@linkcode DaemonClient.run}
   */
  async disconnect(
    nameOrId: string,
    network: string,
    { namespace, ifName, signal }: Omit<DisconnectOptions, "missingOk"> = {},
  ): Promise<Sandbox> {
    const target = `${pathOf(nameOrId)}/networks/${encodeURIComponent(network)}${
      queryOf({ namespace, ifName })
    }`;
    return await this.#daemon.ask({ method: "DELETE", target }, { signal }) as unknown as Sandbox;
  }

  /**
   * Lets the daemon create a network, and returns it.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as `Podwire.createNetwork`, or as {@linkcode DaemonClient.run}
   */
  async createNetwork(request: NetworkRequest, options: CallOptions = {}): Promise<Network> {
    const body = JSON.stringify(request);
    const ask = { method: "POST", target: "/v1/networks", body };
    return await this.#daemon.ask(ask, options) as unknown as Network;
  }

  /**
   * Returns one network with the containers that are attached to it.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} kind `not-found`, or as {@linkcode DaemonClient.run}
   */
  async inspectNetwork(name: string, options: CallOptions = {}): Promise<Network> {
    const target = `/v1/networks/${encodeURIComponent(name)}`;
    return await this.#daemon.ask({ method: "GET", target }, options) as unknown as Network;
  }

  /**
   * Changes the embedded network for containers that are attached from now on, and returns it.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as `Podwire.setNetwork`, or as {@linkcode DaemonClient.run}
   */
  async setNetwork(name: string, change: NetworkChange, options: CallOptions = {}): Promise<Network> {
    const target = `/v1/networks/${encodeURIComponent(name)}`;
    const ask = { method: "POST", target, body: JSON.stringify(change) };
    return await this.#daemon.ask(ask, options) as unknown as Network;
  }

  /**
   * Removes a network that was created so.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as `Podwire.removeNetwork`, or as {@linkcode DaemonClient.run}
   */
  async removeNetwork(name: string, options: CallOptions = {}): Promise<void> {
    const target = `/v1/networks/${encodeURIComponent(name)}`;
    await this.#daemon.ask({ method: "DELETE", target, isAnswer: (json) => json === undefined }, options);
  }

  /**
   * Yields what happens to sandboxes, attachments and networks from now on. The iteration ends when the daemon ends, and when
   * the reader is so slow that the daemon drops it.
   *
   * Permissions: those of the class.
   *
   * @throws {CniError} as {@linkcode DaemonClient.run}, or with the reason of the signal
   *
   * @example
   * ```ts
   * import { DaemonClient } from "./client.ts";
   *
   * const client = new DaemonClient("/run/podwire/podwire.sock");
   * for await (const { type, time } of client.events()) console.log(time, type);
   * ```
   */
  async *events({ signal }: CallOptions = {}): AsyncGenerator<DaemonEvent> {
    try {
      using text = await this.#daemon.stream("/v1/events", { signal });
      for await (const data of dataOfEvents(text.lines)) {
        const event = parsedJson(data);
        if (isObject(event)) yield event as DaemonEvent;
      }
    } catch (error) {
      throw asCniError(error);
    }
  }
}

/** Returns the body of a request as {@linkcode RUN_BODY} reads it. */
export function bodyOf(
  { source = { kind: "new" }, ...request }: SandboxRequest,
  table: SettingTable = SETTINGS,
): JsonObject {
  const { networks, ...rest } = request;
  const body = {
    ...rest,
    networks: networks === undefined || networks === "none"
      ? networks
      : networks.map((network) => membersOf(network, table)),
    netns: source.kind === "path" ? source.path : undefined,
    pid: source.kind === "pid" ? source.pid : undefined,
    hostNetwork: source.kind === "host" || source.kind === "infra" && source.hostNetwork ? true : undefined,
    infra: source.kind === "infra" ? true : undefined,
    runtime: source.kind === "infra" ? source.runtime : undefined,
  };
  return membersOf(body, table) as JsonObject;
}

/** Returns the members that are given, as the daemon reads them. */
function membersOf(settings: object, table: SettingTable): object {
  const members = Object.entries(settings).flatMap(([member, value]) => {
    const toBody = table[member]?.toBody;
    return value === undefined ? [] : [[member, toBody === undefined ? value : toBody(value)]];
  });
  return Object.fromEntries(members);
}

function pathOf(nameOrId: string): string {
  return `/v1/sandboxes/${encodeURIComponent(nameOrId)}`;
}

function queryOf(members: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(members).filter((member): member is [string, string] =>
    member[1] !== undefined
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}
