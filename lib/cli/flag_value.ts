import { CniError } from "../cni/error.ts";
import { validateContainerId, validateInterfaceName, validateNetworkName } from "../cni/name.ts";
import { socketPathProblem } from "../host/socket_path.ts";
import { refuseFrom } from "../pod/setting.ts";
import { pair as readPair, positive as readPositive, withRule } from "../pod/setting_text.ts";

// Values that several flags take. Each function also gets the flag, for its error to name.

/** `KEY=VALUE` */
export function pair(flag: string, text: string): readonly [string, string] {
  return readPair(text, refuseFrom(flag));
}

/** A whole number from 1 to `most`. */
export function positive(flag: string, text: string, most: number): number {
  return readPositive(text, most, refuseFrom(flag));
}

/** The absolute path of a socket. */
export function socketPath(
  flag: string,
  path: string,
  purpose: Parameters<typeof socketPathProblem>[1] = "connect",
): string {
  const problem = socketPathProblem(path, purpose);
  if (problem === undefined) return path;
  throw new CniError("usage", `${flag}: ${problem}`, { details: path });
}

/** The name of a network. */
export function networkName(flag: string, text: string): string {
  return withRule(refuseFrom(flag), () => (validateNetworkName(text), text));
}

/** The name of an interface. */
export function interfaceName(flag: string, text: string): string {
  return withRule(refuseFrom(flag), () => (validateInterfaceName(text), text));
}

/** The ID of a container. */
export function containerId(flag: string, text: string): string {
  return withRule(refuseFrom(flag), () => (validateContainerId(text), text));
}
