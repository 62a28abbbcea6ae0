import { Semaphore } from "../async/semaphore.ts";
import { IpBatchError, objectsIn, readList } from "../host/ip_batch.ts";
import { parseLinks } from "../host/link_info.ts";
import { isNamed } from "./ip_answers.ts";
import { ipLines } from "./ip_lines.ts";
import { isIpKept, keepIp, whenIpUnused } from "./ip_use.ts";
import { type IpFlags, IpSession } from "./ip_session.ts";
import type { AddRule, Change, Operation, RemoveRule, ShowLink } from "./operation.ts";

/** An operation that a session can carry out: its answer depends on no name that `ip` remembers. */
export type SessionOperation = Exclude<Change, AddRule | RemoveRule> | ShowLink;

/** Those that it cannot, or that need other flags. */
const ASIDE: readonly Operation["kind"][] = [
  "show-links",
  "show-routes",
  "show-rules",
  "add-rule",
  "remove-rule",
];

/** By the flags of `ip`. */
const kept = new Map<string, KeptIp>();

/** Whether a session may carry these operations out, because `ip` is to be kept. */
export function canBeKept(operations: readonly Operation[]): operations is readonly SessionOperation[] {
  return isIpKept() && operations.every(({ kind }) => !ASIDE.includes(kind));
}

/**
 * Carries out operations in this process's own namespace, and returns what `ip` prints: a list for each question.
 *
 * Requires root and `--allow-run=ip`.
 *
 * @throws {IpBatchError} Naming the operation that failed.
 */
export async function askKeptIp(
  operations: readonly SessionOperation[],
  flags: IpFlags,
  signal: AbortSignal | undefined,
): Promise<readonly (readonly unknown[])[]> {
  await using _use = keepIp();
  const key = flags.join(" ");
  let one = kept.get(key);
  if (one === undefined) {
    const made = new KeptIp(flags);
    kept.set(key, one = made);
    whenIpUnused(async () => {
      kept.delete(key);
      await made.end();
    });
  }
  return await one.ask(operations, signal);
}

/** The names of interfaces that an operation needs, and those that it makes. */
function namesIn(operation: SessionOperation): { readonly old: readonly string[]; readonly new?: string } {
  switch (operation.kind) {
    case "create-veth":
      return { old: operation.bridge === undefined ? [] : [operation.bridge], new: operation.name };
    case "create-bridge":
      return { old: [], new: operation.name };
    case "create-link":
      return {
        old: "master" in operation.link ? [operation.link.master] : [],
        // In another namespace `ip` remembers no name of it.
        ...operation.netns === undefined ? { new: operation.name } : {},
      };
    case "set-link":
      return {
        old: operation.master ? [operation.name, operation.master] : [operation.name],
        ...operation.newName === undefined || operation.netns !== undefined ? {} : { new: operation.newName },
      };
    case "set-port":
    case "remove-link":
    case "show-link":
      return { old: [operation.name] };
    case "add-address":
    case "remove-address":
    case "set-neighbor":
    case "add-route":
      return { old: [operation.device] };
    case "remove-route":
      return { old: operation.hops.map(({ device }) => device) };
  }
}

/** One `ip`, and the one after it if it can be trusted no more. One caller after the other. */
class KeptIp {
  readonly #flags: IpFlags;
  readonly #turn = new Semaphore(1);
  #session: IpSession | undefined;

  constructor(flags: IpFlags) {
    this.#flags = flags;
  }

  async ask(
    operations: readonly SessionOperation[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (readonly unknown[])[]> {
    using _turn = await this.#turn.acquire(signal);
    try {
      return await this.#ask(operations, signal);
    } finally {
      if (this.#session?.isSound === false) await this.#replace();
      if (this.#session !== undefined) this.#session.isIdle = true;
    }
  }

  /** No caller may be waiting. */
  async end(): Promise<void> {
    await this.#session?.end({ kindly: true });
  }

  async #ask(
    operations: readonly SessionOperation[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (readonly unknown[])[]> {
    const questions = operations.filter((operation) => operation.kind === "show-link");
    // What only asks may be asked again.
    if (questions.length < operations.length) await this.#beSure(operations, signal);
    const before = new Set(this.#current().names);
    const lists = await this.#run(operations, signal);
    if (await this.#areTrue(lists, questions, before, signal)) return lists;
    await this.#replace();
    const places = operations.flatMap(({ kind }, at) => kind === "show-link" ? [at] : []);
    const again = await this.#run(questions, signal, places);
    for (const other of othersIn(again)) this.#current().names.add(other);
    return again;
  }

  /**
   * Makes sure that `ip` means the interfaces that have the names now. If it may mean others, a new `ip` takes its place, which
   * remembers nothing.
   */
  async #beSure(operations: readonly SessionOperation[], signal: AbortSignal | undefined): Promise<void> {
    const { names } = this.#current();
    const used = operations.map(namesIn);
    // If it remembers the name of an interface that is yet to be made, it means one that is gone.
    const isNew = !used.some((one) => one.new !== undefined && names.has(one.new));
    const old = new Set(used.flatMap(({ old }) => old).filter((name) => names.has(name)));
    if (!isNew || !await this.#means([...old], signal)) await this.#replace();
  }

  /** Whether `ip` means the interfaces that have these names now: it is asked to show them. */
  async #means(names: readonly string[], signal: AbortSignal | undefined): Promise<boolean> {
    if (names.length === 0) return true;
    const lines = names.map((name) => `addr show dev ${name}`);
    const outcome = await this.#current().run(lines, lines.length, signal);
    return outcome.done && names.every((name, at) => shows(readList(outcome.printed[at] ?? ""), name));
  }

  /** Whether the answers are about the interfaces that were asked for, on others that have their names now. */
  async #areTrue(
    lists: readonly (readonly unknown[])[],
    questions: readonly ShowLink[],
    before: ReadonlySet<string>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    if (!questions.every(({ name }, at) => shows(lists[at] ?? [], name))) return false;
    const asked = new Set(questions.map(({ name }) => name));
    const others = othersIn(lists);
    for (const other of others) this.#current().names.add(other);
    return await this.#means([...others].filter((name) => before.has(name) && !asked.has(name)), signal);
  }

  /** Carries out operations; `places` are theirs in the call, if it has others. */
  async #run(
    operations: readonly SessionOperation[],
    signal: AbortSignal | undefined,
    places: readonly number[] = [...operations.keys()],
  ): Promise<readonly (readonly unknown[])[]> {
    const session = this.#current();
    const lines = ipLines(operations);
    const answers = operations.filter(({ kind }) => kind === "show-link").length;
    const outcome = await session.run(lines, answers, signal);
    for (const used of operations.map(namesIn)) {
      for (const name of [...used.old, ...used.new === undefined ? [] : [used.new]]) session.names.add(name);
    }
    if (outcome.done) return outcome.printed.map((text) => objectsIn(readList(text)));
    const { index = -1, reason } = outcome;
    const place = places[index];
    const failed = place === undefined ? undefined : { index: place, line: lines[index] ?? "", reason };
    const message = `Cannot run "ip ${failed?.line ?? `on ${lines.length} lines`}": ${reason}`;
    throw new IpBatchError(failed, reason, message, { code: 1, stderr: reason });
  }

  #current(): IpSession {
    this.#session ??= new IpSession(this.#flags);
    this.#session.isIdle = false;
    return this.#session;
  }

  async #replace(): Promise<void> {
    const old = this.#session;
    this.#session = undefined;
    await old?.end({ kindly: old.isSound });
  }
}

/** The names of the bridges of interfaces and of what they are on: of these `ip` has the index, and prints what it remembers. */
function othersIn(lists: readonly (readonly unknown[])[]): ReadonlySet<string> {
  const names = lists.flatMap(parseLinks).flatMap(({ master, parent }) => [master, parent]);
  return new Set(names.filter((name) => name !== ""));
}

function shows(list: readonly unknown[], name: string): boolean {
  return parseLinks(list).some((link) => isNamed(link, name));
}
