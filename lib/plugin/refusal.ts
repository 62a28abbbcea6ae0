import { type CniError, ERROR_CODES } from "../cni/error.ts";

/** A plugin's answer that its input is wrong. */
export interface Refusal {
  /** The code of the CNI error. */
  readonly code: number;
  /** The plugin's own message. */
  readonly msg: string;
}

/** Codes for a wrong input, with any message. */
const INPUT_CODES: readonly number[] = [
  ERROR_CODES.incompatibleVersion,
  ERROR_CODES.unsupportedField,
  ERROR_CODES.invalidEnvironment,
  ERROR_CODES.decodingFailure,
  ERROR_CODES.invalidNetworkConfig,
];

/** Codes for a problem that is not in the input. */
const TRANSIENT_CODES: readonly number[] = [
  ERROR_CODES.unknownContainer,
  ERROR_CODES.ioFailure,
  ERROR_CODES.invalidNetns,
  ERROR_CODES.tryAgainLater,
  ERROR_CODES.pluginNotAvailable,
  ERROR_CODES.limitedConnectivity,
];

/**
 * Messages of plugins in Go about a wrong configuration; they use the code 999 for almost every error. They come from
 * encoding/json, net and netlink, and from the reference plugins 1.1.1 to 1.9.1. Any other message counts as another
 * failure, which keeps its record.
 */
const MESSAGES_OF_GO: readonly RegExp[] = [
  /\bjson: (cannot unmarshal|unknown field|invalid)/,
  /^(failed to (load|parse) (netconf|network configuration|config)|error parsing configuration)/,
  /\binvalid (CIDR address|IP address|MAC address|VLAN ID)\b/,
  /^(invalid range set \d+: |no IP ranges specified|IPAM config missing 'ipam' key)/,
  /^failed to find plugin "/,
  /\bLink not found$/,
  /^specify either "device"/,
  /^"\w+" field is required/,
];

/**
 * Whether a plugin reports that the configuration or the arguments are wrong, or that something which the configuration
 * names is missing: another plugin, a master interface.
 */
export function refusesInput({ kind, code, msg }: CniError): boolean {
  if (kind !== "plugin" || TRANSIENT_CODES.includes(code)) return false;
  return INPUT_CODES.includes(code) || MESSAGES_OF_GO.some((pattern) => pattern.test(msg));
}

/** Whether an operation failed because of the configuration: plugins refuse it, are missing, or it cannot be read. */
export function isConfigAtFault(error: CniError): boolean {
  return error.kind === "config" || error.kind === "plugin-missing" || refusesInput(error);
}
