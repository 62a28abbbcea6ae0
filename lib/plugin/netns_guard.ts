import { CniError, type CniErrorOptions, ERROR_CODES } from "../cni/error.ts";
import { netnsId } from "../host/netns_path.ts";
import { ownNetnsId } from "../host/own_netns.ts";

/** The variable with which a caller allows its own namespace. */
export const NETNS_OVERRIDE = "CNI_NETNS_OVERRIDE";

/** Options of {@linkcode NetnsGuard}. */
export interface NetnsGuardOptions {
  /** The value of {@linkcode NETNS_OVERRIDE}: `1` or `true` allow the own namespace. @default {undefined} */
  readonly override?: string | undefined;
  /** The identity of the own namespace. @default {ownNetnsId} */
  readonly ownId?: (() => Promise<string | undefined>) | undefined;
}

/**
 * Keeps plugins, and other code that changes a pod's namespace, out of podwire's own namespace: on a node that is the
 * namespace of the host, and a DEL there would remove the host's own interface.
 *
 * Permissions: `--allow-read`; see `ownNetnsId`.
 *
 * Source: CNI plugins, `pkg/skel`, which checks the same for ADD and DEL, but after the plugin has run.
 */
export class NetnsGuard {
  readonly #isOverridden: boolean;
  readonly #ownId: () => Promise<string | undefined>;

  constructor({ override = "", ownId = () => ownNetnsId() }: NetnsGuardOptions = {}) {
    this.#isOverridden = override === "1" || override.toLowerCase() === "true";
    this.#ownId = ownId;
  }

  /** Whether a path leads to the own namespace, under any name. The override has no effect here. */
  async isOwn(netns: string): Promise<boolean> {
    const id = netns === "" ? undefined : await netnsId(netns);
    return id !== undefined && id === await this.#ownId();
  }

  /** Whether plugins may be called with that path. */
  async isAllowed(netns: string): Promise<boolean> {
    return this.#isOverridden || !await this.isOwn(netns);
  }

  /**
   * Refuses a path with which no plugin may be called.
   *
   * @throws {CniError} kind `usage`, code 8
   */
  async requireAllowed(netns: string, context: CniErrorOptions = {}): Promise<void> {
    if (await this.isAllowed(netns)) return;
    throw ownNetnsError(netns, {
      hint: `set the variable ${NETNS_OVERRIDE}=1 to call plugins with it nevertheless`,
      ...context,
    });
  }

  /**
   * Refuses a path on which no sandbox may be created. The override is for single attachments only.
   *
   * @throws {CniError} kind `usage`, code 8
   */
  async requireOther(netns: string): Promise<void> {
    if (!await this.isOwn(netns)) return;
    throw ownNetnsError(netns, {
      hint: "use --host-network for a sandbox in the namespace of the host",
    });
  }
}

function ownNetnsError(netns: string, context: CniErrorOptions): CniError {
  return new CniError("usage", `"${netns}" leads to podwire's own network namespace`, {
    code: ERROR_CODES.invalidNetns,
    ...context,
  });
}
