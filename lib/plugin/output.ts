import type { CommandOutcome } from "../host/command.ts";
import { CniError, type CniErrorOptions, ERROR_CODES, type ErrorKind, isBlank } from "../cni/error.ts";
import { isObject, type Json, numberOf, parseJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";

const QUOTE_LENGTH = 200;
const STDERR_TAIL = 4_000;
/** Results are kept, and read for each list of sandboxes. */
const LARGEST_OUTPUT = 1024 * 1024;
const MOST_MEMBERS = 10_000;

const HINTS: Readonly<Record<number, string>> = {
  [ERROR_CODES.incompatibleVersion]: "give the network a cniVersion that all of its plugins support",
  [ERROR_CODES.tryAgainLater]: "the plugin asks to be called again later",
  [ERROR_CODES.pluginNotAvailable]: "the plugin cannot attach containers now; see its daemon",
};

/** Members of results, of whichever version. */
const RESULT_MEMBERS = ["interfaces", "ips", "routes", "dns", "ip4", "ip6"] as const;

/**
 * The result that a plugin printed after success. A result without version is one of the configuration's, but `null`
 * and an object with neither a version nor a member of a result say nothing of an attachment.
 *
 * @throws {CniError} kind `plugin-output`, quoting what was printed instead
 */
export function decodeOutput(stdout: string): Json {
  const json = parseOutput(stdout);
  requireFew(json);
  const isEmpty = json === null || (isObject(json) && !json.cniVersion &&
    RESULT_MEMBERS.every((member) => (json[member] ?? null) === null));
  if (!isEmpty) return json;
  throw new CniError("plugin-output", `the plugin ended well and printed no CNI result: ${quote(stdout)}`, {
    code: ERROR_CODES.decodingFailure,
    hint: "a result has at least a cniVersion",
  });
}

/**
 * What a plugin refused although it ended with exit status 0: some print the error object and forget to fail. No
 * result of CNI has these two members.
 */
export function failureDespiteSuccess(outcome: CommandOutcome): CniError | undefined {
  // Results are parsed once, by whoever wants them.
  if (!outcome.stdout.includes('"msg"') || !outcome.stdout.includes('"code"')) return undefined;
  const json = tryParse(outcome.stdout);
  if (json === undefined || numberOf(json.code ?? null) === undefined) return undefined;
  if (typeof json.msg !== "string" || isBlank(json.msg)) return undefined;
  return errorObject(outcome, factsOf(outcome));
}

/**
 * The answer, unless it is too long to be kept.
 *
 * @throws {CniError} kind `plugin-output`
 */
export function requireSmall(stdout: string): string {
  // No character takes more than three bytes for its one or two units.
  if (stdout.length * 3 <= LARGEST_OUTPUT) return stdout;
  const bytes = new TextEncoder().encode(stdout).byteLength;
  if (bytes > LARGEST_OUTPUT) throw tooLarge(`${bytes} bytes, of at most ${LARGEST_OUTPUT}`);
  return stdout;
}

function requireFew(json: Json): void {
  let left = MOST_MEMBERS;
  const count = (value: Json): void => {
    if (typeof value !== "object" || value === null) return;
    const members = Object.values(value);
    if ((left -= members.length) < 0) throw tooLarge(`more than ${MOST_MEMBERS} members`);
    for (const member of members) count(member);
  };
  count(json);
}

function tooLarge(size: string): CniError {
  return new CniError("plugin-output", `the plugin's answer is too large: it has ${size}`, {
    code: ERROR_CODES.decodingFailure,
  });
}

function parseOutput(stdout: string): Json {
  if (stdout.trim() === "") {
    throw new CniError("plugin-output", "the plugin ended well and printed no result", {
      code: ERROR_CODES.decodingFailure,
    });
  }
  try {
    return parseJson(stdout);
  } catch (cause) {
    const reason = asCniError(cause);
    throw new CniError("plugin-output", `the plugin printed no JSON result: ${quote(stdout)}`, {
      code: ERROR_CODES.decodingFailure,
      details: reason.msg,
      cause,
    });
  }
}

/**
 * What a run that did not end well has to say: the error object on standard output, else how the
 * process ended, always with the tail of standard error.
 */
export function decodeFailure(outcome: CommandOutcome, signal: AbortSignal): CniError {
  const facts = factsOf(outcome);
  if (outcome.ended === "aborted") {
    return asCniError(signal.reason).within({ ...facts, elapsedMs: outcome.elapsedMs });
  }
  if (outcome.ended !== "exit") {
    const stream = outcome.ended === "stdout-overflow" ? "standard output" : "standard error";
    return new CniError("plugin-output", `the plugin wrote more to ${stream} than is accepted`, {
      ...facts,
      code: ERROR_CODES.decodingFailure,
    });
  }
  if (outcome.stdout.trim() === "") {
    const said = outcome.stderr.trim();
    const ending = endingOf(outcome);
    return new CniError("plugin-crash", said === "" ? `${ending} without a message` : ending, {
      ...facts,
      ...(said === "" ? {} : { details: `it wrote to standard error: ${quote(said)}` }),
    });
  }
  return errorObject(outcome, facts);
}

function errorObject(outcome: CommandOutcome, facts: CniErrorOptions): CniError {
  const ending = endingOf(outcome);
  const json = tryParse(outcome.stdout);
  const code = json === undefined ? undefined : numberOf(json.code ?? 0);
  if (json === undefined || code === undefined || code < 0 || !Number.isSafeInteger(code)) {
    // Without a code: what stands there instead of one means nothing.
    return new CniError(
      "plugin-output",
      `${ending} and printed no error object: ${quote(outcome.stdout)}`,
      facts,
    );
  }
  const msg = typeof json.msg === "string" && !isBlank(json.msg) ? json.msg : undefined;
  const details = typeof json.details === "string" && !isBlank(json.details) ? json.details : undefined;
  if (msg === undefined) {
    // A result, or an object with only a code, before a failing exit: tell all there is.
    const said = outcome.stderr.trim() === "" ? "" : `: ${quote(outcome.stderr.trim())}`;
    return new CniError("plugin-crash", `${ending} and its error object has no message${said}`, {
      ...facts,
      code,
      details: details ?? `it printed: ${quote(outcome.stdout)}`,
    });
  }
  const hint = HINTS[code] ?? (WANTS_PREFIX.test(msg) ? PREFIX_HINT : undefined);
  return new CniError(kindOf(code, msg), msg, {
    ...facts,
    code,
    ...(details === undefined ? {} : { details }),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The words of host-local, the built-in one and those of the CNI plugins project: its code says nothing. */
const NO_ADDRESS_LEFT = /\bno IP addresses available in range set\b/;

/** The words of static for an address that was asked for without the length of its prefix. */
const WANTS_PREFIX = /\bexpected to be in CIDR notation\b/;
const PREFIX_HINT = "its IPAM plugin wants an address with its prefix, as in --ip ADDRESS/PREFIX";

function kindOf(code: number, msg: string): ErrorKind {
  return code === ERROR_CODES.pluginNotAvailable || code === ERROR_CODES.limitedConnectivity
    ? "not-ready"
    : NO_ADDRESS_LEFT.test(msg)
    ? "exhausted"
    : "plugin";
}

function tryParse(text: string) {
  try {
    const json = parseJson(text);
    return isObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

function factsOf({ code, signal, stderr, ended }: CommandOutcome): CniErrorOptions {
  const tail = stderr.trim().slice(-STDERR_TAIL);
  return {
    ...(ended !== "exit" ? {} : signal === null ? { exitCode: code } : { signal }),
    ...(tail === "" ? {} : { stderr: tail }),
  };
}

function endingOf({ code, signal }: CommandOutcome): string {
  return signal === null
    ? `the plugin ended with exit status ${code}`
    : `the plugin was ended by signal ${signal}`;
}

function quote(text: string): string {
  const short = text.length > QUOTE_LENGTH ? `${text.slice(0, QUOTE_LENGTH)}...` : text;
  return JSON.stringify(short);
}
