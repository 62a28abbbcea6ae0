/** Clients of the daemon that create, get, stop and remove sandboxes, and remember the answers about each. */
import { assertEquals } from "@std/assert";
import type { Random } from "../cni/random.ts";
import type { BinaryWorld } from "./binary_world.ts";
import type { Answered, DaemonProcess } from "./daemon_world.ts";

/** The daemon's last answer about a sandbox, or the request that got no answer. */
export type Phase = "starting" | "ready" | "stopping" | "stopped" | "removing";

/** A sandbox as its client knows it. */
export interface Known {
  readonly name: string;
  /** The answer contains it for one that may come from the pool. */
  id: string | undefined;
  readonly networks: readonly string[];
  phase: Phase;
}

/** What is under load, from one start of the daemon to its end. */
export interface Load {
  readonly daemon: DaemonProcess;
  /** Aborted before the daemon is killed: from then on a request may get no answer. */
  readonly over: AbortSignal;
  readonly answered: Map<string, number>;
}

/** The states in which a sandbox may be once recovery has settled what was interrupted. */
export const MAY_BE: Readonly<Record<Phase, readonly string[]>> = {
  starting: ["ready", "gone"],
  ready: ["ready"],
  stopping: ["ready", "stopped"],
  stopped: ["stopped"],
  removing: ["ready", "stopped", "gone"],
};

/** The network whose plugin records its calls; the other one has addresses and ports. */
export const RECORDED = "recorded";
const MOST_SANDBOXES = 2;

/** Writes both networks; the calls of `recorded` are in `calls` of the world's directory. */
export async function loadNetworks(world: BinaryWorld): Promise<void> {
  await world.list([world.bridgePlugin({ ipMasq: false })]);
  await world.list([{ type: "recorder" }], { name: RECORDED });
  await world.plugin(
    "recorder",
    `#!/bin/sh
cat >/dev/null
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'; exit ;;
ADD | DEL) echo "$CNI_COMMAND $CNI_CONTAINERID" >>${world.dir}/calls; sleep 0.02 ;;
esac
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0"}'
`,
  );
}

/** One client, which has at most two sandboxes at a time. */
export class LoadClient {
  readonly sandboxes: Known[] = [];
  #made = 0;

  constructor(readonly name: string, readonly world: BinaryWorld, readonly random: Random) {}

  /** Sends one request after another until the load ends. */
  async work(load: Load): Promise<void> {
    while (!load.over.aborted) await this.step(load);
  }

  /** Sends one request; the answer must be what is true of the sandbox. */
  async step(load: Load): Promise<void> {
    const { random, sandboxes } = this;
    const isFull = sandboxes.length === MOST_SANDBOXES;
    const known = sandboxes[random.below(Math.max(sandboxes.length, 1))];
    if (known === undefined || (!isFull && random.chance(50))) return await this.#run(load);
    if (random.chance(40)) return await this.#get(load, known);
    if (known.phase === "ready" && random.chance(50)) return await this.#stop(load, known);
    await this.#remove(load, known);
  }

  async #run(load: Load): Promise<void> {
    const name = this.world.id(`${this.name}-${this.#made++}`);
    const both = [this.world.network, RECORDED];
    // A request with an ID never gets a warm sandbox of the pool.
    const isForPool = this.random.chance(50);
    const networks = [both, both.slice(0, 1), both.slice(1)][isForPool ? 1 : this.random.below(3)] ?? both;
    const known: Known = { name, id: isForPool ? undefined : name, networks, phase: "starting" };
    this.sandboxes.push(known);
    const wanted = { networks: networks.map((name) => ({ name })), ...(isForPool ? {} : { id: name }) };
    const answer = await ask(load, 201, "POST", "/v1/sandboxes", { name, ...wanted });
    if (answer === undefined) return;
    known.id ??= answer.json.id;
    assertEquals({ id: answer.json.id, name: answer.json.name, state: answer.json.state }, {
      id: known.id,
      name,
      state: "ready",
    });
    known.phase = "ready";
  }

  async #get(load: Load, { id, name, phase }: Known): Promise<void> {
    const answer = await ask(load, 200, "GET", `/v1/sandboxes/${name}`);
    if (answer !== undefined) {
      assertEquals({ id: answer.json.id, state: answer.json.state }, { id, state: phase });
    }
  }

  async #stop(load: Load, known: Known): Promise<void> {
    known.phase = "stopping";
    const answer = await ask(load, 200, "POST", `/v1/sandboxes/${known.name}/stop`);
    if (answer !== undefined) known.phase = "stopped";
  }

  async #remove(load: Load, known: Known): Promise<void> {
    known.phase = "removing";
    const answer = await ask(load, 204, "DELETE", `/v1/sandboxes/${known.name}`);
    if (answer !== undefined) this.sandboxes.splice(this.sandboxes.indexOf(known), 1);
  }
}

/** The answer, which must have this status; undefined if there is none because the load has ended. */
async function ask(
  { daemon, over, answered }: Load,
  status: number,
  method: string,
  target: string,
  body?: unknown,
): Promise<Answered | undefined> {
  let answer: Answered;
  try {
    answer = await daemon.call(method, target, body);
    if (over.aborted && Number.isNaN(answer.status)) return undefined;
  } catch (error) {
    if (over.aborted) return undefined;
    throw new Error(`${method} ${target} has no answer`, { cause: error });
  }
  assertEquals({ method, target, status: answer.status }, { method, target, status }, answer.text);
  answered.set(method, (answered.get(method) ?? 0) + 1);
  return answer;
}
