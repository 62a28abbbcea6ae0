import { bitsOf, parseIp } from "../cni/address.ts";
import { objectsIn } from "../host/ip_batch.ts";
import { numberedTable } from "./ip_numbers.ts";
import type { RuleInfo } from "./operation.ts";

/** What a rule by the source alone has; `ip` shows the last one with details. */
const PLAIN: readonly string[] = ["priority", "src", "srclen", "table", "protocol"];

/** Returns the rules in a list that `ip` printed. */
export function parseRules(list: readonly unknown[] = []): readonly RuleInfo[] {
  return objectsIn(list).map((rule) => {
    const ip = parseIp(String(rule.src ?? ""));
    const table = numberedTable(rule.table);
    return {
      priority: Number(rule.priority ?? 0),
      source: ip && { ip, prefix: Number(rule.srclen ?? bitsOf(ip)) },
      table,
      isBySource: rule.table !== undefined && Object.keys(rule).every((key) => PLAIN.includes(key)),
    };
  });
}
