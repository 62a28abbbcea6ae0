import { statOf } from "../host/file.ts";
import { CniError, ERROR_CODES, isCniError } from "../cni/error.ts";
import { isArray, isObject, type Json, type JsonObject, parseJson } from "../cni/json.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { Deadline, DEFAULT_TIMEOUTS } from "./deadline.ts";
import type { PluginCall, PluginRunner } from "./exec.ts";
import { asCniError, withCniErrors } from "../errors/to_cni_error.ts";
import { SingleFlight } from "../async/single_flight.ts";

/** What a plugin answered to VERSION. */
export interface PluginVersions {
  /** The version of the answer itself. */
  readonly cniVersion: string;
  /** As the plugin wrote them, which need not be versions that anybody else knows. */
  readonly supportedVersions: readonly string[];
}

/** What plugins of the time before VERSION say when they are asked. */
const UNKNOWN_VERB = "unknown CNI_COMMAND: VERSION";

/**
 * Asks plugins for their versions, and each executable only once, however many want to know at the same time: an answer
 * holds as long as path, inode, size and time of change are the same. Built-in plugins answer without a process.
 *
 * Permissions: those of {@linkcode PluginRunner}.
 *
 * Source: CNI specification 1.1.0, section 2 "VERSION".
 */
export class VersionProbe {
  readonly #runner: PluginRunner;
  readonly #timeoutMs: number;
  readonly #answers = new Map<string, { readonly identity: string; readonly versions: PluginVersions }>();
  readonly #questions = new SingleFlight<PluginVersions>();

  constructor(runner: PluginRunner, timeoutMs: number = DEFAULT_TIMEOUTS.VERSION) {
    this.#runner = runner;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * The versions of the plugin that would run for that type, called with that configuration.
   *
   * @throws {CniError} kind `plugin-missing`; `plugin-output`, code 6, for an answer that is none; or with what became of
   * the plugin
   */
  async of(type: string, signal?: AbortSignal, config?: JsonObject): Promise<PluginVersions> {
    const source = await this.#runner.locate(type, config);
    if (source.kind === "builtin") {
      return { cniVersion: CURRENT_VERSION, supportedVersions: source.plugin.versions };
    }
    const { path } = source;
    const identity = await identityOf(path);
    const known = this.#answers.get(path);
    if (known !== undefined && known.identity === identity) return known.versions;
    const ask = (signal?: AbortSignal) => this.#ask(type, signal);
    const versions = identity === undefined
      ? await ask(signal)
      : await withCniErrors(() => this.#questions.join(`${path}:${identity}`, ask, signal));
    // A file that was replaced meanwhile may have answered as the old one or as the new one.
    if (identity !== undefined && identity === await identityOf(path)) {
      this.#answers.set(path, { identity, versions });
    }
    return versions;
  }

  async #ask(type: string, signal: AbortSignal | undefined): Promise<PluginVersions> {
    using deadline = new Deadline(this.#timeoutMs, signal);
    const call: PluginCall = {
      verb: "VERSION",
      type,
      config: { cniVersion: CURRENT_VERSION },
      containerId: "",
      // Very old plugins insist on these three, whatever they are asked.
      netns: "dummy",
      ifName: "dummy",
      path: ["dummy"],
      args: [],
      signal: deadline.signal,
    };
    try {
      return decodeVersions(await this.#runner.call(call));
    } catch (error) {
      if (isOlderThanVersion(error)) return { cniVersion: "0.1.0", supportedVersions: ["0.1.0"] };
      throw error;
    }
  }
}

/**
 * What a plugin printed for VERSION.
 *
 * @throws {CniError} kind `plugin-output`, code 6
 */
export function decodeVersions(stdout: string): PluginVersions {
  let json: Json;
  try {
    json = parseJson(stdout);
  } catch (cause) {
    const { msg } = asCniError(cause);
    throw undecodable(stdout.trim() === "" ? "nothing was printed" : msg, cause);
  }
  if (!isObject(json)) throw undecodable("it is not a JSON object");
  const { cniVersion, supportedVersions } = json;
  if (cniVersion === undefined || cniVersion === null || cniVersion === "") {
    throw undecodable("missing field cniVersion");
  }
  if (typeof cniVersion !== "string") throw undecodable("cniVersion is not a string");
  if (supportedVersions === undefined || supportedVersions === null) return withoutList(cniVersion);
  if (!isArray(supportedVersions)) throw undecodable("supportedVersions is not an array");
  const texts = supportedVersions.filter((version) => typeof version === "string");
  if (texts.length < supportedVersions.length) throw undecodable("supportedVersions holds more than strings");
  return texts.length === 0 ? withoutList(cniVersion) : { cniVersion, supportedVersions: texts };
}

/** The answer of 0.2.0, which brought VERSION, had no list yet. */
function withoutList(cniVersion: string): PluginVersions {
  if (cniVersion === "0.2.0") return { cniVersion, supportedVersions: ["0.1.0", "0.2.0"] };
  throw undecodable("missing field supportedVersions");
}

function undecodable(reason: string, cause?: unknown): CniError {
  return new CniError("plugin-output", `decoding version info: ${reason}`, {
    code: ERROR_CODES.decodingFailure,
    ...(cause === undefined ? {} : { cause }),
  });
}

function isOlderThanVersion(error: unknown): boolean {
  return isCniError(error, "plugin") && error.msg === UNKNOWN_VERB && error.context.details === undefined;
}

async function identityOf(path: string): Promise<string | undefined> {
  const stat = await statOf(path);
  return stat && [stat.dev, stat.ino, stat.size, stat.mtimeMs].join(":");
}
