/** A runtime that keeps sandboxes in memory, and whose runs wait until a test lets them go on. */
import { CniError } from "../../lib/cni/error.ts";
import { silentLogger } from "../../lib/host/log.ts";
import type { EnginePod } from "../../lib/nri/engine_pod.ts";
import type { PodNetworksOptions } from "../../lib/nri/pod_networks.ts";
import { parsePolicy } from "../../lib/nri/policy.ts";
import type { DisposableSandbox } from "../../lib/sandbox/disposable.ts";
import type { SandboxRequest } from "../../lib/sandbox/request.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";

/** The sandboxes, and what was asked of them. */
export class FakeRuntime {
  readonly sandboxes = new Map<string, Sandbox>();
  readonly calls: string[] = [];
  /** Called before a run is done. */
  beforeRun: (request: SandboxRequest, signal: AbortSignal | undefined) => Promise<void> = () =>
    Promise.resolve();
  /** Called before a sandbox is removed. */
  beforeRemove: (id: string) => Promise<void> = () => Promise.resolve();
  attached = 0;
  recoveries = 0;

  /** The options for it. */
  options(more: Partial<PodNetworksOptions> = {}): PodNetworksOptions {
    const policy = parsePolicy('{"networks": {"back": {"namespaces": {"shop": {}}}}}', "/policy");
    return {
      runtime: {
        attachments: () =>
          Promise.resolve(Array.from({ length: this.attached }, () => ({ state: "attached" })) as never),
        recover: () => Promise.resolve(this.recoveries++),
        sandboxes: {
          list: (filter = {}) => {
            const { id, name } = [filter].flat()[0] ?? {};
            const all = [...this.sandboxes.values()];
            return Promise.resolve(
              all.filter((each) => each.id.startsWith(id ?? "") && each.name === (name ?? each.name)),
            );
          },
          run: async (request, options) => {
            this.calls.push(`run ${request.id}`);
            await this.beforeRun(request, options?.signal);
            options?.signal?.throwIfAborted();
            const made = sandboxOf(request);
            this.sandboxes.set(made.id, made);
            return made as DisposableSandbox;
          },
          remove: async (id) => {
            this.calls.push(`remove ${id}`);
            await this.beforeRemove(id);
            this.sandboxes.delete(id);
            return [];
          },
        },
      },
      readPolicy: () => Promise.resolve(policy),
      log: silentLogger,
      engine: () => "fake 1",
      ...more,
    };
  }
}

/** A sandbox that is ready. */
export function sandboxOf(
  { id = "", name = "", namespace = "", uid = "", attempt = 0 }: SandboxRequest,
): Sandbox {
  return {
    ...{ id, name, namespace, uid, attempt, state: "ready", createdAt: "2026-11-30T00:00:00Z", netns: "/n" },
    ...{ hostNetwork: false, pid: null, ips: [], networks: [], files: null, labels: {}, annotations: {} },
    nri: { engine: "fake 1" },
  };
}

/** A pod that asks for the network `back`, or for what is given. */
export function podNamed(id: string, networks: string | undefined = "back"): EnginePod {
  const annotations: Record<string, string> = networks === "" ? {} : { "podwire.dev/networks": networks };
  return {
    id,
    name: id,
    namespace: "shop",
    uid: `uid-${id}`,
    annotations,
    labels: {},
    netns: `/run/netns/${id}`,
  };
}

/** A failure of a plugin. */
export const FAILURE = new CniError("plugin", "the plugin is broken");
