import { CniError, ERROR_CODES, type ErrorKind } from "./error.ts";

/** Container IDs and network names. Source: CNI specification, section 1 "name" and section 2 `CNI_CONTAINERID`. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** White space as in the kernel and the Go library. Unlike `\s` it has U+0085 and not U+FEFF. */
const INTERFACE_NAME_REFUSES = /[/:\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** IFNAMSIZ of the kernel (linux/if.h), without the zero byte at the end. */
const INTERFACE_NAME_BYTES = 15;

/**
 * Checks a container ID.
 *
 * @throws {CniError} of kind `usage`: code 3 when it is empty, code 4 when it has other characters than allowed
 */
export function validateContainerId(text: string): void {
  if (text === "") throw refused("usage", ERROR_CODES.unknownContainer, "missing containerID");
  if (!NAME.test(text)) {
    throw refused("usage", ERROR_CODES.invalidEnvironment, "invalid characters in containerID", text);
  }
}

/** Whether a text can be a container ID. */
export function isContainerId(text: string): boolean {
  return NAME.test(text);
}

/**
 * Checks the name of a network. A valid name is also a safe file name.
 *
 * @throws {CniError} of kind `config`, code 7
 */
export function validateNetworkName(text: string): void {
  if (text === "") throw refused("config", ERROR_CODES.invalidNetworkConfig, "missing network name:");
  if (!NAME.test(text)) {
    throw refused(
      "config",
      ERROR_CODES.invalidNetworkConfig,
      "invalid characters found in network name",
      text,
    );
  }
}

/**
 * Checks the name of an interface as the kernel would.
 *
 * @throws {CniError} of kind `usage`, code 4
 */
export function validateInterfaceName(text: string): void {
  const refuse = (msg: string, details?: string) =>
    refused("usage", ERROR_CODES.invalidEnvironment, msg, details);
  if (text === "") throw refuse("interface name is empty");
  if (new TextEncoder().encode(text).length > INTERFACE_NAME_BYTES) {
    throw refuse("interface name is too long", "interface name should be less than 16 characters");
  }
  if (text === "." || text === "..") throw refuse("interface name is . or ..");
  if (INTERFACE_NAME_REFUSES.test(text)) {
    throw refuse("interface name contains / or : or whitespace characters");
  }
  // The kernel replaces `eth%d` by the next free `eth0`, `eth1`, ..., and refuses every other name with this sign.
  if (text.includes("%")) throw refuse("interface name contains %");
  if (text.includes("\0")) throw refuse("interface name contains a zero byte");
}

/**
 * Checks that a plugin's type is the name of a file, not a path.
 *
 * @throws {CniError} of kind `config`, code 7
 */
export function validatePluginType(type: string): void {
  if (type === "") throw refused("config", ERROR_CODES.invalidNetworkConfig, "no plugin name provided");
  if (!isPluginType(type)) {
    throw refused("config", ERROR_CODES.invalidNetworkConfig, `invalid plugin name: ${type}`);
  }
}

/** Whether a plugin's type can be the name of a file in a directory of plugins. */
export function isPluginType(type: string): boolean {
  if (type === "" || type === "." || type === "..") return false;
  return !type.includes("/") && isPrintable(type) && new TextEncoder().encode(type).length <= 255;
}

/**
 * Checks one pair for `CNI_ARGS`, in which nothing can be escaped: a `;` ends the pair, the first `=` ends the key.
 *
 * @throws {CniError} of kind `usage`, code 4
 */
export function validateCniArg(key: string, value: string): void {
  const refuse = (state: string) =>
    refused("usage", ERROR_CODES.invalidEnvironment, `Cannot pass CNI argument "${key}": ${state}`);
  if (key === "") throw refuse("its key is empty");
  if (/[;=]/.test(key)) throw refuse('its key contains ";" or "="');
  if (value.includes(";")) throw refuse('its value contains ";"');
  if (key.includes("\0") || value.includes("\0")) throw refuse("it contains a zero byte");
}

/**
 * Checks one pair that a caller gives, as {@linkcode validateCniArg} does, and also that plugins accept its value and
 * that it fits on a line. Pairs in records, perhaps of another runtime, are passed on as they are.
 *
 * Plugins that read their arguments with the Go library (`types.LoadArgs`) split a pair at each `=`. If that gives more
 * than a key and a value, they refuse all arguments.
 *
 * @throws {CniError} of kind `usage`, code 4
 */
export function validateNewCniArg(key: string, value: string): void {
  validateCniArg(key, value);
  if (value.includes("=")) {
    const msg = `Cannot pass CNI argument "${key}": its value contains "=", which plugins refuse`;
    throw refused("usage", ERROR_CODES.invalidEnvironment, msg);
  }
  if (isPrintable(key) && isPrintable(value)) return;
  const msg = `Cannot pass CNI argument ${
    JSON.stringify(key)
  }: it has several lines or an unprintable character`;
  throw refused("usage", ERROR_CODES.invalidEnvironment, msg);
}

/** Whether a text has no line break, control or invisible character. */
export function isPrintable(text: string): boolean {
  return !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(text);
}

function refused(kind: ErrorKind, code: number, msg: string, details?: string): CniError {
  return new CniError(kind, msg, { code, details });
}
