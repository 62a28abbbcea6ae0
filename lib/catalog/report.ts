import type { Logger } from "../host/log.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogFile } from "./entry.ts";

/**
 * Says in the log what somebody has to know: a file or the directory went bad, or another network is the default.
 *
 * @param before the catalogue that was in force until now
 * @param neverGood whether files that never were good are told of at the beginning, too
 */
export function reportCatalog(
  log: Logger,
  before: Catalog | undefined,
  after: Catalog,
  neverGood: boolean,
): void {
  if (before === after) return;
  const { problem } = after;
  // Where nothing stands in, the caller that has asked gets the error.
  const isTold = problem !== undefined && (after.hasNetworks || neverGood);
  if (isTold && problem.message !== before?.problem?.message) {
    const rest = after.hasNetworks ? ", what it held stays in force" : "";
    log.warn(`the configuration directory cannot be read${rest}: ${problem.msg}`, {
      confDir: after.content.confDir,
    });
  }
  const known = new Map(before?.content.files.map((file) => [file.file, file]));
  for (const file of after.content.files) {
    reportFile(log, known.get(file.file), file, neverGood || before !== undefined);
  }
  reportDefault(log, before, after);
}

function reportFile(
  log: Logger,
  before: CatalogFile | undefined,
  after: CatalogFile,
  neverGood: boolean,
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
    log.warn(`a configuration file cannot be used, what it said since ${since} is: ${error.msg}`, facts);
  } else if (neverGood) log.warn(`a configuration file cannot be used: ${error.msg}`, facts);
}

function reportDefault(log: Logger, before: Catalog | undefined, after: Catalog): void {
  const { network, by, was: wasPinned, pin } = after.defaultChoice;
  const file = network === undefined ? undefined : after.fileOf(network);
  const was = before?.defaultName ?? wasPinned;
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
