// The life of a sandbox by gRPC, by HTTP and by the library, each step in turn in one run; and a list of a thousand sandboxes.
// Both clients are in this process and use `fetch`, so that the difference is that of the faces.
import { RuntimeService } from "../../lib/cri/generated/api_pb.ts";
import { DaemonClient } from "../../lib/daemon/client.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { until } from "../until.ts";
import { isThere } from "../root/binary_world.ts";
import { DaemonProcess } from "../root/daemon_world.ts";
import type { Bench, Measure } from "./bench.ts";
import { CriClient } from "./cri_client.ts";
import type { Figures } from "./goals.ts";
import { inTurn } from "./in_turn.ts";
import { medianDifference } from "./median.ts";
import { nothingDir, Site } from "./site.ts";

const STEPS = ["run", "status", "stop", "remove"] as const;
const AT_ONCE = [1, 8, 32] as const;
const FACES = ["cri", "http", "library"] as const;
const LISTED = 1_000;
const MAKERS = 8;

type Step = typeof STEPS[number];
type FaceName = typeof FACES[number];
/** The steps of one face, each of which is given the name of a pod. */
type Steps = Readonly<Record<Step, (pod: string) => Promise<unknown>>>;
/** For each step the milliseconds of a call in each round. */
type Times = Readonly<Record<Step, number[]>>;

/** Measures the rows of the CRI. */
export const measureCri: Measure<"cri"> = async (bench, wanted) => {
  const keys = [...wanted];
  const { runPodSandbox, podSandboxStatus, stopPodSandbox, removePodSandbox } = RuntimeService.method;
  const pluginDirs = [await nothingDir(bench)];
  const site = () => Site.make(bench, { plugins: () => [{ type: "nothing" }], pluginDirs });
  const { daemonWorld } = await site();
  const path = `${daemonWorld.dir}/run/cri.sock`;
  await using daemon = await DaemonProcess.start(daemonWorld, [`--cri=${path}`]);
  await until(() => isThere(path));
  using client = new CriClient(path);
  const http = new DaemonClient(daemon.socket);
  const { sandboxes } = new Podwire((await site()).options);
  const ids = new Map<string, string>();
  const of = (pod: string) => ({ podSandboxId: ids.get(pod) ?? "" });
  const metadata = (pod: string) => ({ name: pod, uid: pod, namespace: "default", attempt: 0 });
  const faces: Readonly<Record<FaceName, Steps>> = {
    cri: {
      run: async (pod) => {
        const { podSandboxId } = await client.call(runPodSandbox, { config: { metadata: metadata(pod) } });
        ids.set(pod, podSandboxId);
      },
      status: (pod) => client.call(podSandboxStatus, of(pod)),
      stop: (pod) => client.call(stopPodSandbox, of(pod)),
      remove: (pod) => client.call(removePodSandbox, of(pod)),
    },
    http: {
      run: (id) => http.run({ name: id, id }),
      status: (id) => http.get(id),
      stop: (id) => http.stop(id),
      remove: (id) => http.remove(id),
    },
    library: {
      run: (id) => sandboxes.run({ name: id, id }),
      status: (id) => sandboxes.get(id),
      stop: (id) => sandboxes.stop(id),
      remove: (id) => sandboxes.remove(id),
    },
  };
  const figures: Figures<"cri"> = {};
  for (const atOnce of AT_ONCE) {
    if (!keys.some((key) => key.endsWith(String(atOnce)))) continue;
    const times = await stepsInTurn(faces, { rounds: bench.rounds, atOnce });
    for (const step of STEPS) {
      const against = (other: FaceName) => medianDifference(times.cri[step], times[other][step]);
      Object.assign(figures, {
        [`${step}${atOnce}`]: against("library"),
        [`${step}Http${atOnce}`]: against("http"),
      });
    }
  }
  if (wanted.has("listed")) figures.listed = await listedMs(bench, client, faces.cri);
  await daemon.end();
  return figures;
};

/** As {@linkcode inTurn}, with each step of a life for itself. */
async function stepsInTurn(
  faces: Readonly<Record<FaceName, Steps>>,
  { rounds, atOnce }: { readonly rounds: number; readonly atOnce: number },
): Promise<Readonly<Record<FaceName, Times>>> {
  const noTimes = (): Times => ({ run: [], status: [], stop: [], remove: [] });
  const all: Readonly<Record<FaceName, Times>> = { cri: noTimes(), http: noTimes(), library: noTimes() };
  const turns = [...FACES];
  for (let round = -WARM_UP; round < rounds; round++) {
    for (const face of turns) {
      const pods = Array.from({ length: atOnce }, (_, place) => `${face}${round}x${place}n${atOnce}`);
      for (const step of STEPS) {
        const start = performance.now();
        await Promise.all(pods.map((pod) => faces[face][step](pod)));
        if (round >= 0) all[face][step].push((performance.now() - start) / atOnce);
      }
    }
    // Each face follows each other one equally often.
    if (round % 2 === 0) turns.reverse();
    else turns.push(...turns.splice(0, 1));
  }
  return all;
}

/** Rounds that do not count, because they fill caches. */
const WARM_UP = 2;

async function listedMs({ rounds, say }: Bench, client: CriClient, { run }: Steps): Promise<number> {
  let next = 0;
  const maker = async () => {
    while (next < LISTED) await run(`listed${next++}`);
  };
  await Promise.all(Array.from({ length: MAKERS }, maker));
  const { listPodSandbox, version } = RuntimeService.method;
  const { items } = await client.call(listPodSandbox, {});
  if (items.length !== LISTED) throw new Error(`Cannot measure the list: it has ${items.length} sandboxes`);
  const down = () => Promise.resolve();
  const { listed, least } = await inTurn({
    listed: { up: () => client.send(listPodSandbox, {}), down },
    least: { up: () => client.send(version, {}), down },
  }, { rounds, atOnce: 1 });
  say(`the CRI lists ${LISTED} sandboxes`);
  return medianDifference(listed.up, least.up);
}
