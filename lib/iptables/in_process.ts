import { Serial } from "../async/serial.ts";
import { openLibc } from "../host/libc.ts";
import { withNetfilter } from "../kernel/netfilter_socket.ts";
import { NetlinkFormatError } from "../kernel/netlink_reader.ts";
import { NetlinkError } from "../kernel/netlink_reply.ts";
import type { NetlinkSocket } from "../kernel/netlink_socket.ts";
import { changeNftTable } from "../kernel/nft_change.ts";
import { nftFamily, nftGeneration } from "../kernel/nft_message.ts";
import { listNftTableChains, type NftTable, readNftTable } from "../kernel/nft_table.ts";
import { Inexpressible } from "./inexpressible.ts";
import { PlannedTable } from "./planned_table.ts";
import { readSteps } from "./read_steps.ts";
import type { Family, RuleForm } from "./rule.ts";
import {
  contentOf,
  type IptablesTable,
  listChain,
  listTable,
  type ReadRule,
  type TableContent,
  withWords,
} from "./table.ts";

/** Lists a chain as `iptables -S CHAIN` does, or without a name all of the table; undefined if there is no such chain. */
export type ListRules = (chain?: string | undefined) => Promise<readonly string[] | undefined>;

/** Another process that changes rules all the time must not hold up this one. */
const ATTEMPTS = 20;

/** A table at some time. */
interface Seen {
  readonly generation: number;
  readonly table: NftTable<ReadRule> | undefined;
  readonly content: TableContent;
}

/** The last look at each table, of the namespace of this process. */
const seen = new Map<string, Seen>();
/** Changes of one process would only get in each other's way. */
const changes = new Serial();

/** The rules of iptables of this machine, read and changed without the program. */
export class IptablesInProcess {
  readonly #family: Family;
  readonly #table: IptablesTable;
  readonly #guarded: string;
  readonly #form: RuleForm;

  /**
   * `guarded` is how the names of the chains begin whose rules must be known: where one of them has an unknown part, or leads
   * to such a chain with one, everything is {@linkcode Inexpressible}. `form` is that of
   * this machine's iptables.
   */
  constructor(family: Family, table: IptablesTable, guarded: string, form: RuleForm) {
    this.#family = family;
    this.#table = table;
    this.#guarded = guarded;
    this.#form = form;
  }

  /**
   * Lists rules, see {@linkcode ListRules}.
   *
   * @throws {Inexpressible} If only the program can. Other errors, of netlink, mean the same, see {@linkcode isForProgram}.
   */
  async list(chain?: string | undefined): Promise<readonly string[] | undefined> {
    const { content } = await withNetfilter(openLibc(), (socket) => this.#look(socket));
    return this.#lines(content, chain);
  }

  /**
   * Plans a change in the lines of `iptables-restore --noflush` and carries it out in one transaction. If the rules have
   * changed meanwhile it plans again, from a new list. Without lines it changes nothing.
   *
   * @throws {Inexpressible} As {@linkcode list}. Nothing was changed then.
   */
  async change(plan: (list: ListRules) => Promise<readonly string[]>): Promise<void> {
    await changes.run("", () => withNetfilter(openLibc(), (socket) => this.#changeBy(socket, plan)));
  }

  async #changeBy(
    socket: NetlinkSocket,
    plan: (list: ListRules) => Promise<readonly string[]>,
  ): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { content, generation } = await this.#look(socket);
      const lines = await plan((chain) => Promise.resolve(this.#lines(content, chain)));
      const planned = new PlannedTable(this.#family, this.#table, content, this.#form);
      for (const line of lines) planned.take(line);
      const needed = planned.changes();
      if (needed.length === 0) return;
      const change = { generation, changes: needed };
      if (await changeNftTable(socket, this.#family, this.#table, change)) return;
    }
    throw new Inexpressible("a change that others have come before again and again");
  }

  #lines(content: TableContent, chain: string | undefined): readonly string[] | undefined {
    return chain === undefined ? listTable(this.#table, content) : listChain(this.#table, content, chain);
  }

  /** Reads the table, unless no rule of the namespace has changed since the last time. */
  async #look(socket: NetlinkSocket): Promise<Seen> {
    const key = `${this.#family} ${this.#table} ${this.#guarded}`;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const generation = await nftGeneration(socket);
      const last = seen.get(key);
      if (last?.generation === generation) return last;
      const chains = await listNftTableChains(socket, nftFamily(this.#family));
      const read = (expressions: Parameters<typeof readSteps>[0]) =>
        withWords(readSteps(expressions, this.#family));
      const table = await readNftTable(socket, this.#family, this.#table, read, last?.table);
      if (await nftGeneration(socket) !== generation) continue;
      const content = contentOf(this.#family, this.#table, chains, table ?? {}, this.#guarded);
      const now = { generation, table, content };
      seen.set(key, now);
      return now;
    }
    throw new Inexpressible("a table that others change again and again");
  }
}

/** Whether an error means that the program has to do it: nothing was changed, or what was done is planned again. */
export function isForProgram(error: unknown): boolean {
  return error instanceof Inexpressible || error instanceof NetlinkError ||
    error instanceof NetlinkFormatError;
}
