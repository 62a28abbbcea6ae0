import { CniError, type CniErrorOptions, ERROR_CODES, type ErrorKind, isBlank } from "../cni/error.ts";
import { isObject, type Json, numberOf, parseJson } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";
import type { CommandOutcome } from "../host/command.ts";

const QUOTE_LENGTH = 200;
const STDERR_TAIL = 4_000;
/** In bytes. Results are stored, and read for each list of sandboxes. */
const LARGEST_OUTPUT = 1024 * 1024;
const MOST_MEMBERS = 10_000;

const HINTS: Readonly<Record<number, string>> = {
  [ERROR_CODES.incompatibleVersion]: "give the network a cniVersion that all of its plugins support",
  [ERROR_CODES.tryAgainLater]: "the plugin asks to be called again later",
  [ERROR_CODES.pluginNotAvailable]: "the plugin cannot attach containers now; see its daemon",
};

/** Members of results of any version. */
const RESULT_MEMBERS = ["interfaces", "ips", "routes", "dns", "ip4", "ip6"] as const;

/**
 * Reads the result that a plugin printed after success. A result without a version has that of the configuration, but
 * `null` and an object with neither a version nor a member of a result are not results.
 *
 * @throws {CniError} kind `plugin-output`, with a quote of the output
 */
export function decodeOutput(stdout: string): Json {
  const json = parseOutput(stdout);
  requireFew(json);
  const isEmpty = json === null || (isObject(json) && !json.cniVersion &&
    RESULT_MEMBERS.every((member) => (json[member] ?? null) === null));
  if (!isEmpty) return json;
  throw new CniError(
    "plugin-output",
    `the plugin succeeded, but did not print a CNI result: ${quote(stdout)}`,
    {
      code: ERROR_CODES.decodingFailure,
      hint: "a result has at least a cniVersion",
    },
  );
}

/**
 * Returns the error of a plugin that printed an error object, but ended with exit status 0, as some do. No result of CNI
 * has these two members.
 */
export function failureDespiteSuccess(outcome: CommandOutcome): CniError | undefined {
  // The caller parses results, so that they are parsed once.
  if (!outcome.stdout.includes('"msg"') || !outcome.stdout.includes('"code"')) return undefined;
  const json = tryParse(outcome.stdout);
  if (json === undefined || numberOf(json.code ?? null) === undefined) return undefined;
  if (typeof json.msg !== "string" || isBlank(json.msg)) return undefined;
  return errorObject(outcome, factsOf(outcome));
}

/**
 * Returns the answer, unless it is too long to be stored.
 *
 * @throws {CniError} kind `plugin-output`
 */
export function requireSmall(stdout: string): string {
  // A UTF-16 unit needs at most three bytes in UTF-8.
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
    throw new CniError("plugin-output", "the plugin succeeded, but did not print a result", {
      code: ERROR_CODES.decodingFailure,
    });
  }
  try {
    return parseJson(stdout);
  } catch (cause) {
    const reason = asCniError(cause);
    throw new CniError("plugin-output", `the plugin did not print a JSON result: ${quote(stdout)}`, {
      code: ERROR_CODES.decodingFailure,
      details: reason.msg,
      cause,
    });
  }
}

/**
 * Returns the error of a run that failed: the error object on standard output, or else how the
 * process ended; always with the end of standard error.
 */
export function decodeFailure(outcome: CommandOutcome, signal: AbortSignal): CniError {
  const facts = factsOf(outcome);
  if (outcome.ended === "aborted") {
    return asCniError(signal.reason).within({ ...facts, elapsedMs: outcome.elapsedMs });
  }
  if (outcome.ended !== "exit") {
    const stream = outcome.ended === "stdout-overflow" ? "standard output" : "standard error";
    return new CniError("plugin-output", `the plugin wrote more to ${stream} than podwire accepts`, {
      ...facts,
      code: ERROR_CODES.decodingFailure,
    });
  }
  if (outcome.stdout.trim() === "") {
    const stderr = outcome.stderr.trim();
    const ending = endingOf(outcome);
    return new CniError("plugin-crash", stderr === "" ? `${ending} without a message` : ending, {
      ...facts,
      details: stderr === "" ? undefined : `it wrote to standard error: ${quote(stderr)}`,
    });
  }
  return errorObject(outcome, facts);
}

function errorObject(outcome: CommandOutcome, facts: CniErrorOptions): CniError {
  const ending = endingOf(outcome);
  const json = tryParse(outcome.stdout);
  const code = json === undefined ? undefined : numberOf(json.code ?? 0);
  if (json === undefined || code === undefined || code < 0 || !Number.isSafeInteger(code)) {
    // The error gets no code: the value in its place has no meaning.
    return new CniError(
      "plugin-output",
      `${ending} and did not print an error object: ${quote(outcome.stdout)}`,
      facts,
    );
  }
  const msg = typeof json.msg === "string" && !isBlank(json.msg) ? json.msg : undefined;
  const details = typeof json.details === "string" && !isBlank(json.details) ? json.details : undefined;
  if (msg === undefined) {
    // A result, or an object with only a code, before a failing exit: include all that is known.
    const stderr = outcome.stderr.trim() === "" ? "" : `: ${quote(outcome.stderr.trim())}`;
    return new CniError("plugin-crash", `${ending} and its error object has no message${stderr}`, {
      ...facts,
      code,
      details: details ?? `it printed: ${quote(outcome.stdout)}`,
    });
  }
  const hint = HINTS[code] ?? (WANTS_PREFIX.test(msg) ? PREFIX_HINT : undefined);
  return new CniError(kindOf(code, msg), msg, {
    ...facts,
    code,
    details,
    hint,
  });
}

/** Message of host-local, the built-in one and that of the CNI plugins project. Its code is not specific. */
const NO_ADDRESS_LEFT = /\bno IP addresses available in range set\b/;

/** Message of static for a requested address without a prefix length. */
const WANTS_PREFIX = /\bexpected to be in CIDR notation\b/;
const PREFIX_HINT = "its IPAM plugin needs an address with its prefix length, as in --ip ADDRESS/PREFIX";

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
