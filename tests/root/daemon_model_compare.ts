/** Compares the daemon's answers, the records, the calls of the plugins and the kernel with the model. */
import { assertEquals } from "@std/assert";
import { netnsId, netnsOf, nsProblem } from "../../lib/host/netns.ts";
import { type Model, NETWORKS } from "./daemon_model.ts";
import type { LifeDaemon } from "./daemon_model_daemon.ts";
import type { SandboxWorld } from "./sandbox_world.ts";

/** Where runc keeps the state of its containers; lost with the machine. */
const RUNC_STATE = "/run/runc";

export class LifeComparison {
  /** The namespaces that infra containers had, by their processes. */
  readonly #held = new Map<number, string>();

  constructor(readonly base: SandboxWorld, readonly model: Model, readonly daemon: LifeDaemon) {}

  /** Compares everything that can be seen; `links` adds the interfaces of the sandboxes. */
  async compare(links: boolean): Promise<void> {
    assertEquals(await this.#sandboxes(), this.#expectedSandboxes());
    assertEquals(await this.#attachments(), this.#expectedAttachments());
    assertEquals(await this.#paths(), this.#expectedPaths());
    assertEquals(await listed(`${this.base.stateDir}/infra`), this.#expectedInfra());
    await this.#compareEvents();
    if (!links) return;
    for (const { id, state, infra } of this.model.sandboxes) {
      if (state !== "ready") continue;
      const path = `${this.base.netnsDir}/podwire-${id}`;
      if (infra !== undefined) await this.#compareProcess(id, path);
      const found = JSON.parse(await this.base.sh('nsenter --net="$1" ip -j link', path)) as {
        ifname: string;
        flags: string[];
      }[];
      const wanted = this.model.attachmentsOf(id).map(({ ifName }) => ifName);
      assertEquals(found.map(({ ifname }) => ifname).sort(), ["lo", ...wanted].sort(), id);
      assertEquals(found.find(({ ifname }) => ifname === "lo")?.flags.includes("UP"), true, `lo of ${id}`);
    }
  }

  async #sandboxes(): Promise<unknown> {
    const { json } = await this.daemon.call("GET", "/v1/sandboxes");
    return json.map(({ id, name, namespace, state, labels, networks, pid }: Record<string, unknown>) => {
      const attached = (networks as { name: string; ifName: string }[]).map(({ name, ifName }) =>
        `${name}:${ifName}`
      );
      return { id, name, namespace, state, labels, attached, hasProcess: pid !== null };
    });
  }

  #expectedSandboxes(): unknown {
    return this.model.sandboxes.map(({ path: _, infra, ...sandbox }) => ({
      ...sandbox,
      hasProcess: infra === "running",
      attached: this.model.attachmentsOf(sandbox.id).filter(({ state }) => state === "attached")
        .map(({ network, ifName }) => `${network}:${ifName}`),
    }));
  }

  async #attachments(): Promise<string[]> {
    const { json } = await this.daemon.call("GET", "/v1/attachments");
    return json.map(({ containerId, network, ifName, state, owner }: Record<string, string>) => {
      // The daemon retries by itself what had failed.
      const shown = state === "deleting" ? "failed" : state;
      return `${containerId} ${network} ${ifName} ${shown} ${owner}`;
    }).sort();
  }

  #expectedAttachments(): string[] {
    return this.model.attachments.map(({ containerId, network, ifName, state }) =>
      `${containerId} ${network} ${ifName} ${state} sandbox:${containerId}`
    ).sort();
  }

  async #paths(): Promise<string[]> {
    const found: string[] = [];
    const { netnsDir } = this.base;
    if (!await isThere(netnsDir)) return found;
    for await (const { name } of Deno.readDir(netnsDir)) {
      found.push(`${name} ${await nsProblem(`${netnsDir}/${name}`) === undefined ? "namespace" : "file"}`);
    }
    return found.sort();
  }

  #expectedPaths(): string[] {
    return this.model.sandboxes.flatMap(({ id, path }) => path === undefined ? [] : [`podwire-${id} ${path}`])
      .sort();
  }

  #expectedInfra(): string[] {
    return this.model.sandboxes.flatMap(({ id, infra }) => infra === undefined ? [] : [id]).sort();
  }

  /** The process of an infra container is in the namespace of its sandbox. */
  async #compareProcess(id: string, path: string): Promise<void> {
    const { json: { pid } } = await this.daemon.call("GET", `/v1/sandboxes/${id}`);
    const netns = await netnsId(path);
    assertEquals(await netnsOf(pid), netns, `the infra container of ${id}`);
    this.#held.set(pid, netns ?? "");
  }

  /** What is left of infra containers, once all sandboxes are gone. */
  async infraLeft(): Promise<string[]> {
    const mark = this.base.id("");
    const held = await Promise.all(
      [...this.#held].map(async ([pid, netns]) => await netnsOf(pid) === netns ? [`process ${pid}`] : []),
    );
    return [...(await listed(RUNC_STATE)).filter((name) => name.endsWith(mark)), ...held.flat()];
  }

  /** Every attachment that was begun is attached, is still to be detached, or was detached. */
  async #compareEvents(): Promise<void> {
    const last = new Map<string, string>();
    const events = (await Deno.readTextFile(`${this.base.plugins.dir}/events`)).split("\n");
    for (const line of events.filter((line) => line !== "")) {
      const [type = "", id = "", ifName = "", ...event] = line.split(" ");
      last.set(`${type} ${id} ${ifName}`, event.join(" "));
    }
    const expected = new Map<string, string>();
    const left = new Set<string>();
    for (const { containerId, network, ifName, state } of this.model.attachments) {
      for (const type of NETWORKS[network]) {
        const key = `${type} ${containerId} ${ifName}`;
        if (state === "failed") left.add(key);
        else expected.set(key, "ADD done");
      }
    }
    for (const [key, event] of last) {
      if (left.has(key)) assertEquals(event === "ADD done" ? event : "to be detached", "to be detached", key);
      else assertEquals(event, expected.get(key) ?? "DEL done", key);
    }
    assertEquals([...expected.keys(), ...left].filter((key) => !last.has(key)), []);
  }
}

/** The names in a directory, if it exists. */
export async function listed(dir: string): Promise<string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(dir), ({ name }) => name)).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Whether something exists at a path, wherever that leads. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
