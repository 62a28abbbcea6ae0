import { type CniError, ERROR_CODES } from "../cni/error.ts";

/** A plugin's answer that it does not take what it is asked. */
export interface Refusal {
  /** The code of the CNI error. */
  readonly code: number;
  /** The plugin's own words. */
  readonly msg: string;
}

/** Codes that say by themselves that the input is at fault, whatever the message. */
const OF_INPUT: readonly number[] = [
  ERROR_CODES.incompatibleVersion,
  ERROR_CODES.unsupportedField,
  ERROR_CODES.invalidEnvironment,
  ERROR_CODES.decodingFailure,
  ERROR_CODES.invalidNetworkConfig,
];

/** Codes that say that the input is not at fault. */
const OF_THE_MOMENT: readonly number[] = [
  ERROR_CODES.unknownContainer,
  ERROR_CODES.ioFailure,
  ERROR_CODES.invalidNetns,
  ERROR_CODES.tryAgainLater,
  ERROR_CODES.pluginNotAvailable,
  ERROR_CODES.limitedConnectivity,
];

/**
 * How plugins in Go, which give almost everything the code 999, begin or end when the configuration is at fault: the
 * words of encoding/json, net and netlink, and those of the reference plugins 1.1.1 to 1.9.1. What is not among them
 * counts as another failure, which keeps its record.
 */
const WORDS_OF_GO: readonly RegExp[] = [
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
 * Whether a plugin says that the configuration or the arguments are at fault, or something that the configuration names
 * is missing: another plugin, a master interface.
 */
export function refusesInput({ kind, code, msg }: CniError): boolean {
  if (kind !== "plugin" || OF_THE_MOMENT.includes(code)) return false;
  return OF_INPUT.includes(code) || WORDS_OF_GO.some((words) => words.test(msg));
}

/** Whether an operation failed for what is configured: plugins refuse it, are missing, or it cannot be read. */
export function isConfigAtFault(error: CniError): boolean {
  return error.kind === "config" || error.kind === "plugin-missing" || refusesInput(error);
}
