import type { NftChange } from "../kernel/nft_change.ts";
import { Inexpressible } from "./inexpressible.ts";
import type { Family, Rule, RuleForm } from "./rule.ts";
import { formatRule } from "./rule_text.ts";
import { readRule, wordsOf } from "./rule_words.ts";
import { BUILT_IN, type IptablesTable, type ListedRule, type TableContent } from "./table.ts";
import { writeSteps } from "./write_steps.ts";

/** A rule that is there, or that is to be added. */
type PlannedRule = ListedRule | { readonly added: Rule };

/** A chain as it will be. */
interface PlannedChain {
  readonly isNew: boolean;
  isRemoved: boolean;
  rules: PlannedRule[];
}

/** Longer names are not those of chains. */
const LONGEST_NAME = 28;

/** A table of iptables as lines of `iptables-restore --noflush` will make it. */
export class PlannedTable {
  readonly #family: Family;
  readonly #table: IptablesTable;
  readonly #before: TableContent;
  readonly #form: RuleForm;
  readonly #chains = new Map<string, PlannedChain>();

  constructor(family: Family, table: IptablesTable, before: TableContent, form: RuleForm) {
    this.#family = family;
    this.#table = table;
    this.#before = before;
    this.#form = form;
    for (const [name, rules] of before.chains) {
      this.#chains.set(name, { isNew: false, isRemoved: false, rules: [...rules] });
    }
  }

  /** Takes one line. @throws {Inexpressible} If it is one that only iptables can carry out, or refuse. */
  take(line: string): void {
    const [command = "", name = "", ...rest] = wordsOf(line);
    if (command.startsWith(":") && name === "-") {
      this.#declare(command.slice(1));
      return;
    }
    switch (command) {
      case "-N":
        if (this.#has(name)) throw new Inexpressible(`a second chain ${name}`);
        this.#declare(name);
        return;
      case "-F":
        this.#chain(name).rules = [];
        return;
      case "-X":
        this.#remove(name);
        return;
      case "-A":
        this.#built(name).rules.push({ added: this.#rule(rest) });
        return;
      case "-I":
        this.#insert(name, rest);
        return;
      case "-D":
        this.#delete(name, line);
        return;
    }
    throw new Inexpressible(`the command "${command}"`);
  }

  /** Returns what makes the table so. */
  changes(): readonly NftChange[] {
    const chains = [...this.#chains];
    const added = chains.filter(([, { isNew, isRemoved }]) => isNew && !isRemoved);
    const changes: readonly NftChange[] = [
      ...added.map(([chain]) => ({ kind: "add-chain", chain, hook: BUILT_IN[this.#table][chain] }) as const),
      // What is removed first makes the last rule of a chain free for removal.
      ...chains.flatMap(([chain, planned]) => this.#removals(chain, planned)),
      ...chains.flatMap(([chain, planned]) => this.#additions(chain, planned)),
      ...chains.filter(([, { isNew, isRemoved }]) => isRemoved && !isNew)
        .map(([chain]) => ({ kind: "remove-chain", chain }) as const),
    ];
    return changes.length === 0 || this.#before.isThere ? changes : [{ kind: "add-table" }, ...changes];
  }

  #removals(chain: string, { rules }: PlannedChain): readonly NftChange[] {
    const kept = new Set(rules);
    return (this.#before.chains.get(chain) ?? []).filter((rule) => !kept.has(rule))
      .map(({ handle }) => ({ kind: "remove-rule", chain, handle }));
  }

  /** Each before the next one that stays, so that no rule that is only being added has to be named. */
  #additions(chain: string, { rules }: PlannedChain): readonly NftChange[] {
    let next: number | undefined;
    const before: (number | undefined)[] = [];
    for (const [index, one] of [...rules.entries()].reverse()) {
      if ("handle" in one) next = one.handle;
      before[index] = next;
    }
    return rules.flatMap((planned, index): readonly NftChange[] => {
      if (!("added" in planned)) return [];
      const rule = planned.added;
      const { protocol } = rule;
      return [{
        kind: "add-rule",
        chain,
        before: before[index],
        protocol: protocol && { number: protocol.value, isInverted: protocol.isInverted },
        write: (writer) => writeSteps(writer, rule, this.#family, this.#form),
      }];
    });
  }

  #has(name: string): boolean {
    return this.#chains.get(name)?.isRemoved === false;
  }

  #chain(name: string): PlannedChain {
    const chain = this.#chains.get(name);
    if (chain === undefined || chain.isRemoved) throw new Inexpressible(`a chain ${name} that is not there`);
    return chain;
  }

  /** A chain that the table has from the start is made when a rule needs it. */
  #built(name: string): PlannedChain {
    if (!this.#chains.has(name) && name in BUILT_IN[this.#table]) {
      this.#chains.set(name, { isNew: true, isRemoved: false, rules: [] });
    }
    return this.#chain(name);
  }

  /** Makes a chain, or empties the one that is there. */
  #declare(name: string): void {
    if (name in BUILT_IN[this.#table] || !/^[A-Za-z][\w.:-]*$/.test(name) || name.length > LONGEST_NAME) {
      throw new Inexpressible(`a chain with the name "${name}"`);
    }
    const chain = this.#chains.get(name);
    if (chain?.isRemoved) throw new Inexpressible(`the chain ${name}, which is removed before`);
    if (chain === undefined) this.#chains.set(name, { isNew: true, isRemoved: false, rules: [] });
    else chain.rules = [];
  }

  #remove(name: string): void {
    const chain = this.#chain(name);
    if (name in BUILT_IN[this.#table] || chain.rules.length > 0) {
      throw new Inexpressible(`the removal of the chain ${name}`);
    }
    chain.isRemoved = true;
  }

  #insert(name: string, [place = "", ...words]: readonly string[]): void {
    const chain = this.#built(name);
    const position = /^[1-9]\d{0,5}$/.test(place) ? Number(place) : NaN;
    if (!(position <= chain.rules.length + 1)) {
      throw new Inexpressible(`the place "${place}" in the chain ${name}`);
    }
    chain.rules.splice(position - 1, 0, { added: this.#rule(words) });
  }

  /** Removes the first rule with these words. */
  #delete(name: string, line: string): void {
    const chain = this.#chain(name);
    const words = line.slice(`-D ${name}`.length);
    const at = chain.rules.findIndex((rule) =>
      ("added" in rule ? formatRule(rule.added) : rule.words) === words
    );
    if (at < 0) throw new Inexpressible(`the rule "${line}", which is not listed so`);
    chain.rules.splice(at, 1);
  }

  #rule(words: readonly string[]): Rule {
    const rule = readRule(words, this.#family);
    const { target } = rule;
    if (this.#table === "nat" && target?.kind === "verdict" && target.verdict === "DROP") {
      throw new Inexpressible("a rule that drops, in a table that is not for that");
    }
    if (target?.kind === "jump" && (!this.#has(target.chain) || target.chain in BUILT_IN[this.#table])) {
      throw new Inexpressible(`the target "${target.chain}", a chain that is not there`);
    }
    return rule;
  }
}
