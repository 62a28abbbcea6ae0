// Transactions of nftables against the real kernel.
import { assertEquals, assertRejects } from "@std/assert";
import { openLibc } from "../../lib/host/libc.ts";
import { NETLINK } from "../../lib/kernel/netlink_constants.ts";
import { NetlinkError } from "../../lib/kernel/netlink_reply.ts";
import { NetlinkSocket } from "../../lib/kernel/netlink_socket.ts";
import type { NetlinkWriter } from "../../lib/kernel/netlink_writer.ts";
import { changeNftTable, type NftChange } from "../../lib/kernel/nft_change.ts";
import { networkOrder32, networkOrder64, nftGeneration } from "../../lib/kernel/nft_message.ts";
import { isNftThere, readNftTable } from "../../lib/kernel/nft_table.ts";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { need } from "./need.ts";

const NEEDS = { ignore: need("root", "nft").ignore || !HAS_LIBC };
const CHAIN = "chain";

function counter(writer: NetlinkWriter): void {
  writer.nested(NETLINK.NFTA_LIST_ELEM | NETLINK.NLA_F_NESTED, () => {
    writer.attributeText(NETLINK.NFTA_EXPR_NAME, "counter")
      .nested(NETLINK.NFTA_EXPR_DATA | NETLINK.NLA_F_NESTED, () => {
        writer.attribute(NETLINK.NFTA_COUNTER_BYTES, networkOrder64(2 ** 33 + 1))
          .attribute(NETLINK.NFTA_COUNTER_PACKETS, networkOrder64(7));
      });
  });
}

const TABLE: readonly NftChange[] = [{ kind: "add-table" }, { kind: "add-chain", chain: CHAIN }];
const RULE: NftChange = { kind: "add-rule", chain: CHAIN, write: counter };

/** A table with a name of its own. */
class Table {
  readonly name: string;
  readonly #socket: NetlinkSocket;

  constructor({ tag }: World, socket: NetlinkSocket) {
    this.name = `pwt-${tag}`;
    this.#socket = socket;
  }

  /** The rules of other tests may change meanwhile. */
  async change(changes: readonly NftChange[]): Promise<void> {
    while (!await this.changeSince(await nftGeneration(this.#socket), changes));
  }

  async changeSince(generation: number, changes: readonly NftChange[]): Promise<boolean> {
    return await changeNftTable(this.#socket, 4, this.name, { generation, changes });
  }

  async read() {
    return await readNftTable(this.#socket, 4, this.name, (steps) => steps.map(({ name }) => name));
  }
}

function withTable(fn: (table: Table, socket: NetlinkSocket) => Promise<void>) {
  return inWorld(async (world) => {
    using socket = new NetlinkSocket(openLibc(), NETLINK.NETLINK_NETFILTER);
    const table = new Table(world, socket);
    try {
      await fn(table, socket);
    } finally {
      await sh(`nft delete table ip ${table.name} 2>/dev/null || :`);
    }
  });
}

Deno.test({
  name: "a transaction makes, orders and removes rules and chains, and a table that is not there has none",
  ...NEEDS,
  fn: withTable(async (table, socket) => {
    assertEquals(await table.read(), undefined);
    await table.change([...TABLE, RULE, RULE]);
    const [first, second] = (await table.read())?.rules ?? [];
    const before = second?.handle;
    await table.change([{ ...RULE, before }, { kind: "add-chain", chain: "other" }]);
    const handles = (await table.read())?.rules.map(({ handle }) => handle) ?? [];
    assertEquals({ count: handles.length, first: handles[0], last: handles[2] }, {
      count: 3,
      first: first?.handle,
      last: before,
    });
    assertEquals((await table.read())?.rules.map(({ chain, content }) => ({ chain, content })), [
      { chain: CHAIN, content: ["counter"] },
      { chain: CHAIN, content: ["counter"] },
      { chain: CHAIN, content: ["counter"] },
    ]);
    assertEquals(
      (await sh(`nft list table ip ${table.name}`)).match(/packets 7 bytes 8589934593/g)?.length,
      3,
    );
    await table.change([
      ...handles.map((handle) => ({ kind: "remove-rule", chain: CHAIN, handle }) as const),
      { kind: "remove-chain", chain: CHAIN },
    ]);
    assertEquals((await table.read())?.rules, []);
    const isThere = (chain?: string) =>
      isNftThere(socket, { family: NETLINK.NFPROTO_IPV4, table: table.name, chain });
    assertEquals([await isThere(), await isThere("other"), await isThere(CHAIN)], [true, true, false]);
  }),
});

Deno.test({
  name:
    "a transaction that was planned before another change makes nothing, and so does one that the kernel refuses",
  ...NEEDS,
  fn: withTable(async (table, socket) => {
    const generation = await nftGeneration(socket);
    assertEquals(await table.changeSince(generation - 1, TABLE), false);
    assertEquals(await table.read(), undefined);
    await table.change(TABLE);
    assertEquals(await table.changeSince(generation, [RULE]), false);
    const refused: readonly (readonly [string, readonly NftChange[]])[] = [
      ["ENOENT", [RULE, { kind: "remove-rule", chain: CHAIN, handle: 4_000 }]],
      ["ENOENT", [RULE, { kind: "remove-chain", chain: "missing" }]],
      ["EBUSY", [RULE, { kind: "remove-chain", chain: CHAIN }]],
      ["ENOENT", [{ ...RULE, chain: "missing" }, RULE]],
    ];
    for (const [errno, changes] of refused) {
      const error = await assertRejects(() => table.change(changes), NetlinkError);
      assertEquals(error.errno, errno);
      assertEquals((await table.read())?.rules, []);
    }
  }),
});

Deno.test({
  name:
    "a transaction may be larger than what a socket usually takes, and the kernel's numbers are read whole",
  ...NEEDS,
  fn: withTable(async (table) => {
    const count = 6_000;
    await table.change([...TABLE, ...Array.from({ length: count }, () => RULE)]);
    const { rules = [] } = await table.read() ?? {};
    assertEquals(rules.length, count);
    assertEquals(new Set(rules.map(({ handle }) => handle)).size, count);
    assertEquals(networkOrder32(0xffff_fffe), Uint8Array.of(0xff, 0xff, 0xff, 0xfe));
  }),
});

Deno.test({
  name: "a rule that was read before is not read again, unless the table is another one",
  ...NEEDS,
  fn: withTable(async (table, socket) => {
    await table.change([...TABLE, RULE]);
    let reads = 0;
    const read = () => ++reads;
    const first = await readNftTable(socket, 4, table.name, read);
    await table.change([RULE]);
    const second = await readNftTable(socket, 4, table.name, read, first);
    assertEquals(second?.rules.map(({ content }) => content), [1, 2]);
    await sh(`nft delete table ip ${table.name}`);
    await table.change([...TABLE, RULE]);
    const third = await readNftTable(socket, 4, table.name, read, second);
    assertEquals(third?.rules.map(({ content }) => content), [3]);
  }),
});
