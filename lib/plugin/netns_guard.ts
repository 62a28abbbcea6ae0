import { netnsId } from "../host/netns.ts";
import { ownNetnsId } from "../host/own_netns.ts";
import { CniError, type CniErrorOptions, ERROR_CODES } from "../cni/error.ts";

/** The variable by which a caller says that its own namespace is meant. */
export const NETNS_OVERRIDE = "CNI_NETNS_OVERRIDE";

/** Options of {@linkcode NetnsGuard}. */
export interface NetnsGuardOptions {
  /** The value of {@linkcode NETNS_OVERRIDE}: `1` or `true` let the own namespace be used. @default {undefined} */
  readonly override?: string | undefined;
  /** The identity of the own namespace. @default {ownNetnsId} */
  readonly ownId?: (() => Promise<string | undefined>) | undefined;
}

/**
 * Keeps plugins, and what else changes a pod's namespace, out of the one that podwire itself is in: on a node that is
 * the host's, and a DEL there removes the host's own interface.
 *
 * Permissions: `--allow-read`; see `ownNetnsId`.
 *
 * Source: CNI plugins, `pkg/skel`, which does the same, for ADD and DEL, after the plugin has run.
 */
export class NetnsGuard {
  readonly #isOverridden: boolean;
  readonly #ownId: () => Promise<string | undefined>;

  constructor({ override = "", ownId = () => ownNetnsId() }: NetnsGuardOptions = {}) {
    this.#isOverridden = override === "1" || override.toLowerCase() === "true";
    this.#ownId = ownId;
  }

  /** Whether a path leads to the own namespace, by whatever name. The override does not count. */
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
      hint: `with the variable ${NETNS_OVERRIDE}=1 plugins are called with it all the same`,
      ...context,
    });
  }

  /**
   * Refuses a path on which no sandbox may be made. The override is for single attachments.
   *
   * @throws {CniError} kind `usage`, code 8
   */
  async requireOther(netns: string): Promise<void> {
    if (!await this.isOwn(netns)) return;
    throw ownNetnsError(netns, {
      hint: "a sandbox in the namespace of the host is made with --host-network",
    });
  }
}

function ownNetnsError(netns: string, context: CniErrorOptions): CniError {
  return new CniError("usage", `"${netns}" leads to podwire's own network namespace`, {
    code: ERROR_CODES.invalidNetns,
    ...context,
  });
}
