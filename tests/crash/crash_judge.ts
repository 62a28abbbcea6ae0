import { assertEquals } from "@std/assert";
import type { CrashState } from "./crash_states.ts";
import { ADDRESSES, type CrashWorld, type Recorded } from "./crash_world.ts";
import { type FileTree, linesOf } from "./file_tree.ts";

/** What podwire keeps for itself, and belongs to no container. */
const OWN =
  /^(state\/(format|boot-id|catalogs\/[^.][^/]*|interfaces\/\.complete)|addresses\/[^/]+\/(lock|last_reserved_ip\.\d+))$/;
/** Claims of interfaces are of their boot and void in any other one, and so are those of ports without a record. */
const CLAIMS = /^state\/(interfaces|ports)\//;

/** Which things are not podwire's to touch, and what it recovered. */
export class Judge {
  readonly #world: CrashWorld;
  readonly #foreign: FileTree;

  /** All that is on the disk now is foreign. */
  constructor(world: CrashWorld) {
    this.#world = world;
    this.#foreign = world.read();
  }

  /** Boots the machine with a state, and judges what is left after `way`. */
  async judge(state: CrashState, recorded: Recorded, { way, again }: JudgeOptions): Promise<void> {
    const world = this.#world;
    world.build(state.tree);
    const mentioned: string[] = [];
    if (way === "before the first ADD") {
      await world.beforeFirstAdd();
      mentioned.push(...world.lines);
      await this.#assertLeft({ mayHaveClaims: true });
    }
    const { removed, failed, kept } = await world.podwire().recover();
    assertEquals(failed, []);
    assertEquals(kept.filter(({ why }) => why !== "it is stopped"), []);
    mentioned.push(...removed.map((item) => JSON.stringify(item)), ...world.lines);
    const stopped = await this.#assertLeft({ mayHaveClaims: false });
    for (const { id, from, to } of recorded.promised) {
      if (state.moment < from || state.moment >= to || stopped.includes(id)) continue;
      assertEquals(mentioned.some((line) => line.includes(id)), true, `${id} is lost without a word`);
    }
    await this.#removeAll(stopped);
    if (again === undefined) return;
    const podwire = world.podwire();
    const names = Array.from({ length: ADDRESSES }, (_, index) => index === 0 ? again : `again${index}`);
    for (const name of names) await podwire.sandboxes.run(world.request(name));
    await this.#removeAll(names.map((name) => world.id(name)));
  }

  /** Whether nothing is left but what is foreign and sandboxes that are stopped; returns their IDs. */
  async #assertLeft({ mayHaveClaims }: { readonly mayHaveClaims: boolean }): Promise<readonly string[]> {
    const podwire = this.#world.podwire();
    assertEquals(await podwire.attachments(), []);
    const known = new Set(this.#foreign.keys());
    const list = await podwire.sandboxes.list();
    assertEquals(list.filter(({ state }) => state !== "stopped"), []);
    const own = list.filter(({ id }) => !known.has(`state/records/${id}.rec`));
    const expected = own.flatMap((
      { id, name },
    ) => [`state/records/${id}.rec`, `state/names/default/${name}`]);
    this.#assertTree((path) => expected.includes(path) || (mayHaveClaims && CLAIMS.test(path)), expected);
    return own.map(({ id }) => id);
  }

  async #removeAll(ids: readonly string[]): Promise<void> {
    const podwire = this.#world.podwire();
    for (const id of ids) await podwire.sandboxes.remove(id, { force: true });
    this.#assertTree(() => false, []);
  }

  #assertTree(isAllowed: (path: string) => boolean, expected: readonly string[]): void {
    const now = this.#world.read();
    const files = (tree: FileTree) =>
      linesOf(
        new Map(
          [...tree].filter(([path, { kind }]) => kind !== "dir" && !OWN.test(path) && !isAllowed(path)),
        ),
      );
    assertEquals(files(now), files(this.#foreign));
    for (const path of expected) assertEquals(now.has(path), true, `${path} is missing`);
  }
}

/** How {@linkcode Judge.judge} judges. */
export interface JudgeOptions {
  readonly way: "recover" | "before the first ADD";
  /** The name of a pod that is started afterwards, with as many others as there are addresses. @default {none is} */
  readonly again?: string | undefined;
}
