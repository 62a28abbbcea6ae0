import type { JsonObject } from "../cni/json.ts";
import { validatePluginType } from "../cni/name.ts";
import {
  findPlugin,
  findPluginNow,
  type FindPluginOptions,
  type FoundPlugin,
  pluginMissing,
} from "./find.ts";
import { type BuiltinTable, loadBuiltin, type Plugin } from "./serve.ts";

/** When a built-in plugin runs in place of an executable. */
export const BUILTIN_POLICIES = ["fallback", "prefer", "off"] as const;

/** One of {@linkcode BUILTIN_POLICIES}. */
export type BuiltinPolicy = typeof BUILTIN_POLICIES[number];

/** A member of a plugin's configuration that makes the built-in one run, even if there is an executable. */
export const ALWAYS_BUILTIN = "podwireBuiltin";

/** What runs when a plugin type is called. */
export type PluginSource =
  | { readonly kind: "binary"; readonly path: string }
  | { readonly kind: "builtin"; readonly plugin: Plugin };

/** Where plugins are searched. */
export interface PluginLocatorOptions extends FindPluginOptions {
  readonly pluginDirs: readonly string[];
  /** @default {{}} */
  readonly builtins?: BuiltinTable | undefined;
  /** @default {"fallback"} */
  readonly builtinPolicy?: BuiltinPolicy | undefined;
}

/** Chooses between the executable and the built-in plugin of a type. */
export class PluginLocator {
  readonly #options: PluginLocatorOptions;

  constructor(options: PluginLocatorOptions) {
    this.#options = options;
  }

  /**
   * Finds what would run for that plugin type, called with that configuration.
   *
   * @throws {CniError} kind `plugin-missing`
   */
  async locate(type: string, config: JsonObject = {}): Promise<PluginSource> {
    const { pluginDirs, builtins = {}, builtinPolicy = "fallback" } = this.#options;
    const builtin = async () => {
      const plugin = builtinPolicy === "off" ? undefined : await loadBuiltin(builtins, type);
      return plugin && { kind: "builtin", plugin } as const;
    };
    const isFirst = builtinPolicy === "prefer" || config[ALWAYS_BUILTIN] === true;
    const first = isFirst ? await builtin() : undefined;
    if (first !== undefined) return first;
    const found = await this.#find(type);
    if (found.path !== undefined) return { kind: "binary", path: found.path };
    const last = await builtin();
    if (last !== undefined) return last;
    throw pluginMissing(type, pluginDirs, found);
  }

  /**
   * Finds what would run when a plugin calls another one, as `bridge` calls its IPAM plugin: an executable finds
   * executables only.
   *
   * @throws {CniError} kind `plugin-missing`
   */
  async locateDelegate(caller: PluginSource, type: string, config?: JsonObject): Promise<PluginSource> {
    if (caller.kind === "builtin") return await this.locate(type, config);
    const found = await this.#find(type);
    if (found.path === undefined) throw pluginMissing(type, this.#options.pluginDirs, found);
    return { kind: "binary", path: found.path };
  }

  async #find(type: string): Promise<FoundPlugin> {
    const { pluginDirs: dirs, allowUnsafeFiles = false } = this.#options;
    validatePluginType(type);
    const path = findPluginNow(type, dirs, { allowUnsafeFiles });
    return path === undefined
      ? await findPlugin(type, dirs, { allowUnsafeFiles })
      : { path, notExecutable: [] };
  }
}
