/** Random steps that make sense after those before. */
import type { Random } from "../cni/random.ts";
import type {
  AskStep,
  Call,
  ListQuery,
  Model,
  ModelSandbox,
  NetworkName,
  RunStep,
  Step,
  Target,
} from "./daemon_model.ts";

const NAMES = ["web", "db", "api"] as const;
const NAMESPACES = ["default", "default", "prod"] as const;
const TIERS = ["front", "back"] as const;
const CHAINS: readonly (readonly NetworkName[] | "none" | undefined)[] = [
  undefined,
  ["a"],
  ["a", "b"],
  ["b"],
  ["a", "bad"],
  ["bad"],
  "none",
];

/** What the steps of one life are chosen with. */
export interface StepsOptions {
  readonly random: Random;
  readonly model: Model;
  readonly port: number;
  /** Whether the daemon is a process that can be killed. */
  readonly isProcess: boolean;
  /** In how many of a hundred sandboxes an infra container is. */
  readonly infra: number;
  readonly id: (name: string) => string;
}

export class Steps {
  #made = 0;

  constructor(readonly options: StepsOptions) {}

  next(): Step {
    const { random, model, isProcess } = this.options;
    const kind = random.below(100);
    // A life with such containers is about them.
    const kill = random.chance(40) ? this.#kill() : undefined;
    if (kill !== undefined) return kill;
    if (model.sandboxes.length === 0 || kind < 30) {
      if (kind % 7 === 0) return { do: "leave", step: this.#fresh() };
      return { do: "ask", way: this.#way(), step: this.#run() };
    }
    if (kind < 40) return { do: "ask", way: this.#way(), step: this.#stop() };
    if (kind < 55) return { do: "ask", way: this.#way(), step: this.#remove() };
    if (kind < 60) return { do: "get", target: this.#target() };
    if (kind < 67) return { do: "list", query: this.#query() };
    if (kind < 71) return this.#unmount() ?? this.next();
    if (kind < 74) return { do: "gc", dryRun: random.chance(25) };
    if (kind < 78) return { do: "refuse", network: random.one(["a", "b"]) };
    if (kind < 82) return { do: "heal" };
    if (kind < 88) return { do: "pair", calls: this.#pair() };
    if (kind < 94 && isProcess) return this.#die() ?? this.next();
    return {
      do: "restart",
      how: isProcess && random.chance(60) ? "kill" : "end",
      reboot: random.chance(40),
      meanwhile: random.chance(40) ? this.ask() : undefined,
    };
  }

  ask(): AskStep {
    const { random } = this.options;
    return random.one([() => this.#run(), () => this.#stop(), () => this.#remove()])();
  }

  #way() {
    return this.options.random.chance(70) ? "daemon" as const : "beside" as const;
  }

  #run(): RunStep {
    const { random, port } = this.options;
    const networks = random.one(CHAINS);
    // Only the first network gets the ports, and only `a` takes them.
    const takesPorts = networks === undefined || networks[0] === "a";
    return {
      do: "run",
      id: this.options.id(`s${++this.#made}`),
      name: random.one(NAMES),
      namespace: random.one(NAMESPACES),
      networks,
      labels: random.chance(50) ? { tier: random.one(TIERS) } : {},
      port: takesPorts && random.chance(40) ? port : undefined,
      replace: random.chance(30),
      infra: random.chance(this.options.infra),
    };
  }

  /** Two requests with the outcome of one after the other, in either order. */
  #pair(): readonly [Call, Call] {
    const { random, model } = this.options;
    const call = (step: AskStep): Call => ({ way: this.#way(), step });
    const run = (more: Partial<RunStep> = {}): RunStep => {
      const networks = random.one(CHAINS.filter((chain) => !chain?.includes("bad")));
      return { ...this.#run(), networks, port: undefined, replace: false, ...more };
    };
    const tearDown = ({ id }: ModelSandbox): AskStep => {
      const target = { ref: id };
      if (random.chance(40)) return { do: "stop", target };
      return { do: "remove", target, force: random.chance(50) };
    };
    const one = random.one(model.sandboxes);
    const other = random.one(model.sandboxes);
    if (one === undefined || other === undefined || random.chance(40)) {
      const first = run();
      return [call(first), call(run({ name: first.name, namespace: first.namespace }))];
    }
    const second = random.chance(40) ? run({ name: `lone${this.#made}` }) : tearDown(other);
    return [call(tearDown(one)), call(second)];
  }

  /** A run that must succeed, with something to attach. */
  #fresh(): RunStep {
    const { random, model, port } = this.options;
    return {
      ...this.#run(),
      name: `lone${this.#made}`,
      networks: random.one([["a"], ["a", "b"]] as const),
      port: !model.isTaken(port) && random.chance(50) ? port : undefined,
      replace: false,
    };
  }

  #stop(): AskStep {
    return { do: "stop", target: this.#target() };
  }

  #remove(): AskStep {
    return { do: "remove", target: this.#target(), force: this.options.random.chance(40) };
  }

  #target(): Target {
    const { random, model } = this.options;
    const known = random.one(model.sandboxes);
    if (known === undefined || random.chance(15)) return { ref: random.one(NAMES), namespace: "prod" };
    if (random.chance(60)) return { ref: known.name, namespace: known.namespace };
    return { ref: random.chance(50) ? known.id : known.id.slice(0, known.id.indexOf("-") + 4) };
  }

  #query(): ListQuery {
    const { random, model } = this.options;
    const known = random.one(model.sandboxes);
    return random.one<ListQuery>([
      { state: random.one(["ready", "stopped", "broken"]) },
      { namespace: random.one(NAMESPACES) },
      { name: random.one(NAMES), state: "ready" },
      { label: `tier=${random.one(TIERS)}` },
      { label: "tier" },
      { id: known?.id.slice(0, known.id.indexOf("-") + 2) ?? "s" },
    ]);
  }

  #unmount(): Step | undefined {
    const { random, model } = this.options;
    const ready = model.sandboxes.filter(({ state }) => state === "ready");
    if (ready.length === 0) return undefined;
    return { do: "unmount", id: random.one(ready).id, unlink: random.chance(50) };
  }

  #kill(): Step | undefined {
    const { random, model } = this.options;
    const running = model.sandboxes.filter(({ state, infra }) => state === "ready" && infra === "running");
    return running.length === 0 ? undefined : { do: "kill", id: random.one(running).id };
  }

  /** Interrupted half-way: there must be something to attach or to detach. */
  #die(): Step | undefined {
    const { random, model } = this.options;
    if (random.chance(40)) return { do: "die", step: this.#fresh() };
    const up = model.sandboxes.filter(({ id, state }) =>
      state !== "stopped" && model.attachmentsOf(id).length > 0
    );
    if (up.length === 0) return undefined;
    const target = { ref: random.one(up).id };
    const force = random.chance(50);
    return { do: "die", step: random.chance(50) ? { do: "stop", target } : { do: "remove", target, force } };
  }
}
