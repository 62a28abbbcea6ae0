import { CniError, ERROR_CODES, type ErrorKind } from "./error.ts";

/** Container IDs and network names; spec section 1 "name" and section 2 `CNI_CONTAINERID`. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** The white space of the kernel's and the Go library's rule, which is not that of `\s` (U+0085 in, U+FEFF out). */
const INTERFACE_NAME_REFUSES = /[/:\t\n\v\f\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** IFNAMSIZ of the kernel (linux/if.h), without the closing zero byte. */
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
 * Checks the name of a network. What passes is also a safe file name.
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
  // The kernel makes `eth%d` the next free `eth0`, `eth1`, ..., and refuses all else with this sign.
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
 * Checks one pair that a caller gives, as {@linkcode validateCniArg} does, that plugins take its value, and that it can
 * stand in a line. What is on record, of another runtime perhaps, is passed on as it is.
 *
 * Plugins that read their arguments by the Go library (`types.LoadArgs`) split a pair at each `=` and refuse it, and
 * so all arguments, where that gives more than a key and a value.
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
  }: it is of several lines, or has an unprintable character`;
  throw refused("usage", ERROR_CODES.invalidEnvironment, msg);
}

/** Whether a text stays on its line, and shows as what it is. */
export function isPrintable(text: string): boolean {
  return !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(text);
}

function refused(kind: ErrorKind, code: number, msg: string, details?: string): CniError {
  return new CniError(kind, msg, { code, ...(details === undefined ? {} : { details }) });
}
