import { createNetns } from "../../lib/host/netns.ts";
import type { Pods } from "../../lib/runtime/pods.ts";
import type { Bench } from "./bench.ts";
import type { Way } from "./in_turn.ts";

const MOST_AT_ONCE = 8;

/** Makes a namespace for each pod that is there at the same time, and returns where. */
export async function namespaces({ memory }: Bench, name: string): Promise<(place: number) => string> {
  const pathOf = (place: number) => `${memory}/netns-${name}/place${place}`;
  for (let place = 0; place < MOST_AT_ONCE; place++) await createNetns(pathOf(place));
  return pathOf;
}

/** Pods that stay open, as in a container engine. */
export function podsWay(pods: Pods, netns: (place: number) => string): Way {
  return {
    up: (pod, place) =>
      pods.setUp({ containerId: pod, name: pod, namespace: "bench", uid: pod, netns: netns(place) }),
    check: async (pod) => {
      const { ready, reason } = await pods.podStatus(pod);
      if (!ready) throw new Error(`Cannot check the pod "${pod}": ${reason}`);
    },
    down: async (pod) => {
      for (const failure of await pods.tearDown(pod)) throw failure;
    },
  };
}
