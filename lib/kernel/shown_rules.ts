import type { NetlinkSocket } from "./netlink_socket.ts";
import type { RuleInfo, ShowRules } from "./operation.ts";
import { readRule } from "./rule_answer.ts";
import { listRules } from "./rule_request.ts";
import { listed } from "./shown_links.ts";

/** Shows rules, see {@linkcode ShowRules}. @throws {NetlinkError} */
export async function showRules(
  socket: NetlinkSocket,
  { family }: ShowRules,
): Promise<readonly RuleInfo[]> {
  const rules = await listed(socket, listRules(family), readRule);
  // Where the kernel does not have the family, it answers for all that it has.
  return rules.filter((rule) => rule.family === family).map(({ family: _, ...rule }) => rule);
}
