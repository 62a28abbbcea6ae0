import { parseCidr, parseIp } from "../cni/address.ts";
import { isArray, isObject, type JsonObject, member } from "../cni/json.ts";
import { asCniError } from "../errors/to_cni_error.ts";

const HINT =
  "the plugin portmap before its release 1.3 looks for the rules of an address in the other family too (plugins#819); the " +
  "ports may well be open: install a newer release, use the built-in portmap, or set disableCheck";

/**
 * Returns the error of a plugin's CHECK, with a hint if it can only come from a known defect of the plugin: portmap says that
 * rules are missing in a family in which the container has no address, or that IPv4 rules are missing in IPv6.
 */
export function withDefectHint(error: unknown, type: string, result: JsonObject | undefined): unknown {
  if (type !== "portmap") return error;
  const failure = asCniError(error);
  const family = /^could not check ipv(?<family>[46]) dnat: /.exec(failure.msg)?.groups?.family;
  if (family === undefined || failure.context.hint !== undefined) return error;
  const target = /--to-destination \[?(?<target>[0-9a-f.:]*[0-9a-f])\]?:\d+/.exec(failure.msg)?.groups
    ?.target;
  // The first rule that it names is one of the other family, or the container has only addresses of that.
  const isOfOther = target === undefined
    ? !familiesOf(result).has(Number(family))
    : (parseIp(target)?.family ?? Number(family)) !== Number(family);
  return isOfOther ? asCniError(failure, { hint: HINT }) : error;
}

/** The families of the addresses in a result of any version; both if it has none that can be read. */
function familiesOf(result: JsonObject | undefined): ReadonlySet<number> {
  const ips = result === undefined ? undefined : member(result, "ips");
  const families = (isArray(ips) ? ips : []).flatMap((ip) => {
    const address = isObject(ip) ? member(ip, "address") : undefined;
    return typeof address === "string" ? parseCidr(address)?.ip.family ?? [] : [];
  });
  return new Set(families.length === 0 ? [4, 6] : families);
}
