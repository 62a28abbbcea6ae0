import { EMBEDDED_BRIDGE } from "../catalog/embedded_network.ts";
import { catalogsDir } from "../catalog/memory.ts";
import { integer, openObjectOf, type Shape } from "../cni/shape.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import { HostError, type RunCommand } from "../host/command.ts";
import { ensureDir, readTextIfThere, removeIfThere, writeFileSynced } from "../host/file.ts";
import type { Logger } from "../host/log.ts";
import { missingFlags } from "../host/permissions.ts";
import { kernelFor } from "../kernel/choose_kernel.ts";
import { findLink } from "../kernel/links.ts";
import { decodeChecksummed, printChecksummed } from "../state/checksummed.ts";
import { LARGEST_MTU } from "./network_request.ts";
import { narrowest, uplinksOf } from "./uplink.ts";

/** The dependencies of {@linkcode EmbeddedMtu}. */
export interface EmbeddedMtuContext {
  readonly stateDir: string;
  readonly run: RunCommand;
  readonly log: Logger;
}

const KIND = "podwire.embedded-mtu.v1";

const SHAPE: Shape<{ readonly mtu: number }> = openObjectOf({ mtu: integer(1, LARGEST_MTU) }, {});

/**
 * The largest packet of the embedded network. One that was set is remembered in the state directory; else it is that of the
 * bridge, so that all containers on it agree, and before there is a bridge that of the default route.
 */
export class EmbeddedMtu {
  readonly #context: EmbeddedMtuContext;

  constructor(context: EmbeddedMtuContext) {
    this.#context = context;
  }

  /**
   * Returns it in bytes; undefined if nothing says what it should be.
   *
   * Permissions: `--allow-read` for the state directory, if it is granted, and `--allow-run=ip` or the whole `--allow-ffi`.
   */
  async current(): Promise<number | undefined> {
    return await this.#remembered() ?? await this.#derived();
  }

  /**
   * Remembers one that was set; undefined forgets it.
   *
   * Permissions: `--allow-read` and `--allow-write` for the state directory.
   */
  async set(mtu: number | undefined): Promise<void> {
    if (mtu === undefined) {
      await removeIfThere(this.#file);
      return;
    }
    await ensureDir(catalogsDir(this.#context.stateDir), 0o700);
    await writeFileSynced(this.#file, await printChecksummed(KIND, { mtu }));
  }

  get #file(): string {
    return `${catalogsDir(this.#context.stateDir)}/embedded-mtu.json`;
  }

  async #remembered(): Promise<number | undefined> {
    const file = this.#file;
    try {
      if (missingFlags({ read: [file] }).length > 0) return undefined;
      const text = await readTextIfThere(file);
      return text === undefined ? undefined : (await decodeChecksummed(KIND, text, SHAPE)).mtu;
    } catch (error) {
      this.#context.log.warn(`the MTU of the embedded network cannot be read: ${asCniError(error).msg}`, {
        file,
      });
      return undefined;
    }
  }

  async #derived(): Promise<number | undefined> {
    const kernel = kernelFor(this.#context.run);
    try {
      const bridge = await findLink(kernel, EMBEDDED_BRIDGE);
      return bridge?.mtu ?? narrowest(await uplinksOf(kernel))?.mtu;
    } catch (error) {
      // The plugins of the network say what is wrong with the kernel when they are called.
      if (error instanceof HostError) return undefined;
      throw error;
    }
  }
}
