/** A daemon, the command line's library beside it, plugins and the kernel, to be compared with the model. */
import { assertEquals } from "@std/assert";
import { isNetns } from "../../lib/host/netns.ts";
import { asCniError } from "../../lib/plugin/failure.ts";
import type { AskStep, Expected, Model, RunStep, Target, Way } from "./daemon_model.ts";
import { NETWORKS } from "./daemon_model.ts";
import { LifeDaemon, type SocketAnswer } from "./daemon_model_daemon.ts";
import { bootedAs } from "../booted_as.ts";
import { SandboxWorld, until } from "./sandbox_world.ts";

/**
 * Makes and removes one interface, and writes down what it does. `hold-VERB` is taken by the next call of that verb,
 * which then does not go on until somebody ends it; `no-TYPE` has that type refuse to detach.
 */
const PLUGIN = `#!/bin/sh
here=\${0%/*} type=\${0##*/}
cat >/dev/null
say() { echo "$type $CNI_CONTAINERID $CNI_IFNAME $CNI_COMMAND $1" >>"$here/events"; }
refuse() { say refused; echo "{\\"cniVersion\\": \\"1.1.0\\", \\"code\\": 107, \\"msg\\": \\"will not\\"}"; exit 1; }
hold() {
  say began
  mv "$here/hold-$CNI_COMMAND" "$here/held.$$" 2>/dev/null || return 0
  while [ -e "$here/held.$$" ]; do sleep 0.05; done
}
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}' ;;
ADD)
  hold
  [ "$type" != refuses ] || refuse
  nsenter --net="$CNI_NETNS" ip link show "$CNI_IFNAME" >/dev/null 2>&1 ||
    nsenter --net="$CNI_NETNS" ip link add "$CNI_IFNAME" type bridge || exit 1
  say done
  echo '{"cniVersion": "1.1.0"}' ;;
DEL)
  hold
  [ ! -e "$here/no-$type" ] || refuse
  [ -z "$CNI_NETNS" ] || nsenter --net="$CNI_NETNS" ip link del "$CNI_IFNAME" 2>/dev/null
  say done ;;
esac
exit 0
`;

const STATUSES = { conflict: 409, "not-found": 404, plugin: 500 } as const;

export class LifeWorld implements AsyncDisposable {
  readonly daemon: LifeDaemon;
  #boots = 0;

  private constructor(readonly base: SandboxWorld, readonly model: Model, isProcess: boolean) {
    this.daemon = new LifeDaemon(isProcess, base.log);
  }

  static async make(model: Model, isProcess: boolean): Promise<LifeWorld> {
    const base = await SandboxWorld.make();
    for (const [name, types] of Object.entries(NETWORKS)) {
      const plugins = types.map((type) => ({ type, capabilities: { portMappings: type === "a" } }));
      const list = { cniVersion: "1.1.0", name, plugins };
      await Deno.writeTextFile(`${base.confDir}/${name}.conflist`, JSON.stringify(list));
      for (const type of types) {
        await Deno.writeTextFile(`${base.plugins.dir}/${type}`, PLUGIN, { mode: 0o755 });
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

  async start(): Promise<void> {
    const { options, dir } = this.base;
    await this.daemon.start({ runtime: options, socket: `${dir}/sock/podwire.sock`, boot: this.#boot });
  }

  /** What a machine that was switched off does not have any more. */
  async reboot(): Promise<void> {
    this.#boots++;
    const { netnsDir, runDir } = this.base;
    await this.base.sh(
      'umount -l "$1"/* 2>/dev/null; while umount -l "$1" 2>/dev/null; do :; done; rm -rf "$1" "$2"',
      netnsDir,
      runDir,
    );
  }

  async unmount(id: string, unlink: boolean): Promise<void> {
    const path = `${this.base.netnsDir}/podwire-${id}`;
    await this.base.sh(`umount -l "$1"${unlink ? ' && rm "$1"' : ""}`, path);
  }

  async refuse(network: string): Promise<void> {
    await Deno.writeTextFile(`${this.base.plugins.dir}/no-${network}`, "");
  }

  /** The failed removals are tried again at once, unless the daemon is at it by itself. */
  async heal(): Promise<void> {
    for (const network of ["a", "b"]) {
      await this.base.sh('rm -f "$1"', `${this.base.plugins.dir}/no-${network}`);
    }
    const { status } = await this.daemon.call("POST", "/v1/recover", { body: {} });
    assertEquals(status, 200);
  }

  /** Asks, and compares the answer. */
  async ask(step: AskStep, way: Way, expected: Expected): Promise<void> {
    if (way === "beside") return assertEquals(await this.#askBeside(step), expected.kind);
    const answer = await this.request(step);
    if (expected.kind !== undefined) return refused(answer, expected.kind);
    const status = step.do === "run" ? 201 : step.do === "stop" ? 200 : 204;
    assertEquals(answer.status, status, JSON.stringify(answer.json));
    assertEquals([answer.json?.id, answer.json?.state], [expected.id, expected.state]);
  }

  async get(target: Target, { kind, id, state }: Expected): Promise<void> {
    const answer = await this.daemon.call("GET", pathOf(target));
    if (kind !== undefined) return refused(answer, kind);
    assertEquals([answer.status, answer.json.id, answer.json.state], [200, id, state]);
  }

  async list(query: Readonly<Record<string, string>>, ids: readonly string[]): Promise<void> {
    const { status, json } = await this.daemon.call("GET", `/v1/sandboxes?${new URLSearchParams(query)}`);
    assertEquals([status, json.map(({ id }: { id: string }) => id)], [200, ids]);
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

  /** Begins, and calls `interrupt` while the first plugin of it is at work. */
  async interrupt(step: AskStep, interrupt: () => Promise<void> | void, signal?: AbortSignal): Promise<void> {
    const verb = step.do === "run" ? "ADD" : "DEL";
    const hold = `${this.base.plugins.dir}/hold-${verb}`;
    await Deno.writeTextFile(hold, "");
    const ended = this.request(step, signal).then(({ status }) => `answered ${status}`, () => "cut short");
    await until(async () => !await isThere(hold));
    await interrupt();
    assertEquals(await ended, "cut short");
  }

  /** The kind of the error, as the command line would have it. */
  async #askBeside(step: AskStep): Promise<string | undefined> {
    const { sandboxes } = this.base.podwire({ run: bootedAs(this.#boot) });
    try {
      if (step.do === "run") {
        const { port, do: _, networks, ...request } = step;
        await sandboxes.run({
          ...request,
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

  /** Compares all that can be seen; `links` has the interfaces of the sandboxes looked at too. */
  async compare(links: boolean): Promise<void> {
    assertEquals(await this.#sandboxes(), this.#expectedSandboxes());
    assertEquals(await this.#attachments(), this.#expectedAttachments());
    assertEquals(await this.#paths(), this.#expectedPaths());
    await this.#compareEvents();
    if (!links) return;
    for (const { id, state } of this.model.sandboxes) {
      if (state !== "ready") continue;
      const path = `${this.base.netnsDir}/podwire-${id}`;
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
    return json.map(({ id, name, namespace, state, labels, networks }: Record<string, unknown>) => {
      const attached = (networks as { name: string; ifName: string }[]).map(({ name, ifName }) =>
        `${name}:${ifName}`
      );
      return { id, name, namespace, state, labels, attached };
    });
  }

  #expectedSandboxes(): unknown {
    return this.model.sandboxes.map(({ path: _, ...sandbox }) => ({
      ...sandbox,
      attached: this.model.attachmentsOf(sandbox.id).filter(({ state }) => state === "attached")
        .map(({ network, ifName }) => `${network}:${ifName}`),
    }));
  }

  async #attachments(): Promise<string[]> {
    const { json } = await this.daemon.call("GET", "/v1/attachments");
    return json.map(({ containerId, network, ifName, state, owner }: Record<string, string>) => {
      // The daemon tries again by itself what had failed.
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
      found.push(`${name} ${await isNetns(`${netnsDir}/${name}`) ? "namespace" : "file"}`);
    }
    return found.sort();
  }

  #expectedPaths(): string[] {
    return this.model.sandboxes.flatMap(({ id, path }) => path === undefined ? [] : [`podwire-${id} ${path}`])
      .sort();
  }

  /** What has begun to be attached is attached, is still to be detached, or was detached. */
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
    await this.base[Symbol.asyncDispose]();
  }
}

function refused({ status, json }: SocketAnswer, kind: NonNullable<Expected["kind"]>): void {
  assertEquals([status, json?.error?.kind], [STATUSES[kind], kind], JSON.stringify(json));
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

const networksOf = (names: readonly string[]) => names.map((name) => ({ name }));

function pathOf(
  { ref, namespace }: Target,
  behind = "",
  more: Readonly<Record<string, string>> = {},
): string {
  const query = new URLSearchParams({ ...(namespace === undefined ? {} : { namespace }), ...more });
  return `/v1/sandboxes/${ref}${behind}?${query}`;
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
