/** A daemon, the command line's library beside it, plugins and the kernel, to compare with the model. */
import { assertEquals } from "@std/assert";
import { dirname } from "@std/path";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import type { RuntimeOptions } from "../../lib/runtime/podwire.ts";
import { bootedAs } from "../booted_as.ts";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { SYSTEM_PATH } from "./binary_world.ts";
import {
  type AskStep,
  type Call,
  type Expected,
  type Model,
  NETWORKS,
  type RunStep,
  type Target,
  type Way,
} from "./daemon_model.ts";
import { isThere, LifeComparison, listed } from "./daemon_model_compare.ts";
import { LifeDaemon, type SocketAnswer } from "./daemon_model_daemon.ts";
import { LIFE_PLUGIN } from "./daemon_model_plugin.ts";
import { CATATONIT, RUNC } from "./need.ts";
import { SandboxWorld, until } from "./sandbox_world.ts";
import { unmountBelow } from "./unmount.ts";

const STATUSES = { conflict: 409, "not-found": 404, plugin: 500 } as const;

export class LifeWorld implements AsyncDisposable {
  readonly daemon: LifeDaemon;
  #boots = 0;
  readonly #comparison: LifeComparison;

  private constructor(readonly base: SandboxWorld, readonly model: Model, isProcess: boolean) {
    this.daemon = new LifeDaemon(isProcess, base.log);
    this.#comparison = new LifeComparison(base, model, this.daemon);
  }

  static async make(model: Model, isProcess: boolean): Promise<LifeWorld> {
    const base = await SandboxWorld.make();
    for (const [name, types] of Object.entries(NETWORKS)) {
      const plugins = types.map((type) => ({ type, capabilities: { portMappings: type === "a" } }));
      const list = { cniVersion: "1.1.0", name, plugins };
      await Deno.writeTextFile(`${base.confDir}/${name}.conflist`, JSON.stringify(list));
      for (const type of types) {
        await Deno.writeTextFile(`${base.plugins.dir}/${type}`, LIFE_PLUGIN, { mode: 0o755 });
      }
    }
    await Deno.writeTextFile(`${base.plugins.dir}/events`, "");
    const world = new LifeWorld(base, model, isProcess);
    await world.start();
    return world;
  }

  get #boot(): string {
    return `boot-${this.#boots}`;
  }

  get #options(): RuntimeOptions {
    const PATH = `${dirname(RUNC)}:${dirname(CATATONIT)}:${SYSTEM_PATH}`;
    return { ...this.base.options, environment: { PATH } };
  }

  async start(): Promise<void> {
    const { dir } = this.base;
    await this.daemon.start({
      runtime: this.#options,
      socket: `${dir}/sock/podwire.sock`,
      boot: this.#boot,
    });
  }

  /** What a machine that was switched off has lost. */
  async reboot(): Promise<void> {
    this.#boots++;
    const { netnsDir, runDir, stateDir } = this.base;
    for (const id of await listed(`${stateDir}/infra`)) {
      await this.base.sh('"$1" delete --force "$2"', RUNC, id);
    }
    await unmountBelow(netnsDir);
    await this.base.sh('rm -rf "$1" "$2"', netnsDir, runDir);
  }

  async unmount(id: string, unlink: boolean): Promise<void> {
    const path = `${this.base.netnsDir}/podwire-${id}`;
    await this.base.sh(`umount -l "$1"${unlink ? ' && rm "$1"' : ""}`, path);
  }

  /** The daemon notices by itself, and so does a client that asks. */
  async kill(id: string): Promise<void> {
    const deaths = async () => {
      const text = await this.daemon.text("/metrics");
      return valueOf(parseExposition(text), "podwire_infra_deaths_total", {}) ?? 0;
    };
    const before = await deaths();
    const { json } = await this.daemon.call("GET", pathOf({ ref: id }));
    Deno.kill(json.pid, "SIGKILL");
    await until(async () => await deaths() > before);
  }

  /** What is in use is left alone, whatever its state, and GC passes it to the plugins as valid. */
  async gc(dryRun: boolean): Promise<void> {
    const { dir } = this.base.plugins;
    await this.base.sh('rm -f "$1"/gc-*', dir);
    const { status, json } = await this.daemon.call("POST", "/v1/gc", { body: { dryRun } });
    assertEquals(status, 200, JSON.stringify(json));
    // A failed plugin still refuses, so the dry run can only list what would be removed.
    const failed = this.model.attachments.filter(({ state }) => dryRun && state === "failed").map(nameOf);
    assertEquals(json.removed.map(nameOf).filter((name: string) => !failed.includes(name)), []);
    for (const [network, types] of Object.entries(NETWORKS)) {
      const known = this.model.attachments.filter((attachment) => attachment.network === network);
      const names = known.map(nameOf).sort();
      for (const type of types) {
        assertEquals(await this.#validInGc(type), dryRun ? undefined : names, `GC of ${type}`);
      }
    }
  }

  /** The attachments that a plugin got as valid with GC. */
  async #validInGc(type: string): Promise<string[] | undefined> {
    const path = `${this.base.plugins.dir}/gc-${type}`;
    if (!await isThere(path)) return undefined;
    const { "cni.dev/valid-attachments": valid } = JSON.parse(await Deno.readTextFile(path));
    return valid.map(({ containerID: containerId, ifname: ifName }: Record<string, string>) =>
      `${containerId} ${ifName}`
    ).sort();
  }

  /**
   * Two clients at once: the answers, and everything that can be seen then, are those of one after the other.
   */
  async pair(calls: readonly [Call, Call]): Promise<void> {
    const outcomes = await Promise.all(calls.map(({ way, step }) => this.#outcome(step, way)));
    for (const order of [calls, calls.toReversed()]) {
      const model = this.model.clone();
      const expected = new Map(order.map((call) => [call, model.ask(call.step, call.way).kind]));
      if (calls.every((call, index) => expected.get(call) === outcomes[index])) {
        this.model.take(model);
        return;
      }
    }
    throw new Error(`two at once came to ${JSON.stringify(outcomes)}`);
  }

  /** The kind of the error, if it was one. */
  async #outcome(step: AskStep, way: Way): Promise<string | undefined> {
    if (way === "beside") return await this.#askBeside(step);
    const { status, json } = await this.request(step);
    return status < 300 ? undefined : json?.error?.kind ?? `status ${status}`;
  }

  async refuse(network: string): Promise<void> {
    await Deno.writeTextFile(`${this.base.plugins.dir}/no-${network}`, "");
  }

  /** The failed removals are retried at once, unless the daemon does it by itself. */
  async heal(): Promise<void> {
    for (const network of ["a", "b"]) {
      await this.base.sh('rm -f "$1"', `${this.base.plugins.dir}/no-${network}`);
    }
    const { status } = await this.daemon.call("POST", "/v1/recover", { body: {} });
    assertEquals(status, 200);
  }

  /** Sends a request, and compares the answer. */
  async ask(step: AskStep, way: Way, expected: Expected): Promise<void> {
    if (way === "beside") return assertEquals(await this.#askBeside(step), expected.kind);
    const answer = await this.request(step);
    if (expected.kind !== undefined) return refused(answer, expected.kind);
    const status = step.do === "run" ? 201 : step.do === "stop" ? 200 : 204;
    assertEquals(answer.status, status, JSON.stringify(answer.json));
    assertEquals({ id: answer.json?.id, state: answer.json?.state }, {
      id: expected.id,
      state: expected.state,
    });
  }

  async get(target: Target, { kind, id, state }: Expected): Promise<void> {
    const answer = await this.daemon.call("GET", pathOf(target));
    if (kind !== undefined) return refused(answer, kind);
    assertEquals({ status: answer.status, id: answer.json.id, state: answer.json.state }, {
      status: 200,
      id,
      state,
    });
  }

  async list(query: Readonly<Record<string, string>>, ids: readonly string[]): Promise<void> {
    const { status, json } = await this.daemon.call("GET", `/v1/sandboxes?${new URLSearchParams(query)}`);
    assertEquals({ status, json: json.map(({ id }: { id: string }) => id) }, { status: 200, json: ids });
  }

  async request(step: AskStep, signal?: AbortSignal): Promise<SocketAnswer> {
    const more = signal === undefined ? {} : { signal };
    if (step.do === "run") {
      return await this.daemon.call("POST", "/v1/sandboxes", { body: bodyOf(step), ...more });
    }
    if (step.do === "stop") return await this.daemon.call("POST", pathOf(step.target, "/stop"), more);
    const force = step.force ? { force: "true" } : {};
    return await this.daemon.call("DELETE", pathOf(step.target, "", force), more);
  }

  /** Begins a request, and calls `interrupt` while its first plugin runs. */
  async interrupt(step: AskStep, interrupt: () => Promise<void> | void, signal?: AbortSignal): Promise<void> {
    const verb = step.do === "run" ? "ADD" : "DEL";
    const hold = `${this.base.plugins.dir}/hold-${verb}`;
    await Deno.writeTextFile(hold, "");
    const ended = this.request(step, signal).then(({ status }) => `answered ${status}`, () => "cut short");
    await until(async () => !await isThere(hold));
    await interrupt();
    assertEquals(await ended, "cut short");
  }

  /** The kind of the error, as the command line reports it. */
  async #askBeside(step: AskStep): Promise<string | undefined> {
    const { sandboxes } = this.base.podwire({ ...this.#options, run: bootedAs(this.#boot) });
    try {
      if (step.do === "run") {
        const { port, do: _, networks, infra, ...request } = step;
        await sandboxes.run({
          ...request,
          ...(infra ? { source: { kind: "infra" } } : {}),
          ...(networks === undefined
            ? {}
            : { networks: typeof networks === "string" ? networks : networksOf(networks) }),
          ...(port === undefined
            ? {}
            : { publish: [{ hostIP: "", hostPort: port, containerPort: 80, protocol: "tcp" }] }),
        });
        return undefined;
      }
      const { ref, namespace } = step.target;
      const where = namespace === undefined ? {} : { namespace };
      if (step.do === "stop") await sandboxes.stop(ref, where);
      else await sandboxes.remove(ref, { ...where, force: step.force });
      return undefined;
    } catch (error) {
      return asCniError(error).kind;
    }
  }

  /** Compares everything that can be seen; `links` adds the interfaces of the sandboxes. */
  async compare(links: boolean): Promise<void> {
    await this.#comparison.compare(links);
  }

  /** What is left, once all sandboxes are gone. */
  async left(): Promise<readonly string[]> {
    return [...await this.base.left(), ...await this.#comparison.infraLeft()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
    await this.base[Symbol.asyncDispose]();
  }
}

function refused({ status, json }: SocketAnswer, kind: NonNullable<Expected["kind"]>): void {
  assertEquals({ status, kind: json?.error?.kind }, { status: STATUSES[kind], kind }, JSON.stringify(json));
}

function bodyOf({ do: _, port, networks, ...body }: RunStep): unknown {
  return {
    ...body,
    ...(networks === undefined
      ? {}
      : { networks: typeof networks === "string" ? networks : networksOf(networks) }),
    ...(port === undefined ? {} : { publish: [`${port}:80/tcp`] }),
  };
}

const nameOf = ({ containerId, ifName }: { readonly containerId: string; readonly ifName: string }) =>
  `${containerId} ${ifName}`;

const networksOf = (names: readonly string[]) => names.map((name) => ({ name }));

function pathOf(
  { ref, namespace }: Target,
  behind = "",
  more: Readonly<Record<string, string>> = {},
): string {
  const query = new URLSearchParams({ ...(namespace === undefined ? {} : { namespace }), ...more });
  return `/v1/sandboxes/${ref}${behind}?${query}`;
}
