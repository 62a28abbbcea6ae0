// What a pod costs, as far as it can be counted: programs that are started, and writes that wait for the disk.
import { assert, assertEquals } from "@std/assert";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld, masqueradeRules } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";
import { Syncs } from "../syncs.ts";

/** The program's name, also if `setsid` starts it. */
function nameOf(program: string | URL, { args = [] }: Deno.CommandOptions = {}): string {
  const names = [String(program), ...args].map((word) => word.replace(/^.*\//, ""));
  return names.find((name) => name !== "setsid") ?? "setsid";
}

/** Counts in this process, until it is disposed of. */
class Costs implements Disposable {
  readonly programs: string[] = [];
  readonly #syncs = new Syncs();
  readonly #command = Deno.Command;

  constructor() {
    const { programs } = this;
    Deno.Command = new Proxy(Deno.Command, {
      construct(target, args, self) {
        programs.push(nameOf(args[0], args[1]));
        return Reflect.construct(target, args, self);
      },
    });
  }

  take(): { readonly programs: readonly string[]; readonly syncs: number } {
    return { programs: this.programs.splice(0), syncs: this.#syncs.take() };
  }

  [Symbol.dispose](): void {
    Deno.Command = this.#command;
    this.#syncs[Symbol.dispose]();
  }
}

Deno.test({
  name: "a pod of built-in plugins starts no program, and waits for the disk once",
  ignore: need("root", "ip").ignore || !HAS_LIBC,
  fn: inWorld(async (world) => {
    await bridgeNetwork(world, "one", { more: { isGateway: true } });
    const { sandboxes } = runtimeOf(world, FLAVOURS[0]!);
    const networks = [{ name: "one", ifName: "eth0" }];
    // The first one finds out what holds for all, and makes the bridge.
    await sandboxes.remove((await sandboxes.run({ name: `first-${world.tag}`, networks })).id, {
      force: true,
    });
    using costs = new Costs();
    const { id } = await sandboxes.run({ name: `second-${world.tag}`, networks });
    // Text and name of the intent.
    assertEquals(costs.take(), { programs: [], syncs: 2 });
    await sandboxes.remove(id, { force: true });
    assertEquals(costs.take(), { programs: [], syncs: 0 });
  }),
});

/** What masquerading costs, by the backend that the configuration requests. */
const MASQUERADING = {
  // A list, and a transaction that replaces what is listed.
  iptables: {
    add: ["iptables", "iptables-restore"],
    remove: ["ip6tables", "iptables", "iptables-restore", "nft"],
  },
  // The list is part of the transaction; to remove a rule takes its number, from a list before.
  nftables: { add: ["nft"], remove: ["nft", "nft"] },
} as const;

for (const [backend, { add, remove }] of Object.entries(MASQUERADING)) {
  Deno.test({
    name: `masquerading of a pod starts ${add.join(" and ")}, and to remove it ${remove.join(", ")}`,
    ignore: need("root", "ip", "iptables", "nft").ignore || !HAS_LIBC,
    fn: inWorld(async (world) => {
      await bridgeNetwork(world, "one", { more: { isGateway: true, ipMasq: true, ipMasqBackend: backend } });
      const { sandboxes } = runtimeOf(world, FLAVOURS[0]!);
      const networks = [{ name: "one", ifName: "eth0" }];
      await sandboxes.remove((await sandboxes.run({ name: `first-${world.tag}`, networks })).id, {
        force: true,
      });
      using costs = new Costs();
      const { id } = await sandboxes.run({ name: `second-${world.tag}`, networks });
      assertEquals(costs.take().programs.toSorted(), add);
      assert((await masqueradeRules(id)).length > 0);
      costs.take();
      await sandboxes.remove(id, { force: true });
      assertEquals(costs.take().programs.toSorted(), remove);
      assertEquals(await masqueradeRules(id), []);
    }),
  });
}
