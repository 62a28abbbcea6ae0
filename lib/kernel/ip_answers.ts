import { HostError } from "../host/command.ts";
import { IpBatchError } from "../host/ip_batch.ts";
import { type LinkInfo, parseLinks } from "../host/link_info.ts";
import { deviceIn, parseRoutes } from "./ip_routes.ts";
import { parseRules } from "./ip_rules.ts";
import { KernelError, type KernelProblem } from "./kernel.ts";
import type { Answers, Operation, ShowLink, ShowLinks } from "./operation.ts";

/**
 * Returns what the operations answer, read from the lists that `ip` printed: one for each question, in their order.
 *
 * @throws {KernelError} If an interface that was to be shown is not in its list.
 */
export function readAnswers<const T extends readonly Operation[]>(
  operations: T,
  lists: readonly (readonly unknown[])[],
): Answers<T> {
  let questions = 0;
  const answers = operations.map((operation, index) => {
    if (operation.kind === "show-link") {
      return named(operation, parseLinks(lists[questions++])) ?? refuse(operations, index);
    }
    if (operation.kind === "show-links") return listed(operation, parseLinks(lists[questions++]));
    if (operation.kind === "find-route") {
      return deviceIn(lists[questions++]) ?? refuse(operations, index);
    }
    if (operation.kind === "show-routes") return parseRoutes(operation.family, lists[questions++]);
    if (operation.kind === "show-rules") return parseRules(lists[questions++]);
    return undefined;
  });
  // The compiler does not see that each answer is of the type of its operation.
  return answers as Answers<T>;
}

/**
 * Only under its name: `ip` takes the name `if1` for the interface with the index 1 if there is no other one of that name.
 */
function named({ name }: ShowLink, links: readonly LinkInfo[]): LinkInfo | undefined {
  return links.find((link) => isNamed(link, name));
}

/** Whether an interface has a name, or an alternative name. */
export function isNamed({ name: own, altNames }: LinkInfo, name: string): boolean {
  return own === name || altNames.includes(name);
}

function refuse(operations: readonly Operation[], index: number): never {
  throw new KernelError(index, "ip does not show it", "missing", { operations, program: "ip", code: 0 });
}

function listed({ of, addresses = false }: ShowLinks, links: readonly LinkInfo[]): readonly LinkInfo[] {
  return links.map((link) => ({
    ...link,
    kind: of ?? link.kind,
    addresses: addresses ? link.addresses : [],
  }));
}

/** What `ip`, `tc` and `nsenter` print in place of an interface or an address that does not exist. */
const MISSING =
  /Cannot find (?:bridge )?device|does not exist|No such device|No such file|No such process|Not a directory|Invalid "netns" value|address not found|Cannot assign requested address/i;
const EXISTS = /File exists|already exists|already assigned|Exclusivity flag on/i;

/** Returns the failure of `ip` as that of an operation; another error is returned as it is. */
export function asKernelError(error: unknown, operations: readonly Operation[], netns?: string): unknown {
  if (!(error instanceof HostError) || error.reason !== "program-failed") return error;
  const { program, code, stderr } = error;
  const [named, words] = error instanceof IpBatchError
    ? [error.failed?.index, error.why]
    : [undefined, oneLine(stderr) || `exit code ${code}`];
  // Where `nsenter` opens a path but cannot enter what is there, it does not name the path.
  const isNamed = netns === undefined || !stderr.startsWith("nsenter: ") || words.includes(netns);
  const why = isNamed ? words : `${words}: ${netns}`;
  const index = named ?? (operations.length === 1 && isOfIp(stderr) ? 0 : undefined);
  return new KernelError(index, why, problemIn(why), { operations, program, code, stderr, cause: error });
}

/** Whether `ip` ended at a word of a line, without the number of the line; what starts `ip` words its failures otherwise. */
function isOfIp(stderr: string): boolean {
  return stderr.startsWith("Error: ");
}

function problemIn(why: string): KernelProblem {
  if (EXISTS.test(why)) return "exists";
  return MISSING.test(why) ? "missing" : "other";
}

function oneLine(text: string): string {
  return text.split("\n").map((line) => line.trim()).filter((line) => line !== "").join("; ");
}
