import { SingleFlight } from "../async/single_flight.ts";
import { CniError, ERROR_CODES, isCniError } from "../cni/error.ts";
import { type Json, type JsonObject, parseJson } from "../cni/json.ts";
import { anyText, listOf, openObjectOf, orNull, readShape, type ValidationError } from "../cni/shape.ts";
import { CURRENT_VERSION } from "../cni/version.ts";
import { asCniError, withCniErrors } from "../errors/to_cni_error.ts";
import { fileIdentity } from "../host/file_facts.ts";
import { statOf } from "../host/file.ts";
import type { PluginCall } from "./call.ts";
import { Deadline, DEFAULT_TIMEOUTS } from "./deadline.ts";
import type { PluginRunner } from "./exec.ts";

/** What a plugin answered to VERSION. */
export interface PluginVersions {
  /** The version of the answer itself. */
  readonly cniVersion: string;
  /** As the plugin wrote them; they may be versions that podwire does not know. */
  readonly supportedVersions: readonly string[];
}

/** Answer of plugins that are older than VERSION. */
const UNKNOWN_VERB = "unknown CNI_COMMAND: VERSION";

/**
 * Asks plugins for their versions. An executable is asked once, also if several callers ask at the same time; its answer
 * is valid as long as path, inode, size and time of change are the same. Built-in plugins answer without a process.
 *
 * Permissions: those of {@linkcode PluginRunner}.
 *
 * Source: CNI specification 1.1.0, section 2 "VERSION".
 */
export class VersionProbe {
  readonly #runner: PluginRunner;
  readonly #timeoutMs: number;
  readonly #answers = new Map<string, { readonly identity: string; readonly versions: PluginVersions }>();
  readonly #probes = new SingleFlight<PluginVersions>();

  constructor(runner: PluginRunner, timeoutMs: number = DEFAULT_TIMEOUTS.VERSION) {
    this.#runner = runner;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Returns the versions of the plugin that would run for that type, called with that configuration.
   *
   * @throws {CniError} kind `plugin-missing`; `plugin-output`, code 6, for an invalid answer; or with the plugin's own
   * error, or with how it ended
   */
  async of(type: string, signal?: AbortSignal, config?: JsonObject): Promise<PluginVersions> {
    const source = await this.#runner.locate(type, config);
    if (source.kind === "builtin") {
      return { cniVersion: CURRENT_VERSION, supportedVersions: source.plugin.versions };
    }
    const { path } = source;
    const identity = fileIdentity(await statOf(path));
    const known = this.#answers.get(path);
    if (known !== undefined && known.identity === identity) return known.versions;
    const ask = (signal?: AbortSignal) => this.#ask(type, signal);
    const versions = identity === undefined
      ? await ask(signal)
      : await withCniErrors(() => this.#probes.join(`${path}:${identity}`, ask, signal));
    // If the file was replaced meanwhile, the answer may be of the old file or of the new one.
    if (identity !== undefined && identity === fileIdentity(await statOf(path))) {
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
      // Very old plugins require these three for each verb.
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
 * Reads what a plugin printed for VERSION.
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
  const fail = (error: ValidationError) => undecodable(error.describe("it"));
  const { cniVersion = "", supportedVersions = [] } = readShape(ANSWER, json, fail);
  if (cniVersion === "") throw undecodable("missing field cniVersion");
  return supportedVersions.length === 0 ? withoutList(cniVersion) : { cniVersion, supportedVersions };
}

const ANSWER = openObjectOf({}, { cniVersion: orNull(anyText), supportedVersions: orNull(listOf(anyText)) });

/** Version 0.2.0 introduced VERSION; its answer had no list yet. */
function withoutList(cniVersion: string): PluginVersions {
  if (cniVersion === "0.2.0") return { cniVersion, supportedVersions: ["0.1.0", "0.2.0"] };
  throw undecodable("missing field supportedVersions");
}

function undecodable(reason: string, cause?: unknown): CniError {
  const code = ERROR_CODES.decodingFailure;
  return new CniError("plugin-output", `decoding version info: ${reason}`, { code, cause });
}

function isOlderThanVersion(error: unknown): boolean {
  return isCniError(error, "plugin") && error.msg === UNKNOWN_VERB && error.context.details === undefined;
}
