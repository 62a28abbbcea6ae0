import { once } from "../async/once.ts";
import { CatalogOnDemand } from "../catalog/on_demand.ts";
import { CatalogReader } from "../catalog/reader.ts";
import { runCommand } from "../host/command.ts";
import { type Logger, silentLogger } from "../host/log.ts";
import type { AttachmentStore } from "../state/attachment_store.ts";
import type { StateFormat } from "../state/state_format.ts";
import type { CatalogContext } from "./context.ts";
import { DEFAULTS, type RuntimeOptions } from "./options.ts";

/** Makes the sources of the catalog. */
export function wireCatalog(
  options: RuntimeOptions,
  { log, ...rest }: {
    stateDir: string;
    store: AttachmentStore;
    format: StateFormat;
    embedded: boolean;
    log: Logger;
  },
): CatalogContext {
  const { pluginDirs = DEFAULTS.pluginDirs } = options;
  const catalogSource = new CatalogOnDemand(makeReader(options, rest), log);
  const readOnlySource = new CatalogOnDemand(makeReader(options, { ...rest, remembers: false }), log);
  return {
    catalogSource,
    catalog: (signal) => catalogSource.current(signal),
    readOnlyCatalog: async (signal) => {
      await rest.format.warnIfNewer();
      return await readOnlySource.current(signal);
    },
    watchCatalog: async ({ pollMs, signal } = {}) => {
      // A command that is over soon does not need it.
      const { CatalogWatch } = await import("../catalog/watch.ts");
      const reader = makeReader(options, rest);
      return await CatalogWatch.open({ reader, pluginDirs, log, pollMs }, signal);
    },
  };
}

function makeReader(
  options: RuntimeOptions,
  { stateDir, store, embedded, remembers = true }: {
    stateDir: string;
    store: AttachmentStore;
    embedded: boolean;
    remembers?: boolean | undefined;
  },
): CatalogReader {
  const {
    confDir = DEFAULTS.confDir,
    embeddedOnly = false,
    embeddedWayOut = true,
    defaultNetwork,
    environment,
    log,
  } = options;
  const { run = runCommand } = options;
  // Most machines have a configuration, and need none of this.
  const chooser = once(async () => {
    const { EmbeddedChooser } = await import("../network/embedded_choice.ts");
    return new EmbeddedChooser({ stateDir, run, path: environment?.PATH, log: log ?? silentLogger });
  });
  const network = async () => {
    const choice = await chooser();
    return await (embeddedWayOut ? choice.network(remembers) : choice.withoutWayOut());
  };
  const mayEmbed = embeddedOnly || (embedded && (options.embedded ?? true));
  return new CatalogReader({
    confDir: embeddedOnly ? undefined : confDir,
    stateDir,
    remembers,
    isAttached: (network) => store.hasNetwork(network),
    confDirRequired: options.confDir !== undefined,
    allowUnsafeFiles: options.allowUnsafeFiles ?? false,
    embedded: mayEmbed ? network : undefined,
    defaultNetwork,
    log,
  });
}
