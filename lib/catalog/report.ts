import type { Logger } from "../host/log.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogFile } from "./entry.ts";

/**
 * Logs what users have to know: a file or the directory became unusable, or another network is the default.
 *
 * @param before the catalog that was in use until now
 * @param reportsFirst whether problems are also logged for the first catalog, and for a directory without any network
 */
export function reportCatalog(
  log: Logger,
  before: Catalog | undefined,
  after: Catalog,
  reportsFirst: boolean,
): void {
  if (before === after) return;
  const { problem } = after;
  // Without networks to fall back on, the caller gets the error.
  const isLogged = problem !== undefined && (after.hasNetworks || reportsFirst);
  if (isLogged && problem.message !== before?.problem?.message) {
    const rest = after.hasNetworks ? ", its former networks stay in use" : "";
    log.warn(`the configuration directory cannot be read${rest}: ${problem.msg}`, {
      confDir: after.content.confDir,
    });
  }
  const known = new Map(before?.content.files.map((file) => [file.file, file]));
  for (const file of after.content.files) {
    reportFile(log, known.get(file.file), file, reportsFirst || before !== undefined);
  }
  reportDefault(log, before, after);
}

function reportFile(
  log: Logger,
  before: CatalogFile | undefined,
  after: CatalogFile,
  reportsFirst: boolean,
): void {
  const { file, list, error, since } = after;
  if (error === undefined) {
    if (before?.error !== undefined) log.info("a configuration file can be used again", { file });
    return;
  }
  if (before?.error?.message === error.message) return;
  const { line, column } = error.context;
  const facts = { file: error.context.file ?? file, line, column };
  if (list !== undefined) {
    log.warn(
      `a configuration file cannot be used, its content since ${since} stays in use: ${error.msg}`,
      facts,
    );
  } else if (reportsFirst) log.warn(`a configuration file cannot be used: ${error.msg}`, facts);
}

function reportDefault(log: Logger, before: Catalog | undefined, after: Catalog): void {
  const { network, by, was: previous, pin } = after.defaultChoice;
  const file = network === undefined ? undefined : after.fileOf(network);
  const was = before?.defaultName ?? previous;
  if (by === "pinned") {
    if (before !== undefined && before.defaultChoice.by !== by) {
      const { first } = after.defaultChoice;
      log.info(`the default network stays "${network}" while containers are attached to it`, { file, first });
    }
    return;
  }
  if (was === undefined || was === network) return;
  if (network !== undefined) log.warn(`the default network is "${network}" now, it was "${was}"`, { file });
  else {
    const why = by === "gone"
      ? ": its file is gone, and containers are attached to it"
      : by === "unusable"
      ? ": the file that comes first cannot be used"
      : "";
    log.warn(`the default network "${was}" is gone${why}`, { file: pin?.file });
  }
}
