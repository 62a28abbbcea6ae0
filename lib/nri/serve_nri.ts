import { repeat } from "../async/repeat.ts";
import type { Face, OpenFace } from "../daemon/face.ts";
import { messageOf } from "../errors/to_cni_error.ts";
import { EngineConnection } from "./engine_connection.ts";
import { NriMetrics } from "./nri_metrics.ts";
import { PodNetworks } from "./pod_networks.ts";
import { readPolicy } from "./policy.ts";

/** Options of {@linkcode serveNri}. */
export interface ServeNriOptions {
  /** The socket of NRI, as an absolute path. */
  readonly socket: string;
  /** Two digits: plugins are called in their order. */
  readonly index: string;
  /** Its name among the plugins. */
  readonly name: string;
  /** The file that says which pods may use which networks. */
  readonly policy: string;
  /** Where the engine makes the network namespaces of pods. */
  readonly netnsDir: string;
}

/** How soon a pod is detached that has ended without an event. */
const SWEEP_MS = 5_000;

/**
 * Returns what makes the daemon a plugin of the NRI of a container engine: it attaches pods to the networks that their
 * annotations ask for. It works on the same sandboxes as HTTP and the command line.
 *
 * Requires `--allow-read` and `--allow-write` for the socket; from Deno 2.9 on `--allow-net=unix:PATH` too.
 */
export function serveNri({ policy, ...options }: ServeNriOptions): OpenFace {
  return ({ runtime, log, addMetrics, addHealth }): Promise<Face> => {
    const metrics = new NriMetrics();
    addMetrics(() => metrics.write());
    let engine = "";
    const pods = new PodNetworks({
      runtime,
      readPolicy: () => readPolicy(policy),
      log,
      engine: () => engine,
      onAttempt: (outcome) => metrics.onAttempt(outcome),
    });
    const connection = new EngineConnection({
      ...options,
      pods,
      log,
      onEngine: (name) => engine = name,
      onConnected: (isConnected) => {
        metrics.isConnected = isConnected;
        if (isConnected) metrics.onConnected();
      },
    });
    addHealth(() => connection.problem);
    const sweeping = repeat(SWEEP_MS, () => pods.sweep(), (error) => {
      log.warn(`Cannot look for pods that have ended: ${messageOf(error)}`);
    });
    return Promise.resolve({
      get underWay() {
        return pods.underWay;
      },
      keep: () => Promise.resolve(),
      drained: () => pods.drained(),
      cancel: () => pods.cancel(),
      close: async () => {
        await connection[Symbol.asyncDispose]();
        await sweeping[Symbol.asyncDispose]();
      },
    });
  };
}
