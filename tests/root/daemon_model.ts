/**
 * The expected state of sandboxes after each step of a life: a model without a kernel, a disk or a process.
 */

/** The networks of the test, each with the plugins of its chain. The second plugin of `bad` refuses. */
export const NETWORKS = { a: ["a"], b: ["b"], bad: ["first", "refuses"] } as const;

export type NetworkName = keyof typeof NETWORKS;

/** A sandbox to create. */
export interface RunStep {
  readonly do: "run";
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  /** Undefined for the default network. */
  readonly networks: readonly NetworkName[] | "none" | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly port?: number | undefined;
  readonly replace: boolean;
  /** Whether an infra container holds its namespaces. */
  readonly infra: boolean;
}

/** A sandbox, by a name that a client may use. */
export interface Target {
  readonly ref: string;
  /** Where a name is looked up; IDs need no namespace. */
  readonly namespace?: string | undefined;
}

/** The operations of podwire, in the daemon or beside it. */
export type AskStep =
  | RunStep
  | { readonly do: "stop"; readonly target: Target }
  | { readonly do: "remove"; readonly target: Target; readonly force: boolean };

/** Which process gets the request. */
export type Way = "daemon" | "beside";

/** What one client asks for. */
export interface Call {
  readonly way: Way;
  readonly step: AskStep;
}

/** One step of a life. */
export type Step =
  | { readonly do: "ask"; readonly way: Way; readonly step: AskStep }
  /** Two clients at once. */
  | { readonly do: "pair"; readonly calls: readonly [Call, Call] }
  | { readonly do: "get"; readonly target: Target }
  | { readonly do: "list"; readonly query: ListQuery }
  /** The client disconnects while the first plugin runs. */
  | { readonly do: "leave"; readonly step: RunStep }
  /** The daemon is killed while a plugin runs. */
  | { readonly do: "die"; readonly step: AskStep }
  | { readonly do: "unmount"; readonly id: string; readonly unlink: boolean }
  /** The process of an infra container is killed. */
  | { readonly do: "kill"; readonly id: string }
  | { readonly do: "gc"; readonly dryRun: boolean }
  | { readonly do: "refuse"; readonly network: "a" | "b" }
  | { readonly do: "heal" }
  | {
    readonly do: "restart";
    readonly how: "end" | "kill";
    readonly reboot: boolean;
    readonly meanwhile: AskStep | undefined;
  };

/** The query string, after the `?`. */
export interface ListQuery {
  readonly id?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly state?: string;
  readonly label?: string;
}

/** The expected end of a call. */
export interface Expected {
  /** The kind of the error; undefined for success. */
  readonly kind?: "conflict" | "not-found" | "plugin";
  /** Of the sandbox in the answer. */
  readonly state?: ModelSandbox["state"];
  readonly id?: string;
}

export interface ModelSandbox {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  state: "ready" | "stopped" | "broken";
  /** What is at the path of its namespace. */
  path: "namespace" | "file" | undefined;
  /** The state of an infra container. */
  infra: "running" | "ended" | undefined;
}

export interface ModelAttachment {
  readonly containerId: string;
  readonly network: NetworkName;
  readonly ifName: string;
  readonly port: number | undefined;
  state: "attached" | "failed";
}

export class Model {
  /** Oldest first. */
  sandboxes: ModelSandbox[] = [];
  attachments: ModelAttachment[] = [];
  /** The networks whose plugin refuses to detach. */
  readonly refusing = new Set<NetworkName>();

  /** The sandbox that the request means. */
  find({ ref, namespace = "default" }: Target): ModelSandbox | undefined {
    return this.sandboxes.find((known) => known.name === ref && known.namespace === namespace) ??
      this.sandboxes.find(({ id }) => id.startsWith(ref));
  }

  attachmentsOf(id: string): ModelAttachment[] {
    return this.attachments.filter(({ containerId }) => containerId === id);
  }

  isTaken(port: number | undefined): boolean {
    return port !== undefined && this.attachments.some((known) => known.port === port);
  }

  clone(): Model {
    const copy = new Model();
    copy.take(this);
    return copy;
  }

  /** Copies the state of the other one. */
  take({ sandboxes, attachments, refusing }: Model): void {
    this.sandboxes = structuredClone(sandboxes);
    this.attachments = structuredClone(attachments);
    this.refusing.clear();
    for (const network of refusing) this.refusing.add(network);
  }

  ask(step: AskStep, way: Way): Expected {
    if (step.do === "run") return this.#run(step);
    const found = this.find(step.target);
    if (step.do === "stop") {
      if (found === undefined) return { kind: "not-found" };
      this.#stop(found);
      return { state: "stopped", id: found.id };
    }
    // The daemon's removal may be repeated, as that of the CRI.
    if (found === undefined) return way === "daemon" || step.force ? {} : { kind: "not-found" };
    return this.#remove(found, step.force) ? {} : { kind: "plugin" };
  }

  get(target: Target): Expected {
    const found = this.find(target);
    return found === undefined ? { kind: "not-found" } : { state: found.state, id: found.id };
  }

  list({ id = "", name, namespace, state, label }: ListQuery): string[] {
    const [key = "", value] = (label ?? "").split("=");
    return this.sandboxes.filter((known) =>
      known.id.startsWith(id) && (name ?? known.name) === known.name &&
      (namespace ?? known.namespace) === known.namespace && (state ?? known.state) === known.state &&
      (label === undefined || (key in known.labels && (value ?? known.labels[key]) === known.labels[key]))
    ).map((known) => known.id);
  }

  /** A run that was cancelled while its first plugin ran. */
  undo({ id, networks = ["a"], port }: RunStep): void {
    const [first] = networks;
    if (first === undefined || networks === "none") return;
    const ifName = "eth0";
    this.attachments.push({
      containerId: id,
      network: first as NetworkName,
      ifName,
      port,
      state: "attached",
    });
    this.#detach(id);
  }

  /** The state that recovery makes of an operation that was killed half-way, and of the rest. */
  die(step: AskStep): void {
    this.#dieIn(step);
    this.recover();
  }

  #dieIn(step: AskStep): void {
    if (step.do === "run") return this.undo(step);
    const found = this.find(step.target);
    if (found === undefined) return;
    if (step.do === "remove" && step.force) this.#remove(found, true);
    else this.#stop(found);
  }

  unmount(id: string, unlink: boolean): void {
    const found = this.sandboxes.find((known) => known.id === id);
    if (found === undefined) return;
    found.state = "broken";
    found.path = unlink ? undefined : "file";
  }

  kill(id: string): void {
    const found = this.sandboxes.find((known) => known.id === id);
    if (found === undefined) return;
    found.state = "broken";
    found.infra = "ended";
  }

  reboot(): void {
    for (const sandbox of this.sandboxes) this.#stop(sandbox);
  }

  /** A sandbox that has lost its container is torn down. */
  recover(): void {
    for (const sandbox of this.sandboxes) if (sandbox.infra === "ended") this.#stop(sandbox);
  }

  heal(): void {
    this.refusing.clear();
    this.recover();
    this.attachments = this.attachments.filter(({ state }) => state === "attached");
  }

  #run({ id, name, namespace, networks = ["a"], labels, port, replace, infra }: RunStep): Expected {
    const before = this.sandboxes.find((known) => known.name === name && known.namespace === namespace);
    if (before !== undefined && !replace) return { kind: "conflict" };
    const holder = this.attachments.find((known) => port !== undefined && known.port === port);
    if (holder !== undefined && holder.containerId !== before?.id) return { kind: "conflict" };
    if (before !== undefined) this.#remove(before, true);
    // An attachment that could not be detached keeps its port.
    if (this.isTaken(port)) return { kind: "conflict" };
    const wanted = networks === "none" ? [] : networks;
    for (const [index, network] of wanted.entries()) {
      this.attachments.push({
        containerId: id,
        network,
        ifName: `eth${index}`,
        port: index === 0 ? port : undefined,
        state: "attached",
      });
      if (network !== "bad") continue;
      this.#detach(id);
      return { kind: "plugin" };
    }
    this.sandboxes.push({
      id,
      name,
      namespace,
      labels,
      state: "ready",
      path: "namespace",
      infra: infra ? "running" : undefined,
    });
    return { state: "ready", id };
  }

  #stop(sandbox: ModelSandbox): void {
    if (sandbox.state !== "stopped") this.#detach(sandbox.id);
    sandbox.state = "stopped";
    sandbox.path = undefined;
    sandbox.infra = undefined;
  }

  /** Whether it is gone. */
  #remove(sandbox: ModelSandbox, force: boolean): boolean {
    const isClean = this.#detach(sandbox.id);
    if (!isClean && !force) {
      this.#stop(sandbox);
      return false;
    }
    this.sandboxes = this.sandboxes.filter(({ id }) => id !== sandbox.id);
    return true;
  }

  /** Whether nothing is left. */
  #detach(id: string): boolean {
    this.attachments = this.attachments.filter(({ containerId, network }) =>
      containerId !== id || this.refusing.has(network)
    );
    const left = this.attachmentsOf(id);
    for (const attachment of left) attachment.state = "failed";
    return left.length === 0;
  }
}
