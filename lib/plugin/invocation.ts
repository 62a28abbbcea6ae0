import { CniError, ERROR_CODES } from "../cni/error.ts";
import { validateCniArg, validateContainerId, validateInterfaceName } from "../cni/name.ts";

/** Verbs that a runtime can call a plugin with. Source: CNI specification 1.1.0, section 2 "Parameters". */
export const VERBS = ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] as const;

/** One of {@linkcode VERBS}. */
export type Verb = typeof VERBS[number];

/** A parameter that a plugin may require. */
export type RequiredVariable = "CNI_CONTAINERID" | "CNI_NETNS" | "CNI_IFNAME" | "CNI_PATH";

/**
 * Required variables of each verb, in the order in which they are checked and
 * named when missing. The others are empty or ignored.
 */
const VERB_TABLE: Readonly<Record<Verb, readonly RequiredVariable[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};

/** The pairs of `CNI_ARGS`, in order. */
export type CniArgs = readonly (readonly [key: string, value: string])[];

/** MAX_ARG_STRLEN of Linux, execve(2): the longest variable, with its name and the zero byte at its end. */
const LONGEST_VARIABLE = 131_072;

/** One call of a plugin: the values in its environment. The rest is on standard input. */
export interface Invocation {
  readonly verb: Verb;
  /** Empty for GC, STATUS and VERSION. */
  readonly containerId: string;
  /** Empty if there is no namespace, or it no longer exists. */
  readonly netns: string;
  readonly ifName: string;
  readonly args: CniArgs;
  /** Directories in which a plugin searches its delegates. */
  readonly path: readonly string[];
}

/**
 * Returns the six variables of an invocation. All six are always set, so that no value of the
 * runtime's own environment can reach the plugin.
 *
 * @throws {CniError} of kind `usage` if an argument cannot be written into `CNI_ARGS`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { encodeEnvironment } from "./invocation.ts";
 *
 * const env = encodeEnvironment({
 *   verb: "ADD",
 *   containerId: "c1",
 *   netns: "/run/netns/c1",
 *   ifName: "eth0",
 *   args: [["IgnoreUnknown", "1"], ["IP", "10.1.0.5"]],
 *   path: ["/opt/cni/bin", "/usr/lib/cni"],
 * });
 * assertEquals(env.CNI_ARGS, "IgnoreUnknown=1;IP=10.1.0.5");
 * assertEquals(env.CNI_PATH, "/opt/cni/bin:/usr/lib/cni");
 * ```
 */
export function encodeEnvironment(invocation: Invocation): Record<string, string> {
  return {
    CNI_COMMAND: invocation.verb,
    CNI_CONTAINERID: invocation.containerId,
    CNI_NETNS: invocation.netns,
    CNI_IFNAME: invocation.ifName,
    CNI_ARGS: formatCniArgs(invocation.args),
    CNI_PATH: invocation.path.join(":"),
  };
}

/**
 * Reads the invocation from a plugin's environment.
 *
 * @throws {CniError} with the code 4 (3 for an empty container ID) if a variable that the verb requires is missing or
 * malformed. Missing variables are named together.
 */
export function decodeEnvironment(env: (name: string) => string | undefined): Invocation {
  const read = (name: string) => env(name) ?? "";
  const verb = read("CNI_COMMAND");
  if (verb === "") throw missing(["CNI_COMMAND"]);
  if (!isVerb(verb)) throw invalid(`unknown CNI_COMMAND: ${verb}`);

  const absent: RequiredVariable[] = [];
  for (const name of VERB_TABLE[verb]) {
    const value = read(name);
    if (value === "") absent.push(name);
    else if (name === "CNI_CONTAINERID") validateContainerId(value);
    else if (name === "CNI_IFNAME") validateInterfaceName(value);
  }
  if (absent.length > 0) throw missing(absent);

  return {
    verb,
    containerId: read("CNI_CONTAINERID"),
    netns: read("CNI_NETNS"),
    ifName: read("CNI_IFNAME"),
    // VERSION is called before the parameters of a call are known, often with variables of an earlier call.
    args: verb === "VERSION" ? [] : parseCniArgs(read("CNI_ARGS")),
    // An empty entry would be the working directory of the caller.
    path: read("CNI_PATH").split(":").filter((dir) => dir !== ""),
  };
}

function isVerb(text: string): text is Verb {
  return (VERBS as readonly string[]).includes(text);
}

/**
 * Reads the pairs of a `CNI_ARGS` text, for plugins and for callers of podwire. Nothing in it is escaped: `;` stands
 * only between pairs, and a pair has a key, exactly one `=`, and a value. The value may be empty, as that of
 * `K8S_POD_UID`.
 *
 * @param name Name of the text in the error: plugins use `ARGS`, as the reference plugins do
 *
 * @throws {CniError} of kind `usage`, with the code 4.
 */
export function parseCniArgs(text: string, name = "ARGS"): CniArgs {
  if (text === "") return [];
  return text.split(";").map((pair) => {
    const [key, value, ...more] = pair.split("=");
    if (key === undefined || key === "" || value === undefined || more.length > 0) {
      const { invalidEnvironment: code } = ERROR_CODES;
      throw new CniError("usage", `${name}: invalid pair ${JSON.stringify(pair)}`, {
        code,
        hint:
          "CNI_ARGS is KEY=VALUE;KEY2=VALUE2, without a semicolon at its start or end, or next to another one",
      });
    }
    return [key, value] as const;
  });
}

/**
 * Returns the `CNI_ARGS` text of the pairs.
 *
 * @throws {CniError} of kind `usage` for a key or value that would change the meaning of the text.
 */
function formatCniArgs(args: CniArgs): string {
  validateCniArgs(args);
  return joined(args);
}

/**
 * Refuses arguments that `CNI_ARGS` cannot hold: keys and values that would change the meaning of the text, and a text
 * that is longer than the kernel allows.
 *
 * @throws {CniError} of kind `usage`, with the code 4.
 */
export function validateCniArgs(args: CniArgs): void {
  for (const [key, value] of args) validateCniArg(key, value);
  const bytes = new TextEncoder().encode(`CNI_ARGS=${joined(args)}\0`).length;
  if (bytes <= LONGEST_VARIABLE) return;
  throw new CniError("usage", "the arguments together are too long for the variable CNI_ARGS", {
    code: ERROR_CODES.invalidEnvironment,
    details: `with its name it would have ${bytes} bytes, of at most ${LONGEST_VARIABLE}`,
    hint: "pass a long value as a capability argument, which plugins read from standard input",
  });
}

function joined(args: CniArgs): string {
  return args.map(([key, value]) => `${key}=${value}`).join(";");
}

/**
 * Refuses arguments that a plugin does not know, unless `IgnoreUnknown` is set: then they may be
 * for another plugin of the chain.
 *
 * @throws {CniError} with the code 4.
 */
export function refuseUnknownArgs(args: ReadonlyMap<string, string>, known: readonly string[]): void {
  const unknown = [...args].filter(([key]) => key !== "IgnoreUnknown" && !known.includes(key));
  const ignore = booleanArg("IgnoreUnknown", args.get("IgnoreUnknown") ?? "false");
  if (unknown.length === 0 || ignore) return;
  const pairs = unknown.map(([key, value]) => JSON.stringify(`${key}=${value}`));
  throw invalid(`ARGS: unknown args [${pairs.join(" ")}]`);
}

function booleanArg(key: string, value: string): boolean {
  const lower = value.toLowerCase();
  if (lower === "1" || lower === "true") return true;
  if (lower === "0" || lower === "false") return false;
  throw invalid(`ARGS: error parsing value of pair ${JSON.stringify(`${key}=${value}`)}: not a boolean`);
}

function missing(names: readonly string[]): CniError {
  return invalid(`required env variables [${names.join(",")}] missing`);
}

function invalid(msg: string): CniError {
  return new CniError("usage", msg, { code: ERROR_CODES.invalidEnvironment });
}
