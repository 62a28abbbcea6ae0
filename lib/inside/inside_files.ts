import { Coalescer } from "../async/coalesce.ts";
import type { Dns } from "../cni/result.ts";
import { messageOf, requirePermissions } from "../errors/to_cni_error.ts";
import { listDirsIn, listFilesIn, removeUnfinished } from "../host/file.ts";
import { isThereNow } from "../host/file_now.ts";
import type { Lock } from "../host/lock.ts";
import type { Logger } from "../host/log.ts";
import { Deadline } from "../plugin/deadline.ts";
import { HOST_RESOLV_CONFS, hostDns } from "./host_dns.ts";
import { InsidePass } from "./inside_pass.ts";
import { type InsidePaths, insidePaths, networksDir, sandboxDir, sandboxesDir } from "./inside_paths.ts";
import type { InsideSandbox } from "./inside_sandbox.ts";

/** What {@linkcode InsideFiles} works with. */
export interface InsideFilesOptions {
  readonly stateDir: string;
  /** Takes the lock of these files. */
  readonly lock: (signal: AbortSignal) => Promise<Lock>;
  readonly log: Logger;
  /** Where the host says which name servers it asks. @default {HOST_RESOLV_CONFS} */
  readonly hostFiles?: readonly string[] | undefined;
}

/** A sandbox that has come or changed, or the ID of one that has gone. */
type Change = { readonly id: string; readonly sandbox: InsideSandbox | undefined };

/** The lock is held for milliseconds. Nothing that a sandbox needs waits for these files any longer. */
const LONGEST_WAIT_MS = 5_000;

/**
 * The `resolv.conf` and the `hosts` of each sandbox, below the state directory. They are made from the records and can be made
 * anew at any time, so nothing waits for the disk, and a failure is only logged. A file keeps its inode when its text changes:
 * a container that has it bound over its own goes on to see it.
 *
 * Permissions: `--allow-read` and `--allow-write` for the state and run directories, and `--allow-read` for the files of the
 * host.
 */
export class InsideFiles {
  readonly #options: InsideFilesOptions;
  #changes: Change[] = [];
  /** Changes that come while others are made are made together. */
  readonly #pass = new Coalescer(() => this.#makeChanges());

  constructor(options: InsideFilesOptions) {
    this.#options = options;
  }

  /** Returns where the files of a sandbox are. */
  paths(id: string): InsidePaths {
    return insidePaths(this.#options.stateDir, id);
  }

  /** Whether the files of a sandbox are there. */
  has(id: string): boolean {
    const { resolvConf, hosts } = this.paths(id);
    let has = false;
    this.#try(id, () => has = isThereNow(resolvConf) && isThereNow(hosts));
    return has;
  }

  /** Makes the files of a ready sandbox as it is now, and its names known to the others on its networks. */
  async put(sandbox: InsideSandbox): Promise<void> {
    await this.#change({ id: sandbox.id, sandbox });
  }

  /** Removes the files of a sandbox, and its names from those of the others. */
  async remove(id: string): Promise<void> {
    let isThere = false;
    this.#try(id, () => isThere = isThereNow(sandboxDir(this.#options.stateDir, id)));
    if (isThere) await this.#change({ id, sandbox: undefined });
  }

  /** Makes all files anew that are not as the sandboxes are, which `read` returns: all that are ready. */
  async sweep(read: () => Promise<readonly InsideSandbox[]>): Promise<void> {
    const { stateDir } = this.#options;
    await this.#underLock(async (pass) => {
      const sandboxes = await read();
      const ids = new Set(sandboxes.map(({ id }) => id));
      for (const id of await listDirsIn(sandboxesDir(stateDir))) {
        await removeUnfinished(sandboxDir(stateDir, id));
        if (!ids.has(id)) pass.drop(id);
      }
      const host = await this.#hostDns();
      for (const sandbox of sandboxes) this.#try(sandbox.id, () => pass.put(sandbox, host));
      pass.keepOnly(await listFilesIn(networksDir(stateDir)));
    });
  }

  async #change(change: Change): Promise<void> {
    this.#changes.push(change);
    await this.#pass.next();
  }

  async #makeChanges(): Promise<void> {
    const host = await this.#hostDns();
    await this.#underLock((pass) => {
      for (const { id, sandbox } of this.#changes.splice(0)) {
        this.#try(id, () => sandbox === undefined ? pass.drop(id) : pass.put(sandbox, host));
      }
    });
  }

  async #underLock(change: (pass: InsidePass) => Promise<void> | void): Promise<void> {
    try {
      using deadline = new Deadline(LONGEST_WAIT_MS);
      using _lock = await this.#options.lock(deadline.signal);
      const pass = new InsidePass(this.#options.stateDir);
      await change(pass);
      await pass.finish((id, body) => this.#try(id, body));
    } catch (error) {
      this.#failed(error);
    }
  }

  #try(id: string, body: () => unknown): void {
    try {
      body();
    } catch (error) {
      this.#failed(error, { sandbox: id });
    }
  }

  #failed(error: unknown, facts: Readonly<Record<string, unknown>> = {}): void {
    this.#options.log.warn(`Cannot write the hosts and resolv.conf of a sandbox: ${messageOf(error)}`, facts);
  }

  /** Reads the settings of the host. A sandbox has no name servers of the host where they may not be read. */
  async #hostDns(): Promise<Dns> {
    const { hostFiles = HOST_RESOLV_CONFS } = this.#options;
    try {
      // Without the permission, Deno would ask the user.
      requirePermissions({ read: hostFiles });
      return await hostDns(hostFiles);
    } catch (error) {
      this.#options.log.warn(`Cannot read the name servers of the host: ${messageOf(error)}`);
      return {};
    }
  }
}
