import { CniError, ERROR_CODES } from "../cni/error.ts";
import { validateCniArg, validateContainerId, validateInterfaceName } from "../cni/name.ts";

/** What a runtime can ask of a plugin. Source: CNI specification 1.1.0, section 2 "Parameters". */
export const VERBS = ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"] as const;

/** One of {@linkcode VERBS}. */
export type Verb = typeof VERBS[number];

/** A parameter that a plugin may insist on. */
export type RequiredVariable = "CNI_CONTAINERID" | "CNI_NETNS" | "CNI_IFNAME" | "CNI_PATH";

/**
 * The variables that each verb cannot do without, in the order in which they are looked at and
 * named when missing. The others are empty or ignored.
 */
export const VERB_TABLE: Readonly<Record<Verb, readonly RequiredVariable[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};

/** The pairs of `CNI_ARGS`, in order. */
export type CniArgs = readonly (readonly [key: string, value: string])[];

/** MAX_ARG_STRLEN of Linux, execve(2): of one variable with its name and the zero byte at its end. */
const LONGEST_VARIABLE = 131_072;

/** One call of a plugin: everything that travels in the environment. The rest is standard input. */
export interface Invocation {
  readonly verb: Verb;
  /** Empty for GC, STATUS and VERSION. */
  readonly containerId: string;
  /** Empty where there is none, or none any more. */
  readonly netns: string;
  readonly ifName: string;
  readonly args: CniArgs;
  /** The folders in which a plugin looks for its delegates. */
  readonly path: readonly string[];
}

/**
 * The six variables of an invocation. All six are always there, so that no value that the
 * runtime itself was started with can reach the plugin.
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
 * The invocation that a plugin's environment describes.
 *
 * @throws {CniError} with the code 4 (3 for an empty container ID) if a variable that the verb needs is missing or
 * malformed. Missing ones are named together.
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
    // VERSION is asked before anything is known of the call, often with a leftover environment.
    args: verb === "VERSION" ? [] : parseCniArgs(read("CNI_ARGS")),
    // An empty entry would mean the working directory of whoever calls.
    path: read("CNI_PATH").split(":").filter((dir) => dir !== ""),
  };
}

function isVerb(text: string): text is Verb {
  return (VERBS as readonly string[]).includes(text);
}

/**
 * The pairs in a `CNI_ARGS` text, for plugins and for callers of podwire alike. Nothing in it is escaped: `;` stands
 * between pairs only, and a pair has a key, exactly one `=`, and a value, which may be empty as that of
 * `K8S_POD_UID` is.
 *
 * @param name What the text is called in the error: plugins say `ARGS`, as the original ones do
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
        hint: "CNI_ARGS is KEY=VALUE;KEY2=VALUE2, without a semicolon before, behind or beside another one",
      });
    }
    return [key, value] as const;
  });
}

/**
 * The `CNI_ARGS` text of the pairs.
 *
 * @throws {CniError} of kind `usage` for a key or value that would change the meaning of the text.
 */
export function formatCniArgs(args: CniArgs): string {
  validateCniArgs(args);
  return joined(args);
}

/**
 * Refuses what cannot be written into `CNI_ARGS`: keys and values that would change the meaning of the text, and more
 * than the kernel takes.
 *
 * @throws {CniError} of kind `usage`, with the code 4.
 */
export function validateCniArgs(args: CniArgs): void {
  for (const [key, value] of args) validateCniArg(key, value);
  const bytes = new TextEncoder().encode(`CNI_ARGS=${joined(args)}\0`).length;
  if (bytes <= LONGEST_VARIABLE) return;
  throw new CniError("usage", "the arguments are too long together for the variable CNI_ARGS", {
    code: ERROR_CODES.invalidEnvironment,
    details: `with its name it would have ${bytes} bytes, of at most ${LONGEST_VARIABLE}`,
    hint: "what is long can be passed as a capability argument, which travels on standard input",
  });
}

function joined(args: CniArgs): string {
  return args.map(([key, value]) => `${key}=${value}`).join(";");
}

/**
 * Refuses arguments that a plugin does not know, unless `IgnoreUnknown` says that they may be meant
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
