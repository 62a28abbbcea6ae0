// The calls for a document, and the rules that must hold for any content.
import { assert, assertEquals } from "@std/assert";
import {
  listFromPluginConfig,
  type NetworkConfigList,
  parseConfigList,
  parsePluginConfig,
  requestConfig,
  reservedKeys,
  withFolderPlugins,
} from "../../lib/cni/config.ts";
import { CniError } from "../../lib/cni/error.ts";
import {
  isObject,
  type Json,
  type JsonObject,
  parseJson,
  printJson,
  readablePath,
} from "../../lib/cni/json.ts";
import { printSorted } from "../../lib/cni/libcni_text.ts";
import { asResult, convertResult, decodePrevResult, decodeResult } from "../../lib/cni/result.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../../lib/cni/version.ts";
import { decodeFailure, decodeOutput } from "../../lib/plugin/output.ts";

/** What a document is meant to be; the names of the corpus files end with it. */
export type DocumentKind = "config" | "result" | "error";

/** Number of calls that returned a value and that threw an error. */
export interface Tally {
  values: number;
  errors: number;
}

/**
 * Reads a document in every way in which podwire reads documents of its kind, and results in each of these versions.
 *
 * @throws if a call throws an error that is not a `CniError`
 */
export function exercise(
  kind: DocumentKind,
  text: string,
  tally: Tally,
  versions: readonly SpecVersion[] = SPEC_VERSIONS,
): void {
  const attempt = <T>(call: () => T, check: (error: CniError) => void = () => {}): T | undefined => {
    try {
      const value = call();
      tally.values++;
      return value;
    } catch (error) {
      if (!(error instanceof CniError)) throw error;
      assert(error.msg !== "" && error.message.includes(error.msg), "an error says what is wrong");
      check(error);
      tally.errors++;
      return undefined;
    }
  };
  if (kind === "config") exerciseConfig(text, attempt);
  else if (kind === "result") exerciseResult(text, versions, attempt);
  else exerciseError(text);
}

type Attempt = <T>(call: () => T, check?: (error: CniError) => void) => T | undefined;

function exerciseConfig(text: string, attempt: Attempt): void {
  const source = { file: "/etc/cni/net.d/10-fuzz.conflist" };
  const hasPlace = (error: CniError) => checkPlace(error, text, source.file);
  const plugin = attempt(() => parsePluginConfig(text, source), hasPlace);
  const lists = [parseConfigList, listFromPluginConfig].map((parse) =>
    attempt(() => parse(text, source), hasPlace)
  );
  attempt(() => parseConfigList(text, { duplicateKeys: "last wins" }));
  for (const fault of attempt(() => reservedKeys(text, source), hasPlace) ?? []) hasPlace(fault);
  for (const list of lists) {
    if (list === undefined) continue;
    checkList(list);
    if (plugin === undefined) continue;
    const merged = attempt(() => withFolderPlugins(list, [plugin, plugin]), () => {});
    if (merged !== undefined) checkList(merged);
  }
}

/** Checks that line, column and path are in the error and in its message. */
function checkPlace({ context, message }: CniError, text: string, file: string): void {
  const { line = 0, column = 0, path } = context;
  const lines = text.split(/\r\n|\n|\r/);
  assert(line >= 1 && line <= lines.length, `line ${line}`);
  assert(column >= 1 && column <= [...lines[line - 1]!].length + 1, `column ${column}`);
  if (path === undefined) throw new Error(`an error without a path: ${message}`);
  assert(message.startsWith(`${file}:${line}:${column}: `), message);
  const last = path.split(/[.[]/).at(-1)!;
  assert(
    message.includes(readablePath(path)) || message.includes(`missing "${last}"`),
    `${path}: ${message}`,
  );
}

/** Checks that a list can be read again from its text, and that its requests keep all members that the runtime does not own. */
function checkList(list: NetworkConfigList): void {
  const again = parseConfigList(list.text);
  assertEquals(printSorted(again.json), printSorted(list.json));
  assertEquals([again.name, again.cniVersion], [list.name, list.cniVersion]);
  assertEquals(again.plugins.length, list.plugins.length);
  for (const plugin of list.plugins) {
    const prevResult = { cniVersion: list.cniVersion };
    const request = requestConfig(list, plugin, { prevResult, runtimeConfig: { mac: "x" } });
    assertEquals(request["type"], plugin.json["type"]);
    for (const key of Object.keys(plugin.json)) {
      if (/^(name|cniVersion|prevResult|runtimeConfig|capabilities|cni\.dev\/.*)$/s.test(key)) continue;
      assert(Object.hasOwn(request, key), key);
      assert(printJson(request[key]!) === printJson(plugin.json[key]!), key);
    }
    checkJson(request);
  }
}

function exerciseResult(text: string, versions: readonly SpecVersion[], attempt: Attempt): void {
  const json = attempt(() => decodeOutput(text));
  attempt(() => parseJson(text, { duplicateKeys: "refused" }));
  if (json === undefined) return;
  checkJson(json);
  for (const version of versions) {
    const result = attempt(() => decodeResult(json, version));
    if (result !== undefined) checkResult(result, version, versions, attempt);
    const previous = attempt(() => decodePrevResult(json, version));
    if (previous !== undefined) checkResult(previous, version, versions, attempt);
    if (isObject(json)) attempt(() => convertResult(json, version));
  }
  if (isObject(json)) attempt(() => asResult(json));
}

/** Checks that a decoded result is in normal form and can be converted. */
function checkResult(
  result: JsonObject,
  version: SpecVersion,
  versions: readonly SpecVersion[],
  attempt: Attempt,
): void {
  assertEquals(result["cniVersion"], version);
  assertEquals(printJson(convertResult(result, version)), printJson(result));
  for (const to of versions) {
    const there = attempt(() => convertResult(result, to));
    if (there !== undefined) assertEquals(printJson(convertResult(there, to)), printJson(there));
  }
  checkJson(result);
}

function exerciseError(text: string): void {
  for (const [code, signal] of [[1, null], [137, "SIGKILL"]] as const) {
    const outcome = { code, signal, stdout: text, stderr: "", elapsedMs: 1, ended: "exit" } as const;
    const error = decodeFailure(outcome, new AbortController().signal);
    assert(error.msg !== "", "an error is never empty");
    assert(Number.isInteger(error.code) && error.code >= 0, `code ${error.code}`);
    checkJson(parseJson(JSON.stringify(error)));
  }
}

/** Checks that every object is plain, and that the printed value is read as the same value. */
function checkJson(json: Json): void {
  const pending: Json[] = [json];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (typeof value !== "object" || value === null) continue;
    if (isObject(value)) {
      assert(Object.getPrototypeOf(value) === Object.prototype, "every object is plain");
    }
    for (const key of Object.keys(value)) pending.push((value as JsonObject)[key]!);
  }
  const text = printJson(json);
  assert(printJson(parseJson(text)) === text, "the printed value is read as the same value");
}

const PROTOTYPES = [
  Object.prototype,
  Array.prototype,
  String.prototype,
  Number.prototype,
  Function.prototype,
];
const members = () => PROTOTYPES.map((prototype) => Reflect.ownKeys(prototype).map(String));
const BEFORE = members();

/** Checks that no document has changed a prototype. @throws if one has */
export function checkPrototypes(): void {
  assertEquals(members(), BEFORE);
}
