import type { Goal } from "./row.ts";

const PEER = "ocicni with the original plugins";
const BATCH = "two processes of ip -batch";
const LOOP = "netlink by the bench's own loop";
const LEAST = "one start of it through setsid and one synced write";
const EMPTY = "an empty compiled program";

const ofPeer = (name: string, goal?: number, against = PEER): Goal => {
  return { name, against, unit: "times", goal, needsPeer: true };
};
const ratio = (name: string, against: string, goal?: number): Goal => ({
  name,
  against,
  unit: "times",
  goal,
});
const ms = (name: string, against: string, goal: number): Goal => ({ name, against, unit: "ms", goal });
const megabytes = (name: string, goal: number): Goal => ({ name, against: EMPTY, unit: "MB", goal });

const CHAIN = "built-in bridge with ipMasq, portmap, firewall and tuning";
const UP = "set-up of a pod, built-in plugins";
const FLUSH = "flushed rules of 1,000 published ports";
const PROGRAMS = "set-up of a pod, built-in plugins, no --allow-ffi";
const DOWN = "tear-down of a pod, built-in plugins";
const CPU = "CPU time of a pod, built-in plugins";
const ENGINE = "engine with a plugin that does nothing";
const ORIGINALS = "engine with the original plugins, 8 at a time";

const LIBRARY = "the library in process";
const HTTP = "HTTP over its socket";
/** The steps of a sandbox by the CRI against those by the library, which have a goal, and by HTTP. */
const criSteps = <N extends 1 | 8 | 32>(atOnce: N) => {
  const row = (call: string, against: string, goal?: number): Goal => ({
    name: `${call} of the CRI, ${atOnce} at a time`,
    against,
    unit: "ms",
    goal,
  });
  const both = <S extends string>(step: S, call: string) =>
    ({
      [`${step}${atOnce}`]: row(call, LIBRARY, 3),
      [`${step}Http${atOnce}`]: row(call, HTTP),
    }) as Readonly<Record<`${S}${N}` | `${S}Http${N}`, Goal>>;
  return {
    ...both("run", "RunPodSandbox"),
    ...both("status", "PodSandboxStatus"),
    ...both("stop", "StopPodSandbox"),
    ...both("remove", "RemovePodSandbox"),
  };
};

/** What the bench measures, by the group that is measured together; each key is unique in its group. */
export const GOALS = {
  pods: {
    up1: ofPeer(`${UP}, 1 at a time`, 0.35),
    up8: ofPeer(`${UP}, 8 at a time`, 0.25),
    up32: ofPeer(`${UP}, 32 at a time`, 0.25),
    programs1: ofPeer(`${PROGRAMS}, 1 at a time`, 0.9),
    programs8: ofPeer(`${PROGRAMS}, 8 at a time`, 0.8),
    down1: ofPeer(`${DOWN}, 1 at a time`, 0.95),
    down8: ofPeer(`${DOWN}, 8 at a time`, 0.7),
    cpu8: ofPeer(`${CPU}, 8 at a time`, 0.4),
    upBatch1: ratio(`${UP}, 1 at a time`, BATCH),
    upBatch8: ratio(`${UP}, 8 at a time`, BATCH),
    upBatch32: ratio(`${UP}, 32 at a time`, BATCH),
    upLoop1: ratio(`${UP}, 1 at a time`, LOOP),
    upLoop8: ratio(`${UP}, 8 at a time`, LOOP),
    upLoop32: ratio(`${UP}, 32 at a time`, LOOP),
    programsBatch1: ratio(`${PROGRAMS}, 1 at a time`, BATCH),
    programsBatch8: ratio(`${PROGRAMS}, 8 at a time`, BATCH),
    downBatch1: ratio(`${DOWN}, 1 at a time`, BATCH),
    downBatch8: ratio(`${DOWN}, 8 at a time`, BATCH),
    downLoop1: ratio(`${DOWN}, 1 at a time`, LOOP),
    downLoop8: ratio(`${DOWN}, 8 at a time`, LOOP),
    cpuBatch8: ratio(`${CPU}, 8 at a time`, BATCH),
  },
  engine: {
    least1: ratio(`${ENGINE}, 1 at a time`, LEAST, 1.3),
    least8: ratio(`${ENGINE}, 8 at a time`, LEAST, 1.3),
    disk1: ofPeer(`${ENGINE}, 1 at a time`, 2.1, "ocicni with the same plugin"),
    disk8: ofPeer(`${ENGINE}, 8 at a time`, 2.1, "ocicni with the same plugin"),
    memory1: ofPeer(`${ENGINE}, state in memory, 1 at a time`, 1.4, "ocicni with the same plugin"),
    memory8: ofPeer(`${ENGINE}, state in memory, 8 at a time`, 1.4, "ocicni with the same plugin"),
  },
  originals: {
    up: ofPeer(`${ORIGINALS}: set-up`, 1.15),
    check: ofPeer(`${ORIGINALS}: CHECK`, 1.15),
    down: ofPeer(`${ORIGINALS}: tear-down`, 1.15),
    upLeast: ratio(`${ORIGINALS}: set-up`, "their bare starts one after another and one synced write"),
    checkLeast: ratio(`${ORIGINALS}: CHECK`, "their bare starts one after another"),
    downLeast: ratio(`${ORIGINALS}: tear-down`, "their bare starts one after another"),
  },
  chain: {
    up1: ofPeer(`set-up of a pod, ${CHAIN}, 1 at a time`, 0.3),
    up8: ofPeer(`set-up of a pod, ${CHAIN}, 8 at a time`, 0.3),
    down1: ofPeer(`tear-down of a pod, ${CHAIN}, 1 at a time`),
    down8: ofPeer(`tear-down of a pod, ${CHAIN}, 8 at a time`),
  },
  repair: {
    iptables: ms(`${FLUSH} of 100 pods put back, iptables`, "the start of the flush", 2_000),
    nftables: ms(`${FLUSH} of 100 pods put back, nftables`, "the start of the flush", 2_000),
    manyPods: ms(`${FLUSH} of 1,000 pods put back, iptables`, "the start of the flush", 2_000),
    cpu: ms(`${FLUSH} of 100 pods put back, iptables: CPU time`, "the daemon before the flush", 1_000),
  },
  programs: {
    add: ms(
      "podwire add, one shot",
      `${EMPTY} and a bare start of the plugin`,
      12,
    ),
    version: ratio("podwire --version", EMPTY, 1.1),
  },
  daemon: {
    socket: ms("set-up by the daemon, over its socket", "the library in process", 1),
    pool: ratio("a warm sandbox of the daemon's pool", "one that is made for the request"),
    afterRequests: megabytes("memory of the daemon after its requests", 40),
    growth: {
      ...{ name: "memory of the daemon, last third of its requests", against: "the first third" },
      ...{ unit: "times", goal: 1.1 },
    },
  },
  cri: {
    ...criSteps(1),
    ...criSteps(8),
    ...criSteps(32),
    listed: ms("ListPodSandbox of the CRI with 1,000 sandboxes", "Version of the CRI", 50),
  },
  tenThousand: {
    ps: ms("10,000 records: ps", EMPTY, 1_000),
    attachments: ms("10,000 records: attachments", EMPTY, 1_000),
    gc: ms("10,000 records: gc --dry-run", EMPTY, 1_000),
    recover: ms("10,000 records: recover with nothing to do", EMPTY, 1_000),
    sandboxes: ms("10,000 records: GET /v1/sandboxes", "GET /healthz", 300),
    metrics: ms("10,000 records: GET /metrics", "GET /healthz", 50),
    beside: ratio("10,000 records: set-up of a pod beside them", "the same beside 10", 1.1),
    memory: megabytes("10,000 records: memory of the daemon", 120),
  },
  hundredThousand: {
    ready: ms("100,000 records: daemon ready", EMPTY, 3_000),
    filter: ms("100,000 records: ps --filter name=x", EMPTY, 500),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Goal>>>>;

/** The name of a group. */
export type GroupName = keyof typeof GOALS;
/** What was measured of a group: undefined is what could not be. */
export type Figures<G extends GroupName> = Partial<Record<keyof typeof GOALS[G], number | undefined>>;
/** Which rows of a group are wanted. */
export type Wanted<G extends GroupName> = ReadonlySet<keyof typeof GOALS[G]>;
