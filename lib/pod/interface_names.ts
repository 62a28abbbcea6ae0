import { CniError } from "../cni/error.ts";
import { validateInterfaceName } from "../cni/name.ts";

const LAST_AUTOMATIC = 9999;

/**
 * Returns the names of a pod's interfaces: those that were asked for, and the lowest free `ethN` for the others, in order.
 *
 * @throws {CniError} kind `usage`, if a name is invalid or taken, or none is left
 */
export function interfaceNames(
  wanted: readonly { readonly name: string; readonly ifName?: string | undefined }[],
): readonly string[] {
  const taken = new Set<string>(["lo"]);
  for (const { name, ifName } of wanted) {
    if (ifName === undefined) continue;
    requireInterfaceName(name, ifName);
    if (taken.has(ifName)) {
      const msg = `network "${name}" requested interface name "${ifName}" already assigned`;
      throw new CniError("usage", msg, { network: name, path: "ifName" });
    }
    taken.add(ifName);
  }
  let next = 0;
  return wanted.map(({ name, ifName }) => {
    if (ifName !== undefined) return ifName;
    while (taken.has(`eth${next}`)) next++;
    if (next > LAST_AUTOMATIC) {
      throw new CniError("usage", `failed to find free interface name for network "${name}"`);
    }
    taken.add(`eth${next}`);
    return `eth${next}`;
  });
}

function requireInterfaceName(network: string, ifName: string): void {
  try {
    validateInterfaceName(ifName);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const { kind, code, msg, context } = error;
    throw new CniError(kind, `ifName: ${JSON.stringify(ifName)}: ${msg}`, {
      ...context,
      code,
      network,
      path: "ifName",
    });
  }
}
