/** Where lines go: to `nft`, or to a table of `iptables-restore` or `ip6tables-restore`. */
export type RuleTarget = "nft" | `${4 | 6} ${"nat" | "filter"}`;

/**
 * The changes of rules of several attachments, which become one transaction: each is planned with what was there before all of
 * them.
 */
export class RuleBatch {
  readonly #listed = new Map<string, Promise<unknown>>();
  readonly #lines = new Map<RuleTarget, { readonly lines: string[]; readonly known: Set<string> }>();
  readonly #after: (() => Promise<void>)[] = [];

  /** Returns what `list` returned for that key the first time. */
  async once<T>(key: string, list: () => Promise<T>): Promise<T> {
    const known = this.#listed.get(key) ?? list();
    this.#listed.set(key, known);
    // A key has one type of list.
    return await known as T;
  }

  /** Adds the lines of one plan. A line of an earlier plan is for what both need, such as a chain, and is not repeated. */
  add(target: RuleTarget, lines: readonly string[]): void {
    const all = this.#lines.get(target) ?? { lines: [], known: new Set<string>() };
    this.#lines.set(target, all);
    all.lines.push(...lines.filter((line) => !all.known.has(line)));
    for (const line of lines) all.known.add(line);
  }

  /** Adds a step for when the rules are in place. */
  after(step: () => Promise<void>): void {
    this.#after.push(step);
  }

  /** The lines for one target. */
  lines(target: RuleTarget): readonly string[] {
    return this.#lines.get(target)?.lines ?? [];
  }

  /** The steps for afterwards. */
  get steps(): readonly (() => Promise<void>)[] {
    return this.#after;
  }
}
