/**
 * Two owners of attachments in the same namespaces, among foreign things: each step may change only what
 * belongs to its owner.
 */
import { assertEquals } from "@std/assert";
import type { AttachRequest } from "../../lib/attachment/attachments.ts";
import type { CniError } from "../../lib/cni/error.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { createNetns, netnsId, removeNetns } from "../../lib/host/netns.ts";
import type { Podwire } from "../../lib/runtime/podwire.ts";
import type { Random } from "../cni/random.ts";
import { writeExecutable } from "../executable.ts";
import { until } from "../until.ts";
import { inWorld, sh, type World } from "./builtin_world.ts";
import { bridgeNetwork, type Flavour, runtimeOf } from "./flavours.ts";
import type { Thing, Things } from "./kernel_snapshot.ts";
import { RawRuntime } from "./raw_runtime.ts";
import { ForeignThings } from "./two_owners_foreign.ts";
import type { Owner, Place, Step } from "./two_owners_steps.ts";
import { OwnersView, PLACES } from "./two_owners_view.ts";

/** How a history is set up. */
export interface Setting {
  readonly flavour: Flavour;
  /** The plugins of the second owner. */
  readonly other: Flavour;
  /** Whether the second owner is another runtime. */
  readonly isRaw: boolean;
  /** Whether both have one cache and the same networks, as runtimes of one node do; GC needs that. */
  readonly isShared: boolean;
  readonly cniVersion: string;
  /** Whether podwire's bridge exists before. */
  readonly hasBridge: boolean;
  readonly networks: readonly string[];
}

/** The outcome of a step: `done`, `skipped`, or the kind of the error. */
export type Outcome = "done" | "skipped" | CniError["kind"];

const TTL = "net.ipv4.ip_default_ttl";
/** Its ADD refuses what the plugin before it has made. */
const REFUSING = `#!/bin/sh
case $CNI_COMMAND in
  VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}' ;;
  ADD) echo '{"cniVersion":"1.0.0","code":107,"msg":"it refuses"}'; exit 1 ;;
esac
`;

export class TwoOwners {
  readonly #runtimes: { readonly a: Podwire; readonly b: Podwire | RawRuntime };
  readonly #foreign: ForeignThings;
  readonly #view: OwnersView;
  #now: Things = new Map();

  private constructor(readonly world: World, readonly setting: Setting, random: Random) {
    this.#foreign = new ForeignThings(world, random);
    const { flavour, other, isRaw, isShared } = setting;
    const { table } = this.#foreign;
    this.#view = new OwnersView({ world, table, isShared, cacheDir: (owner) => this.#cacheDir(owner) });
    const podwire = (owner: Owner, { name, needs, options }: Flavour) =>
      runtimeOf(world, {
        name,
        needs,
        options: { ...options, pluginDirs: [...options.pluginDirs ?? [], `${world.dir}/bin`] },
      }, {
        confDir: this.#confDir(owner),
        cacheDir: this.#cacheDir(owner),
        stateDir: `${world.dir}/state-${owner}`,
        netnsDir: `${world.dir}/netns`,
      });
    const rawDir = other.options.pluginDirs?.[0] ?? "";
    this.#runtimes = {
      a: podwire("a", flavour),
      b: isRaw ? new RawRuntime(this.#confDir("b"), rawDir, this.#cacheDir("b")) : podwire("b", other),
    };
  }

  /** Runs a body with everything set up, and removes everything afterwards. */
  static async with(
    setting: Setting,
    random: Random,
    body: (owners: TwoOwners) => Promise<void>,
  ): Promise<void> {
    await inWorld(async (world) => {
      const owners = new TwoOwners(world, setting, random);
      try {
        await owners.#setUp(random);
        await body(owners);
      } finally {
        await owners.#clean();
      }
    })();
  }

  /** Takes a step, and returns its outcome. Throws if it changed what does not belong to its owner. */
  async take(step: Step): Promise<Outcome> {
    const before = this.#now;
    const [outcome, actor] = "by" in step
      ? [await this.#act(step), step.by] as const
      : [await this.#actOfOthers(step), "others"] as const;
    this.#now = await this.#view.look(actor);
    if (actor !== "others") this.#view.compare(before, this.#now, actor, step, outcome);
    return outcome;
  }

  /** Everything of both owners is removed, and then nothing of them is left. */
  async end(): Promise<void> {
    for (const owner of ["a", "b"] as const) {
      const before = this.#now;
      const runtime = this.#runtimes[owner];
      if (runtime instanceof RawRuntime) { for (const target of runtime.attached) await runtime.del(target); }
      else {
        for (const { id } of await runtime.sandboxes.list()) {
          requireNone(
            (await runtime.sandboxes.remove(id, { force: true })).map(({ message }) => ({ why: message })),
          );
        }
        for (const record of await runtime.attachments()) {
          await runtime.del(record.network, { ...record, args: [], owner: "test" }).catch((error) =>
            requireNone([{ why: asCniError(error).message }])
          );
        }
        await runtime.gc({ all: true });
        const { failed } = await runtime.recover();
        assertEquals(failed, []);
      }
      this.#now = await this.#view.look(owner);
      this.#view.compare(before, this.#now, owner, { do: "end" }, "done");
      const left = [...this.#now].filter(([name, thing]) =>
        this.#view.whose(name, thing) === owner && !this.#isExcused(name, thing)
      );
      if (left.length > 0) {
        const words = left.map(([name, { value }]) => `${name}: ${value}`);
        throw new Error(`of owner ${owner} is left\n${words.join("\n")}`);
      }
    }
  }

  /**
   * A macvlan that was renamed or moved cannot be distinguished from others; reference plugins forget rules
   * without a namespace.
   */
  #isExcused(name: string, { value }: Thing): boolean {
    return value.includes('"kind":"macvlan"') || name.includes(" route ") || name.includes(" address ") ||
      (name.includes(" filter ") && this.setting.flavour.needs.length + this.setting.other.needs.length > 0);
  }

  async #setUp(random: Random): Promise<void> {
    const { world, setting } = this;
    await this.#foreign.fillHost(setting.hasBridge);
    await Deno.mkdir(`${world.dir}/bin`);
    writeExecutable(`${world.dir}/bin/refuses`, REFUSING, "755");
    for (const [index, name] of setting.networks.entries()) {
      const owners = setting.isShared ? ["a"] as const : ["a", "b"] as const;
      for (const [second, owner] of owners.entries()) {
        const more = name === "mac"
          ? { type: "macvlan", master: this.#foreign.hostLink, mode: "bridge" }
          : { ipMasq: name === "one" };
        await bridgeNetwork(world, this.#network(owner, name), {
          number: index * 2 + second,
          more,
          chained: name === "bad" ? [{ type: "refuses" }] : [],
          cniVersion: setting.cniVersion,
          confDir: this.#confDir(owner),
        });
      }
    }
    for (const place of PLACES) {
      const netns = await world.netns(place);
      await this.#foreign.fill(
        netns,
        random.chance(40) ? random.one(["bridge", "veth", "port", "tap"]) : undefined,
      );
      await Deno.symlink(netns, `${world.dir}/${place}`);
    }
    this.#now = await this.#view.look("others");
  }

  async #clean(): Promise<void> {
    await sh(`umount -l ${this.world.dir}/netns/* 2>/dev/null
      while umount -l ${this.world.dir}/netns 2>/dev/null; do :; done`);
    await this.#foreign.cleanHost();
  }

  async #act(step: Step & { readonly by: Owner }): Promise<Outcome> {
    const runtime = this.#runtimes[step.by];
    if (runtime instanceof RawRuntime) return await this.#actRaw(runtime, step);
    const isFree = await this.#isFree(runtime, step);
    try {
      await this.#ask(runtime, step);
      if (step.do === "add") {
        assertEquals(this.#linkAt(step), undefined, "it attached to a link that was there");
      }
      return "done";
    } catch (error) {
      const failure = asCniError(error);
      if (!["conflict", "usage", "not-found", "plugin"].includes(failure.kind)) throw error;
      // CHECK of a link that was renamed or replaced fails, and CHECK of the network `bad` always does.
      const mayRefuse = step.do === "check" || JSON.stringify(step).includes('"bad"') ||
        isSharedChain(failure.message);
      if (isFree || (failure.kind === "plugin" && !mayRefuse)) throw error;
      return failure.kind;
    }
  }

  async #ask(podwire: Podwire, step: Step & { readonly by: Owner }): Promise<void> {
    const { sandboxes } = podwire;
    const sandbox = `s${step.by}${"id" in step ? step.id : ""}-${this.world.tag}`;
    switch (step.do) {
      case "add":
      case "del":
      case "check":
        return void await podwire[step.do](this.#network(step.by, step.network), this.#request(step));
      case "run": {
        const { place, networks, sysctl, replace } = step;
        return void await sandboxes.run({
          id: sandbox,
          name: sandbox,
          networks: networks.map(({ network, ifName }) => ({
            name: this.#network(step.by, network),
            ifName,
          })),
          source: place === undefined ? { kind: "new" } : { kind: "path", path: this.#path(place, false) },
          replace,
          ...(sysctl ? { sysctls: { [TTL]: "77" } } : {}),
        });
      }
      case "stop":
      case "rm": {
        const failures = await sandboxes[step.do === "rm" ? "remove" : "stop"](sandbox, {
          force: step.force,
        });
        if (failures[0] !== undefined) throw failures[0];
        return;
      }
      case "recover":
        return requireNone((await podwire.recover()).failed);
      default:
        return await this.#collect(podwire, step as Step & { do: "gc" });
    }
  }

  async #collect(podwire: Podwire, { how }: Step & { readonly do: "gc" }): Promise<void> {
    const records = how === "valid" ? await podwire.attachments() : [];
    const selection = how === "all" ? { all: true } : how === "valid" ? { valid: records.slice(0, 1) } : {};
    const { failed } = await podwire.gc({ ...selection, dryRun: how === "dry" });
    requireNone(failed);
  }

  async #actRaw(runtime: RawRuntime, step: Step): Promise<Outcome> {
    if (step.do !== "add" && step.do !== "del" && step.do !== "check") return "skipped";
    if (step.place === "own") return "skipped";
    const { containerId, netns, ifName } = this.#request(step);
    const target = { containerId, netns, ifName, network: this.#network(step.by, step.network) };
    return await runtime[step.do](target) === false ? "skipped" : "done";
  }

  /** Whether nothing stands against an ADD. */
  async #isFree(podwire: Podwire, step: Step): Promise<boolean> {
    if (
      step.do !== "add" || step.network === "bad" || step.place === "own" || this.#linkAt(step) !== undefined
    ) return false;
    const { containerId } = this.#request(step);
    const records = await podwire.attachments();
    const id = await netnsId(this.#path(step.place, false));
    return !records.some(({ containerId: other, ifName, netnsId }) =>
      ifName === step.ifName && (other === containerId || netnsId === id)
    );
  }

  /** The value of a link, as it was before the step. */
  #linkAt({ place, ifName }: { readonly place: Place; readonly ifName: string }): string | undefined {
    for (const [name, { value }] of this.#now) {
      if (name.startsWith(`${place} link `) && JSON.parse(value).ifname === ifName) return value;
    }
    return undefined;
  }

  async #actOfOthers(step: Exclude<Step, { readonly by: Owner }>): Promise<Outcome> {
    const netns = this.#path(step.place, false);
    switch (step.do) {
      case "again":
        await this.#replaceNetns(netns, () => this.#foreign.fill(netns, step.eth0));
        return "done";
      case "foreign": {
        const link = this.#linkAt(step);
        if (link === undefined) await this.#foreign.link(netns, step.ifName, step.kind);
        else if (this.#view.links.get(JSON.parse(link).address) !== "others") return "skipped";
        else await sh(`ip link delete dev ${step.ifName}`, netns);
        return "done";
      }
      case "rename":
      case "move": {
        const link = this.#linkAt(step);
        if (link === undefined || JSON.parse(link).kind === "macvlan") return "skipped";
        const { ifName } = step;
        if (step.do === "move") {
          const to = this.#path(step.to, false);
          const { code } = await shOutcome(`ip link set dev ${ifName} netns ${to}`, netns);
          return code === 0 ? "done" : "skipped";
        }
        const other = `was${this.world.tag.slice(0, 2)}${ifName}`;
        if (this.#linkAt({ place: step.place, ifName: other }) !== undefined) return "skipped";
        await sh(
          `ip link set dev ${ifName} down && ip link set dev ${ifName} name ${other} && ip link set dev ${other} up`,
          netns,
        );
        if (step.decoy !== undefined) await this.#foreign.link(netns, ifName, step.decoy);
        return "done";
      }
    }
  }

  /** The host ends of its pairs disappear a moment after the namespace. */
  async #replaceNetns(netns: string, fill: () => Promise<void>): Promise<void> {
    const ends = async () => {
      const shown: { ifindex: number }[] = JSON.parse(await sh("ip -j link show type veth"));
      return shown.map(({ ifindex }) => ifindex);
    };
    const inside: { link_index?: number }[] = JSON.parse(await sh("ip -j link show type veth", netns));
    const peers = inside.map(({ link_index }) => link_index);
    const there = (await ends()).filter((index) => peers.includes(index));
    await removeNetns(netns);
    await until(
      async () => (await ends()).every((index) => !there.includes(index)),
      "the other ends are gone",
    );
    await createNetns(netns);
    await fill();
  }

  #request(
    { by, id, place, ifName, viaLink }: Extract<Step, { readonly do: "add" | "del" | "check" }>,
  ): AttachRequest {
    const netns = this.#path(place, viaLink);
    const containerId = `${by}${id}-${this.world.tag}`;
    return { containerId, netns, ifName, args: [], capabilityArgs: {}, owner: "test" };
  }

  #path(place: Place, viaLink: boolean): string {
    if (place === "own") return "/proc/self/ns/net";
    return viaLink ? `${this.world.dir}/${place}` : `/run/netns/pwt-${this.world.tag}-${place}`;
  }

  #network(owner: Owner, name: string): string {
    // Not the networks of another history: GC of a network removes what belongs to none of its attachments.
    const own = `${name}-${this.world.tag}`;
    return this.setting.isShared ? own : `${own}-${owner}`;
  }

  #confDir(owner: Owner): string {
    return `${this.world.dir}/conf${this.setting.isShared ? "" : `-${owner}`}`;
  }

  #cacheDir(owner: Owner): string {
    return `${this.world.dir}/cache${this.setting.isShared ? "" : `-${owner}`}`;
  }
}

/**
 * Reference plugins have one chain for all interfaces of a container to a network: only the last one can
 * remove it.
 */
function isSharedChain(message: string): boolean {
  return message.includes("CHAIN_DEL failed");
}

function requireNone(failed: readonly { readonly why: string }[]): void {
  assertEquals(failed.map(({ why }) => why).filter((why) => !isSharedChain(why)), []);
}

async function shOutcome(script: string, netns: string): Promise<{ readonly code: number }> {
  return { code: Number(await sh(`${script} 2>/dev/null; echo $?`, netns)) };
}
