import { CniError, ERROR_CODES } from "./error.ts";
import {
  type DuplicateKeys,
  formatPath,
  type Json,
  type JsonPath,
  kindOf,
  MAX_DEPTH,
  parseJson,
  positionOf,
  readablePath,
} from "./json.ts";

/** Where a configuration comes from: for the errors about it, and for how strictly it is read. */
export interface ConfigSource {
  /** The file that the text stands in. */
  readonly file?: string | undefined;
  /**
   * What becomes of a key that stands in an object already. Other runtimes let the last one win: what one of them has
   * stored is to be read so.
   *
   * @default {"refused"}
   */
  readonly duplicateKeys?: DuplicateKeys;
}

/** What an error about a place in a document may tell beside it. */
export interface FaultOptions {
  readonly details?: string | undefined;
  readonly hint?: string | undefined;
}

/** A list of one plugin encloses the plugin's configuration twice. */
const LIST_DEPTH = 2;

/** A configuration text that knows where each of its values stands. */
export class ConfigDocument {
  readonly json: Json;

  private constructor(readonly text: string, readonly source: ConfigSource, maxDepth: number) {
    this.json = parseJson(text, { duplicateKeys: "refused", ...source, maxDepth });
  }

  /** A text that should hold a list. */
  static ofList(text: string, source: ConfigSource): ConfigDocument {
    return new ConfigDocument(text, source, MAX_DEPTH);
  }

  /** A text that should hold the configuration of a single plugin; as part of a list it can be read again. */
  static ofPlugin(text: string, source: ConfigSource): ConfigDocument {
    return new ConfigDocument(text, source, MAX_DEPTH - LIST_DEPTH);
  }

  /** The error about the value at a path, or where the value is missing, about the one that should hold it. */
  fault(path: JsonPath, msg: string, options: FaultOptions = {}): CniError {
    let position = positionOf(this.text, path);
    for (let length = path.length; position === undefined && length-- > 0;) {
      position = positionOf(this.text, path.slice(0, length));
    }
    const { file } = this.source;
    return new CniError("config", msg, {
      code: ERROR_CODES.invalidNetworkConfig,
      path: formatPath(path),
      ...(file === undefined ? {} : { file }),
      ...position,
      ...options,
    });
  }

  /** The error about a value of the wrong type. */
  wrongType(path: JsonPath, wanted: string, found: Json): CniError {
    return this.fault(
      path,
      `${readablePath(formatPath(path)) || "the configuration"} must be ${wanted}, not ${kindOf(found)}`,
    );
  }

  /** The error about a member that is not there; `path` is where it should be. */
  missing(path: JsonPath, options: FaultOptions = {}): CniError {
    const holder = formatPath(path.slice(0, -1));
    return this.fault(path, `missing "${path.at(-1)}"${holder === "" ? "" : ` in ${holder}`}`, options);
  }
}
