import { CniError, ERROR_CODES } from "../cni/error.ts";
import { compareVersions, CURRENT_VERSION, parseVersion, type SpecVersion } from "../cni/version.ts";
import { validateNetworkName } from "../cni/name.ts";
import { isObject, type Json, type JsonObject, parseJson, printJson } from "../cni/json.ts";
import { asResult, convertResult, decodePrevResult, type Result } from "../cni/result.ts";
import { type RunCommand, runCommand } from "../host/command.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { decodeEnvironment, type Invocation, type Verb } from "./invocation.ts";
import { NETNS_OVERRIDE, NetnsGuard } from "./netns_guard.ts";

/**
 * Runs another plugin on behalf of this one, with the same `CNI_*` values. ADD gives its result, in
 * the shape of version 1.1.0.
 */
export type Delegate = (type: string, config: JsonObject, verb?: Verb) => Promise<Result | undefined>;

/** One call, as a plugin sees it. */
export interface PluginRequest {
  /** What is asked. */
  readonly verb: Verb;
  /** `CNI_CONTAINERID`; empty for GC and STATUS. */
  readonly containerId: string;
  /** `CNI_NETNS`; empty where the namespace is gone. */
  readonly netns: string;
  /** `CNI_IFNAME`. */
  readonly ifName: string;
  /** `CNI_ARGS`; of a repeated key the last value. */
  readonly args: ReadonlyMap<string, string>;
  /** `CNI_PATH`, split. */
  readonly path: readonly string[];
  /** The whole configuration, as the runtime sent it. */
  readonly config: JsonObject;
  /** The name of the network. */
  readonly name: string;
  /** The version of the configuration, and of what goes back. */
  readonly cniVersion: SpecVersion;
  /**
   * The result so far, in the shape of version 1.1.0.
   *
   * @throws {CniError} with the code 6 if what the runtime sent is no result of the configuration's version. It is
   * decoded when first read, so that a plugin which does not need it (in a DEL) is not stopped by it.
   */
  readonly prevResult: Result | undefined;
  /** Fires when the runtime no longer waits. */
  readonly signal: AbortSignal;
  /** The one way to run a program. */
  readonly run: RunCommand;
  /** Runs another plugin, such as the one for addresses. */
  readonly delegate: Delegate;
  /** Writes a line to the plugin's standard error. */
  log(line: string): void;
}

/**
 * A plugin: a table of verbs. What it throws becomes the error object on standard output: a
 * {@linkcode CniError} with its code, anything else with the code 999.
 */
export interface Plugin {
  /** One line for whoever runs the plugin by hand. */
  readonly about: string;
  /** The versions that a configuration may have. */
  readonly versions: readonly SpecVersion[];
  /** ADD answers with a result in the shape of version 1.1.0; of the others only success counts. */
  readonly verbs: Readonly<
    Partial<Record<Exclude<Verb, "VERSION">, (request: PluginRequest) => Promise<Result | void>>>
  >;
}

/** Plugins by type. */
export type BuiltinTable = Readonly<Record<string, Plugin>>;

/** What a plugin has to do with: a process, or a runtime that pretends to be one. */
export interface PluginWorld {
  /** One variable of the environment. */
  env(name: string): string | undefined;
  /** All of standard input. */
  stdin(): Promise<string>;
  /** Ends the call. @default {new AbortController().signal} */
  readonly signal?: AbortSignal;
  /** Runs programs. @default {runCommand} */
  readonly run?: RunCommand;
  /** Runs other plugins. @default a function that says that there is none */
  readonly delegate?: Delegate;
  /** Told what went wrong, before it becomes the error document. @default {undefined} */
  readonly onFailure?: (error: unknown) => void;
}

/** What a process would have written and how it would have ended. */
export interface PluginOutcome {
  /** The result, the error document, or nothing. */
  readonly stdout: string;
  /** What the plugin logged. */
  readonly stderr: string;
  /** The exit code. */
  readonly code: number;
}

const GATES: Readonly<Partial<Record<Verb, SpecVersion>>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

/**
 * Answers one call: reads the environment and the configuration, checks both, calls the verb, and gives back the one
 * document that belongs on standard output. Never throws.
 *
 * Permissions: `--allow-read` (it compares `CNI_NETNS` with its own network namespace), and whatever the plugin needs.
 *
 * Source: CNI specification 1.1.0, sections 2 to 5.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { servePlugin } from "./serve.ts";
 *
 * const outcome = await servePlugin(
 *   { about: "CNI plugin nothing", versions: ["1.0.0", "1.1.0"], verbs: {} },
 *   { env: (name) => (name === "CNI_COMMAND" ? "VERSION" : undefined), stdin: () => Promise.resolve("") },
 * );
 * assertEquals(JSON.parse(outcome.stdout).supportedVersions, ["1.0.0", "1.1.0"]);
 * ```
 */
export async function servePlugin(plugin: Plugin, world: PluginWorld): Promise<PluginOutcome> {
  if (!world.env("CNI_COMMAND") && plugin.about !== "") return aboutText(plugin);
  const lines: string[] = [];
  const finish = (stdout: string, code: number) => ({
    stdout,
    stderr: lines.map((line) => `${line}\n`).join(""),
    code,
  });
  let version: string | undefined;
  try {
    const invocation = decodeEnvironment(world.env);
    if (invocation.verb === "VERSION") return finish(versionDocument(plugin), 0);
    const config = await readConfig(world);
    version = configVersion(config);
    const known = checkVersion(plugin, invocation.verb, version);
    await refuseOwnNamespace(invocation, world);
    const request = makeRequest({
      invocation,
      config,
      version: known,
      world,
      log: (line) => lines.push(line),
    });
    return finish(await call(plugin, request), 0);
  } catch (error) {
    world.onFailure?.(error);
    return finish(errorDocument(error, version), 1);
  }
}

function aboutText(plugin: Plugin): PluginOutcome {
  const versions = plugin.versions.join(", ");
  return { stdout: "", stderr: `${plugin.about}\nCNI protocol versions supported: ${versions}\n`, code: 0 };
}

function versionDocument(plugin: Plugin): string {
  return `${printJson({ cniVersion: CURRENT_VERSION, supportedVersions: [...plugin.versions] })}\n`;
}

async function readConfig(world: PluginWorld): Promise<JsonObject> {
  let text: string;
  try {
    text = await world.stdin();
  } catch (cause) {
    const msg = `error reading from stdin: ${messageOf(cause)}`;
    throw new CniError("io", msg, { code: ERROR_CODES.ioFailure, cause });
  }
  let json: Json;
  try {
    json = parseJson(text);
  } catch (cause) {
    throw undecodable(`error unmarshall network config: ${messageOf(cause)}`, cause);
  }
  if (!isObject(json)) throw undecodable("error unmarshall network config: it is not a JSON object");
  const name = json.name ?? "";
  if (typeof name !== "string") throw undecodable("error unmarshall network config: name is not a string");
  if (name === "") {
    throw new CniError("config", "missing network name", { code: ERROR_CODES.invalidNetworkConfig });
  }
  validateNetworkName(name);
  return json;
}

function configVersion(config: JsonObject): string {
  const version = config.cniVersion ?? "";
  if (typeof version !== "string") {
    throw undecodable("decoding version from network config: cniVersion is not a string");
  }
  return version === "" ? "0.1.0" : version;
}

function checkVersion(plugin: Plugin, verb: Verb, version: string): SpecVersion {
  const gate = GATES[verb];
  if (gate !== undefined) {
    try {
      parseVersion(version);
    } catch (cause) {
      throw undecodable(messageOf(cause), cause);
    }
    if (compareVersions(version, gate) < 0) throw incompatible(`config version does not allow ${verb}`);
    if (!plugin.versions.some((own) => compareVersions(own, version) >= 0)) {
      throw incompatible(`plugin version does not allow ${verb}`);
    }
  }
  const known = plugin.versions.find((own) => own === version);
  if (known === undefined) {
    const own = plugin.versions.map((text) => JSON.stringify(text)).join(" ");
    throw incompatible(
      "incompatible CNI versions",
      `config is ${JSON.stringify(version)}, plugin supports [${own}]`,
    );
  }
  return known;
}

/**
 * Before the verb, not after it: a plugin that finds out afterwards has changed the host's own
 * network by then, and its error follows a result that is already printed.
 */
async function refuseOwnNamespace({ verb, netns }: Invocation, world: PluginWorld): Promise<void> {
  if (verb !== "ADD" && verb !== "CHECK" && verb !== "DEL") return;
  if (!await new NetnsGuard({ override: world.env(NETNS_OVERRIDE) }).isAllowed(netns)) {
    throw new CniError("usage", "plugin's netns and netns from CNI_NETNS should not be the same", {
      code: ERROR_CODES.invalidNetns,
    });
  }
}

interface RequestParts {
  readonly invocation: Invocation;
  readonly config: JsonObject;
  readonly version: SpecVersion;
  readonly world: PluginWorld;
  readonly log: (line: string) => void;
}

function makeRequest({ invocation, config, version, world, log }: RequestParts): PluginRequest {
  const { verb, containerId, netns, ifName, args, path } = invocation;
  let prevResult: { readonly value: Result | undefined } | undefined;
  return {
    verb,
    containerId,
    netns,
    ifName,
    args: new Map(args),
    path,
    config,
    name: String(config.name),
    cniVersion: version,
    get prevResult() {
      prevResult ??= { value: readPrevResult(config.prevResult, version) };
      return prevResult.value;
    },
    signal: world.signal ?? new AbortController().signal,
    run: world.run ?? runCommand,
    delegate: world.delegate ?? noDelegate,
    log,
  };
}

function readPrevResult(json: Json | undefined, version: SpecVersion): Result | undefined {
  if (json === undefined || json === null) return undefined;
  try {
    return asResult(decodePrevResult(json, version));
  } catch (cause) {
    throw undecodable(`could not parse prevResult: ${messageOf(cause)}`, cause);
  }
}

function noDelegate(type: string): Promise<never> {
  return Promise.reject(
    new CniError("plugin-missing", `Cannot run the plugin "${type}": this program runs no other plugins`, {
      code: ERROR_CODES.internal,
    }),
  );
}

async function call(plugin: Plugin, request: PluginRequest): Promise<string> {
  const verb = request.verb as Exclude<Verb, "VERSION">;
  // Who listens to the signal only from then on would never hear that it has fired.
  request.signal.throwIfAborted();
  const result = await plugin.verbs[verb]?.(request);
  if (verb !== "ADD") return "";
  if (!result) throw new Error("the plugin gave no result");
  return printJson(convertResult({ ...result, cniVersion: CURRENT_VERSION }, request.cniVersion), 4);
}

function errorDocument(error: unknown, cniVersion: string | undefined): string {
  const { code, msg, details } = errorObject(error);
  return printJson({
    ...(cniVersion === undefined ? {} : { cniVersion }),
    code,
    msg,
    ...(details === undefined || details === "" ? {} : { details }),
  }, 4);
}

function errorObject(error: unknown): { code: number; msg: string; details?: string | undefined } {
  if (!(error instanceof CniError)) return { code: ERROR_CODES.internal, msg: messageOf(error) };
  const code = error.code === ERROR_CODES.unknown ? ERROR_CODES.internal : error.code;
  return { code, msg: error.msg, details: error.context.details };
}

function undecodable(msg: string, cause?: unknown): CniError {
  return new CniError("config", msg, {
    code: ERROR_CODES.decodingFailure,
    ...(cause === undefined ? {} : { cause }),
  });
}

function incompatible(msg: string, details?: string): CniError {
  return new CniError("config", msg, {
    code: ERROR_CODES.incompatibleVersion,
    ...(details === undefined ? {} : { details }),
  });
}
