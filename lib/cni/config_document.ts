import { CniError, ERROR_CODES } from "./error.ts";
import {
  type DuplicateKeys,
  formatPath,
  isObject,
  type Json,
  type JsonPath,
  MAX_DEPTH,
  member,
  parseJson,
  positionOf,
  readJson,
} from "./json.ts";
import { readShape, type Shape } from "./shape.ts";

/** The source of a configuration: for its errors, and for how strictly it is read. */
export interface ConfigSource {
  /** The file that holds the text. */
  readonly file?: string | undefined;
  /**
   * What to do with a key that an object has twice. In other runtimes the last one counts, so what they have stored is read
   * that way.
   *
   * @default {"refused"}
   */
  readonly duplicateKeys?: DuplicateKeys;
}

/** What an error about a place in a document can say in addition. */
export interface FaultOptions {
  readonly details?: string | undefined;
  readonly hint?: string | undefined;
}

/** A list holds the configuration of a plugin two levels deep. */
const MAX_PLUGIN_DEPTH = MAX_DEPTH - 2;

/** A configuration text in which the position of each value can be found. */
export class ConfigDocument {
  private constructor(readonly text: string, readonly source: ConfigSource, readonly json: Json) {}

  /** Reads a text that should hold a list. */
  static ofList(text: string, source: ConfigSource): ConfigDocument {
    return new ConfigDocument(text, source, parseStrictly(text, source, MAX_DEPTH));
  }

  /** Reads a text that should hold the configuration of one plugin. It leaves depth for that plugin to become part of a list. */
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

  /** Makes the error about the value at a path. If that value is missing, the position is that of the value around it. */
  fault(path: JsonPath, msg: string, options: FaultOptions = {}): CniError {
    let position = positionOf(this.text, path);
    for (let length = path.length; position === undefined && length-- > 0;) {
      position = positionOf(this.text, path.slice(0, length));
    }
    const { file } = this.source;
    return new CniError("config", msg, {
      code: ERROR_CODES.invalidNetworkConfig,
      path: formatPath(path),
      file,
      ...position,
      ...options,
    });
  }

  /**
   * Reads the value at a path.
   *
   * @throws {CniError} with line, column and path if the value does not have the shape
   */
  read<T>(shape: Shape<T>, path: JsonPath, json: Json): T {
    return readShape(
      shape,
      json,
      (error) => this.fault(error.path, error.describe("the configuration")),
      path,
    );
  }

  /** Makes the error about a missing member; `path` is where it should be. */
  missing(path: JsonPath, options: FaultOptions = {}): CniError {
    const holder = formatPath(path.slice(0, -1));
    return this.fault(path, `missing "${path.at(-1)}"${holder === "" ? "" : ` in ${holder}`}`, options);
  }
}

function parseStrictly(text: string, source: ConfigSource, maxDepth: number): Json {
  return parseJson(text, { duplicateKeys: "refused", ...source, maxDepth });
}
