import { CniError, ERROR_CODES } from "./error.ts";
import {
  type DuplicateKeys,
  formatPath,
  isObject,
  type Json,
  type JsonPath,
  kindOf,
  MAX_DEPTH,
  member,
  parseJson,
  positionOf,
  readablePath,
  readJson,
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
const MAX_PLUGIN_DEPTH = MAX_DEPTH - 2;

/** A configuration text that knows where each of its values stands. */
export class ConfigDocument {
  private constructor(readonly text: string, readonly source: ConfigSource, readonly json: Json) {}

  /** A text that should hold a list. */
  static ofList(text: string, source: ConfigSource): ConfigDocument {
    return new ConfigDocument(text, source, parseStrictly(text, source, MAX_DEPTH));
  }

  /** A text that should hold the configuration of a single plugin; as part of a list it can be read again. */
  static ofPlugin(text: string, source: ConfigSource): ConfigDocument {
    return new ConfigDocument(text, source, parseStrictly(text, source, MAX_PLUGIN_DEPTH));
  }

  /** A text that should hold either: what has a `type` is the configuration of a single plugin. */
  static ofEither(text: string, source: ConfigSource): { document: ConfigDocument; isPlugin: boolean } {
    const { json, depth, hasDuplicateKeys } = readJson(text, { file: source.file });
    const isPlugin = isObject(json) && member(json, "type") !== undefined;
    const maxDepth = isPlugin ? MAX_PLUGIN_DEPTH : MAX_DEPTH;
    if (depth > maxDepth || (hasDuplicateKeys && source.duplicateKeys !== "last wins")) {
      // This text is refused. Only a second reading knows the place of the fault.
      parseStrictly(text, source, maxDepth);
    }
    return { document: new ConfigDocument(text, source, json), isPlugin };
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

function parseStrictly(text: string, source: ConfigSource, maxDepth: number): Json {
  return parseJson(text, { duplicateKeys: "refused", ...source, maxDepth });
}
