// What a pod costs, as far as it can be counted: programs that are started, and writes that wait for the disk.
import { assertEquals } from "@std/assert";
import { HAS_LIBC } from "../open_libc.ts";
import { inWorld } from "./builtin_world.ts";
import { bridgeNetwork, FLAVOURS, runtimeOf } from "./flavours.ts";
import { need } from "./need.ts";

/** Counts in this process, until it is disposed of. */
class Costs implements Disposable {
  readonly programs: string[] = [];
  syncs = 0;
  readonly #command = Deno.Command;
  readonly #sync = Deno.FsFile.prototype.sync;

  constructor() {
    const { programs } = this;
    Deno.Command = new Proxy(Deno.Command, {
      construct(target, args, self) {
        programs.push(String(args[0]));
        return Reflect.construct(target, args, self);
      },
    });
    // deno-lint-ignore no-this-alias
    const costs = this;
    const sync = this.#sync;
    Deno.FsFile.prototype.sync = function () {
      costs.syncs++;
      return sync.call(this);
    };
  }

  take(): { readonly programs: readonly string[]; readonly syncs: number } {
    const taken = { programs: this.programs.splice(0), syncs: this.syncs };
    this.syncs = 0;
    return taken;
  }

  [Symbol.dispose](): void {
    Deno.Command = this.#command;
    Deno.FsFile.prototype.sync = this.#sync;
  }
}

Deno.test({
  name: "a pod of built-in plugins starts no program, and waits for the disk nine times",
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
    // Text and name of the two intents, and only the text of what follows: the reservation of the name, the namespace, the
    // address, the result, and that the sandbox is ready.
    assertEquals(costs.take(), { programs: [], syncs: 9 });
    await sandboxes.remove(id, { force: true });
    assertEquals(costs.take(), { programs: [], syncs: 2 });
  }),
});
