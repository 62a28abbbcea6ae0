import { CniError, ERROR_CODES } from "./error.ts";
import { formatPath, type Json, type JsonPath, kindOf, parseJson, positionOf } from "./json.ts";

/** Where a configuration comes from, for the errors about it. */
export interface ConfigSource {
  readonly file?: string;
}

/** What an error about a place in a document may tell beside it. */
export interface FaultOptions {
  readonly details?: string;
  readonly hint?: string;
}

/** A configuration text that knows where each of its values stands. */
export class ConfigDocument {
  readonly json: Json;

  constructor(readonly text: string, readonly source: ConfigSource = {}) {
    this.json = parseJson(text, source);
  }

  /** The error about the value at a path, or where the value is missing, about the one that should hold it. */
  fault(path: JsonPath, msg: string, options: FaultOptions = {}): CniError {
    let position = positionOf(this.text, path);
    for (let length = path.length; position === undefined && length-- > 0;) {
      position = positionOf(this.text, path.slice(0, length));
    }
    return new CniError("config", msg, {
      code: ERROR_CODES.invalidNetworkConfig,
      ...this.source,
      ...position,
      ...options,
    });
  }

  /** The error about a value of the wrong type. */
  wrongType(path: JsonPath, wanted: string, found: Json): CniError {
    return this.fault(
      path,
      `${formatPath(path) || "the configuration"} must be ${wanted}, not ${kindOf(found)}`,
    );
  }

  /** The error about a member that is not there; `path` is where it should be. */
  missing(path: JsonPath, options: FaultOptions = {}): CniError {
    const holder = formatPath(path.slice(0, -1));
    return this.fault(path, `missing "${path.at(-1)}"${holder === "" ? "" : ` in ${holder}`}`, options);
  }
}
