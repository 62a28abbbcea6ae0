import { CniError, ERROR_CODES } from "../cni/error.ts";
import { type Json, type JsonObject, parseJson, printJson } from "../cni/json.ts";
import { validateNetworkName } from "../cni/name.ts";
import { asResult, convertResult, decodePrevResult, type Result } from "../cni/result.ts";
import { anyObject, anyText, openObjectOf, orNull, readShape, type ValidationError } from "../cni/shape.ts";
import { compareVersions, CURRENT_VERSION, parseVersion, type SpecVersion } from "../cni/version.ts";
import { asCniError, messageOf } from "../errors/to_cni_error.ts";
import { type RunCommand, runCommand } from "../host/command.ts";
import { permissionFlag } from "../host/permissions.ts";
import { decodeEnvironment, type Invocation, type Verb } from "./invocation.ts";
import { NETNS_OVERRIDE, NetnsGuard } from "./netns_guard.ts";

/**
 * Runs another plugin on behalf of this one, with the same `CNI_*` values. ADD returns its result in
 * the shape of version 1.1.0, other verbs return undefined.
 */
export type Delegate = (
  type: string,
  config: JsonObject,
  verb?: Verb,
  /** `signal` is that of the call by default. An undo after the call has ended needs one of its own. */
  options?: { readonly signal?: AbortSignal | undefined },
) => Promise<Result | undefined>;

/** One call of a plugin. */
export interface PluginRequest {
  /** The verb. */
  readonly verb: Verb;
  /** `CNI_CONTAINERID`; empty for GC and STATUS. */
  readonly containerId: string;
  /** `CNI_NETNS`; empty if the namespace no longer exists. */
  readonly netns: string;
  /** `CNI_IFNAME`. */
  readonly ifName: string;
  /** `CNI_ARGS`; if a key is repeated, its last value. */
  readonly args: ReadonlyMap<string, string>;
  /** `CNI_PATH`, split. */
  readonly path: readonly string[];
  /** The whole configuration, as the runtime sent it. */
  readonly config: JsonObject;
  /** The name of the network. */
  readonly name: string;
  /** The version of the configuration and of the printed result. */
  readonly cniVersion: SpecVersion;
  /**
   * The result so far, in the shape of version 1.1.0.
   *
   * @throws {CniError} with the code 6 if it is not a valid result of the configuration's version. It is decoded when it
   * is first read, so that a plugin that does not need it (in a DEL) does not fail.
   */
  readonly prevResult: Result | undefined;
  /** Fires when the runtime stops waiting. */
  readonly signal: AbortSignal;
  /** Runs a program. Plugins use nothing else to start one. */
  readonly run: RunCommand;
  /** Runs another plugin, such as the one for addresses. */
  readonly delegate: Delegate;
  /** Writes a line to the plugin's standard error. */
  log(line: string): void;
}

/** Function of a verb that returns nothing: it succeeds unless it throws. */
export type PluginVerb = (request: PluginRequest) => void | Promise<void>;

/** Functions of a plugin. A verb without a function succeeds and does nothing, except ADD. */
export interface PluginVerbs {
  /** Returns the result in the shape of version 1.1.0. */
  readonly ADD?: ((request: PluginRequest) => Result | Promise<Result>) | undefined;
  /** Throws if the attachment is not as its ADD left it. */
  readonly CHECK?: PluginVerb | undefined;
  /** Detaches the container; succeeds if it is not attached. */
  readonly DEL?: PluginVerb | undefined;
  /** Releases what belongs to no valid attachment. */
  readonly GC?: PluginVerb | undefined;
  /** Throws if the plugin cannot attach containers now. */
  readonly STATUS?: PluginVerb | undefined;
}

/**
 * A plugin: a table of verbs. An error that a verb throws becomes the error object on standard output: a
 * {@linkcode CniError} with its code, any other error with the code 999. A missing Deno permission is named by its flag.
 */
export interface Plugin {
  /** One line that is printed if the plugin is started by hand. */
  readonly about: string;
  /** The versions that a configuration may have. */
  readonly versions: readonly SpecVersion[];
  /** The functions of the verbs. */
  readonly verbs: PluginVerbs;
}

/** A plugin, or a function that loads its module. */
export type BuiltinPlugin = Plugin | (() => Promise<Plugin>);

/** Plugins by type. */
export type BuiltinTable = Readonly<Record<string, BuiltinPlugin>>;

/** Returns the plugin of a type, loaded; undefined if the table has none. */
export async function loadBuiltin(table: BuiltinTable, type: string): Promise<Plugin | undefined> {
  const found = Object.hasOwn(table, type) ? table[type] : undefined;
  return typeof found === "function" ? await found() : found;
}

/** The environment of a plugin: a process, or a runtime that acts like one. */
export interface PluginWorld {
  /** One variable of the environment. */
  env(name: string): string | undefined;
  /** All of standard input. */
  stdin(): Promise<string>;
  /** Ends the call. @default {new AbortController().signal} */
  readonly signal?: AbortSignal | undefined;
  /** Runs programs. @default {runCommand} */
  readonly run?: RunCommand | undefined;
  /** Runs other plugins. @default {a function that fails: this program runs no other plugins} */
  readonly delegate?: Delegate | undefined;
  /** Called with an error before it becomes the error document. @default {undefined} */
  readonly onFailure?: ((error: unknown) => void) | undefined;
}

/** Output and exit code of a plugin, as of a process. */
export interface PluginOutcome {
  /** The result, the error document, or nothing. */
  readonly stdout: string;
  /** What the plugin logged. */
  readonly stderr: string;
  /** The exit code. */
  readonly code: number;
}

/** The versions that introduced verbs. */
const GATES: Readonly<Partial<Record<Verb, SpecVersion>>> = { CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" };

/**
 * Answers one call: reads the environment and the configuration, checks both, calls the verb, and returns the
 * document for standard output. Never throws.
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
  const lines: string[] = [];
  const finish = (stdout: string, code: number) => ({
    stdout,
    stderr: lines.map((line) => `${line}\n`).join(""),
    code,
  });
  let version: string | undefined;
  try {
    if (!world.env("CNI_COMMAND") && plugin.about !== "") return aboutText(plugin);
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
  const fail = (error: ValidationError) =>
    undecodable(`error unmarshall network config: ${error.describe("it")}`);
  const config = readShape(anyObject, json, fail);
  const { name = "" } = readShape(NAMED, json, fail);
  if (name === "") {
    throw new CniError("config", "missing network name", { code: ERROR_CODES.invalidNetworkConfig });
  }
  validateNetworkName(name);
  return config;
}

const NAMED = openObjectOf({}, { name: orNull(anyText) });
const VERSIONED = openObjectOf({}, { cniVersion: orNull(anyText) });

function configVersion(config: JsonObject): string {
  const fail = (error: ValidationError) =>
    undecodable(`decoding version from network config: ${error.describe("it")}`);
  return readShape(VERSIONED, config, fail).cniVersion || "0.1.0";
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
 * Refuses a call for the plugin's own namespace before the verb runs: after it, the host's own network is already
 * changed, and the error would follow a result that is already printed.
 */
async function refuseOwnNamespace({ verb, netns }: Invocation, world: PluginWorld): Promise<void> {
  if (verb !== "ADD" && verb !== "CHECK" && verb !== "DEL") return;
  if (!await new NetnsGuard({ override: world.env(NETNS_OVERRIDE) }).isAllowed(netns)) {
    throw new CniError("usage", "plugin's netns and netns from CNI_NETNS should not be the same", {
      code: ERROR_CODES.invalidNetns,
    });
  }
}

interface RequestContext {
  readonly invocation: Invocation;
  readonly config: JsonObject;
  readonly version: SpecVersion;
  readonly world: PluginWorld;
  readonly log: (line: string) => void;
}

function makeRequest({ invocation, config, version, world, log }: RequestContext): PluginRequest {
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
  const verb = request.verb as keyof PluginVerbs;
  // A verb that listens to a signal which fired before would wait forever.
  request.signal.throwIfAborted();
  if (verb !== "ADD") {
    await plugin.verbs[verb]?.(request);
    return "";
  }
  const result = await plugin.verbs.ADD?.(request);
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

function errorObject(thrown: unknown): { code: number; msg: string; details?: string | undefined } {
  const error = permissionFlag(thrown) === undefined ? thrown : asCniError(thrown);
  if (!(error instanceof CniError)) return { code: ERROR_CODES.internal, msg: messageOf(error) };
  const code = error.code === ERROR_CODES.unknown ? ERROR_CODES.internal : error.code;
  return { code, msg: error.msg, details: error.context.details };
}

function undecodable(msg: string, cause?: unknown): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.decodingFailure, cause });
}

function incompatible(msg: string, details?: string): CniError {
  return new CniError("config", msg, { code: ERROR_CODES.incompatibleVersion, details });
}
