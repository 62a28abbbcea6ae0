/** What exists of two owners and of others, and to whom it belongs. */
import { netnsId } from "../../lib/host/netns.ts";
import type { World } from "./builtin_world.ts";
import { kernelSnapshot, type Thing, type Things } from "./kernel_snapshot.ts";
import type { Owner, Step } from "./two_owners_steps.ts";

/** The owner of a thing. What both owners use may appear, but not disappear. */
export type Whose = Owner | "others" | "both";

export const PLACES = ["x", "y", "z"] as const;
/** The bridge of the world, which both owners use. */
const BRIDGE = "host bridge";
const TTL = "net.ipv4.ip_default_ttl";

/** What is compared. */
export interface ViewOptions {
  readonly world: World;
  /** The routing table of others on the host. */
  readonly table: string;
  /** Whether both owners have the same networks. */
  readonly isShared: boolean;
  readonly cacheDir: (owner: Owner) => string;
}

export class OwnersView {
  /** The owners of links, by hardware address. */
  readonly links = new Map<string, Whose>();

  constructor(readonly options: ViewOptions) {}

  /** Throws if a step has changed what does not belong to its owner. */
  compare(
    before: Things,
    now: Things,
    actor: Owner,
    step: Step | { readonly do: "end" },
    outcome: string,
  ): void {
    const isSet = (name: string) =>
      step.do === "run" && step.sysctl && outcome === "done" && name === `${step.place} ${TTL}`;
    const changesNothing = step.do === "check" || (step.do === "gc" && step.how === "dry");
    const wrong: string[] = [];
    for (const [name, thing] of before) {
      const whose = this.whose(name, thing);
      const after = now.get(name)?.value;
      if (after === thing.value || (whose === actor && !changesNothing) || isSet(name)) continue;
      if (after === undefined && !changesNothing && this.#isLeftover(name, before)) continue;
      wrong.push(`of ${whose}: ${name}: ${thing.value} became ${after}`);
    }
    for (const [name, thing] of now) {
      if (before.has(name)) continue;
      const whose = this.whose(name, thing);
      if ((whose !== actor && whose !== "both") || changesNothing) wrong.push(`of ${whose}: ${name} is new`);
    }
    // Not as a comparison: the diff of long texts takes minutes.
    if (wrong.length > 0) throw new Error(`owner ${actor} (${outcome}) changed\n${wrong.join("\n")}`);
  }

  /**
   * Reference plugins leave rules if the namespace is gone; GC of a network removes what belongs to none of
   * its attachments.
   */
  #isLeftover(name: string, things: Things): boolean {
    const [id] = new RegExp(`\\b[ab]\\d-${this.options.world.tag}`).exec(name) ?? [];
    return this.options.isShared && id !== undefined && /^(?:host filter|held) /.test(name) &&
      ![...things.keys()].some((other) => other.startsWith("cached ") && other.includes(id));
  }

  /** The owner of a thing. */
  whose(name: string, { mac }: Thing): Whose {
    if (name === BRIDGE) return "both";
    const named = new RegExp(`\\bs?([ab])\\d-${this.options.world.tag}`).exec(name)?.[1];
    if (named !== undefined) return named as Owner;
    const owner = mac === undefined ? undefined : this.links.get(mac);
    return owner ?? "others";
  }

  /** Takes a snapshot of everything. Links that did not exist before belong to the actor. */
  async look(actor: Whose): Promise<Things> {
    const { world } = this.options;
    const netnsDir = `${world.dir}/netns`;
    const names = await namesIn(netnsDir);
    const parts = await Promise.all([
      this.#lookAtHost(),
      this.#lookAtFiles(names),
      ...PLACES.map((place) => kernelSnapshot(place, `/run/netns/pwt-${world.tag}-${place}`)),
      ...names.map((name) => kernelSnapshot(`inside ${name}`, `${netnsDir}/${name}`)),
    ]);
    const things = new Map(parts.flatMap((part) => [...part]));
    for (const [name, { mac }] of things) {
      if (mac === undefined || !/^(?:inside )?\S+ link /.test(name) || this.links.has(mac)) continue;
      this.links.set(mac, actor);
    }
    return things;
  }

  async #lookAtHost(): Promise<Things> {
    const { world } = this.options;
    const things = new Map(
      await kernelSnapshot("host", undefined, {
        isLink: (name, master) => name.includes(world.tag) || master === world.bridge,
        isRule: (line) => line.includes(world.tag),
        isTable: (table) => table === this.options.table,
      }),
    );
    // Its state, the hardware address included, depends on its ports.
    for (const [name, thing] of [...things]) {
      const { mac: _mac, ...rest } = thing;
      if (name.startsWith(`host address ${world.bridge} `) || name.includes(`"dev":"${world.bridge}"`)) {
        things.set(name, rest);
      } else if (name.startsWith("host link ") && JSON.parse(thing.value).ifname === world.bridge) {
        things.delete(name);
        things.set(BRIDGE, { value: name.split(" ")[2] ?? "" });
      }
    }
    return things;
  }

  async #lookAtFiles(netns: readonly string[]): Promise<Things> {
    const { world } = this.options;
    const things = new Map<string, Thing>();
    for (const name of netns) {
      things.set(`namespace ${name}`, { value: await netnsId(`${world.dir}/netns/${name}`) ?? "" });
    }
    for (const network of await namesIn(`${world.dir}/ipam`)) {
      for (const name of await namesIn(`${world.dir}/ipam/${network}`)) {
        if (!/^\d+\./.test(name)) continue;
        const owner = await Deno.readTextFile(`${world.dir}/ipam/${network}/${name}`);
        things.set(`held ${network} ${name} ${owner}`, { value: "" });
      }
    }
    for (const owner of ["a", "b"] as const) {
      for (const name of await namesIn(`${this.options.cacheDir(owner)}/results`)) {
        if (!name.startsWith(".")) things.set(`cached ${name}`, { value: "" });
      }
    }
    return things;
  }
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await Array.fromAsync(Deno.readDir(dir), ({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
