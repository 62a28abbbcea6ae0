import { assertEquals } from "@std/assert";
import type { CrashState } from "./crash_states.ts";
import { ADDRESSES, type CrashWorld, published, type Recorded } from "./crash_world.ts";
import { numberOf } from "../../lib/sandbox/listed_names.ts";
import { type FileTree, linesOf } from "./file_tree.ts";

/** What podwire keeps for itself, and belongs to no container. */
const OWN =
  /^(state\/(format|boot-id|catalogs\/[^.][^/]*|(interfaces|by-name)\/\.complete)|addresses\/[^/]+\/(lock|last_reserved_ip\.\d+))$/;
/** Claims of interfaces are of their boot and void in any other one, and so are those of ports without a record. */
const CLAIMS = /^state\/(interfaces|ports)\//;

const LINK = /^addresses\/\.podwire\/([^/]+)\/[^/]+\/[^/]*@([^/@]+)$/;

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
      mentioned.push(...world.lines, ...await this.#assertLeft({ mayHaveClaims: true }));
      if (again) await this.#useAll({ mayHaveClaims: true });
    }
    const { removed, failed, kept } = await world.podwire().recover();
    assertEquals(failed, []);
    assertEquals(kept.filter(({ why }) => why !== "it is stopped"), []);
    mentioned.push(...removed.map((item) => JSON.stringify(item)), ...world.lines);
    mentioned.push(...await this.#assertLeft({ mayHaveClaims: false }));
    for (const { id, from, to } of recorded.promised) {
      if (state.moment < from || state.moment >= to) continue;
      assertEquals(mentioned.some((line) => line.includes(id)), true, `${id} is lost without a word`);
    }
    await this.#removeAll({ mayHaveClaims: false });
    if (again && way === "recover") await this.#useAll({ mayHaveClaims: false });
  }

  /** Removes what is stopped, and starts pods with its name and its port until the network has no address left. */
  async #useAll(left: Left): Promise<void> {
    const world = this.#world;
    await this.#removeAll(left);
    const podwire = world.podwire();
    const names = ["web", ...Array.from({ length: ADDRESSES - 1 }, (_, index) => `again${index}`)];
    for (const [index, name] of names.entries()) {
      const more = index === 0 ? { publish: [published(8099)] } : {};
      await podwire.sandboxes.run(world.request(name, more));
    }
    await this.#removeAll(left);
  }

  /** Whether nothing is left but what is foreign and sandboxes that are stopped; returns their IDs. */
  async #assertLeft({ mayHaveClaims }: Left): Promise<readonly string[]> {
    const podwire = this.#world.podwire();
    assertEquals(await podwire.attachments(), []);
    const list = await podwire.sandboxes.list();
    assertEquals(list.filter(({ state }) => state !== "stopped"), []);
    const own = list.filter(({ id }) => !this.#isForeign(id));
    const expected = own.flatMap((
      { id, name },
    ) => [`state/records/${id}.rec`, `state/names/default/${name}`, `state/by-name/${numberOf(name)}/${id}`]);
    this.#assertTree((path) => expected.includes(path) || (mayHaveClaims && CLAIMS.test(path)), expected);
    return own.map(({ id }) => id);
  }

  #isForeign(id: string): boolean {
    return this.#foreign.has(`state/records/${id}.rec`);
  }

  /** Removes all sandboxes but the foreign one; then nothing of them is left. */
  async #removeAll({ mayHaveClaims }: Left): Promise<void> {
    const podwire = this.#world.podwire();
    for (const { id } of await podwire.sandboxes.list()) {
      if (!this.#isForeign(id)) await podwire.sandboxes.remove(id, { force: true });
    }
    this.#assertTree((path) => mayHaveClaims && CLAIMS.test(path), []);
  }

  /** Whether it is podwire's link to an address file of another runtime, by which it finds the owner. */
  #isLinkOfForeign(path: string): boolean {
    const [, network, address] = LINK.exec(path) ?? [];
    return network !== undefined && this.#foreign.has(`addresses/${network}/${address}`);
  }

  #assertTree(isAllowed: (path: string) => boolean, expected: readonly string[]): void {
    const now = this.#world.read();
    const files = (tree: FileTree) =>
      linesOf(
        new Map(
          [...tree].filter(([path, { kind }]) =>
            kind !== "dir" && !OWN.test(path) && !isAllowed(path) && !this.#isLinkOfForeign(path)
          ),
        ),
      );
    assertEquals(files(now), files(this.#foreign));
    for (const path of expected) assertEquals(now.has(path), true, `${path} is missing`);
  }
}

/** How {@linkcode Judge.judge} judges. */
export interface JudgeOptions {
  readonly way: "recover" | "before the first ADD";
  /** Whether the names, the port and the addresses are used once more. */
  readonly again: boolean;
}

interface Left {
  /** Whether claims may be left that are void. */
  readonly mayHaveClaims: boolean;
}
