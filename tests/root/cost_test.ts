// What a pod costs, as far as it can be counted: programs that are started, and writes that wait for the disk.
import { assertEquals } from "@std/assert";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";
import { Syncs } from "../syncs.ts";

/** Counts in this process, until it is disposed of. */
class Costs implements Disposable {
  readonly programs: string[] = [];
  readonly #syncs = new Syncs();
  readonly #command = Deno.Command;

  constructor() {
    const { programs } = this;
    Deno.Command = new Proxy(Deno.Command, {
      construct(target, args, self) {
        programs.push(String(args[0]));
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
