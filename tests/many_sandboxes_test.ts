// The cost of each command with many sandboxes on record: processes, open files, and how its CPU time grows.
//
// `PODWIRE_MANY_RECOVERED=10000` lets recovery, which locks each container, have as many as the others.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { inParallel } from "../lib/async/parallel.ts";
import type { JsonObject } from "../lib/cni/json.ts";
import { bootId as bootIdOfHost } from "../lib/host/boot.ts";
import { netnsId } from "../lib/host/netns.ts";
import { Podwire } from "../lib/runtime/podwire.ts";
import { parseChecksummed, printChecksummed } from "../lib/state/checksummed.ts";
import { idsFrom } from "./many_records.ts";
import { ACTS, dirsOf, type Effort } from "./many_sandboxes_process.ts";
import { inTempDir } from "./temp_dir.ts";
import { recordFile, recordText, storesIn, type Subject, writeLines } from "./stores.ts";
import { attachmentLineKey, SANDBOX_KEY } from "../lib/state/record_log.ts";

const DENOW = fromFileUrl(new URL("../denow", import.meta.url));
const PROGRAM = fromFileUrl(new URL("many_sandboxes_process.ts", import.meta.url));

const RECOVERED = Number(Deno.env.get("PODWIRE_MANY_RECOVERED") ?? 1_000);
const OWN_NETNS = "/proc/self/ns/net";
const MOST_PROCESSES = 8;
const MOST_FILES = 64;
/** The commands that settle each container. */
const RECOVERING = ["recover", "GET of sandboxes, one of them, and metrics"];
/** With ten times as many, quadratic work takes a hundred times as long. */
const MOST_GROWTH = 40;

/** A world with that many sandboxes, each with an attachment. */
async function fill(dir: string, count: number): Promise<void> {
  const dirs = dirsOf(dir);
  await Deno.mkdir(dirs.confDir, { recursive: true });
  const config = { cniVersion: "1.0.0", name: "web", plugins: [{ type: "bridge" }] };
  await Deno.writeTextFile(`${dirs.confDir}/web.conflist`, JSON.stringify(config));
  const bootId = await bootIdOfHost();
  await Deno.mkdir(dirs.stateDir, { recursive: true });
  await Deno.mkdir(`${dirs.cacheDir}/results`, { recursive: true });
  await Deno.writeTextFile(`${dirs.stateDir}/boot-id`, bootId);
  const createdAt = new Date().toISOString();
  const { sandboxes, store } = storesIn(dirs.stateDir);
  await sandboxes.write({
    id: "like",
    name: "like",
    namespace: "default",
    uid: "like",
    phase: "ready",
    createdAt,
    bootId,
    netns: { path: OWN_NETNS, owned: false, id: await netnsId(OWN_NETNS) },
    pid: Deno.pid,
    infra: undefined,
    annotations: {},
  });
  await store.write({
    containerId: "like",
    network: "web",
    ifName: "eth0",
    state: "attached",
    netns: OWN_NETNS,
    netnsId: await netnsId(OWN_NETNS),
    owner: "sandbox:like",
    since: createdAt,
    bootId,
    sequence: 1,
    attempts: 0,
    nextTry: undefined,
    error: undefined,
    config: JSON.stringify(config),
    cniVersion: "1.0.0",
    cniArgs: [],
    capabilityArgs: {},
    result: { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] },
  });
  await copies(dirs, idsFrom("c", count - 1));
}

/** Copies the records of `like`, without waiting for the disk. */
async function copies(
  { stateDir, cacheDir }: ReturnType<typeof dirsOf>,
  ids: readonly string[],
): Promise<void> {
  const like = recordFile(stateDir, "like");
  const key = { ifName: "eth0", network: "web" };
  const sandbox = await template(like, SANDBOX_KEY);
  const attachment = await template(like, key);
  await inParallel(ids, 16, async (id) => {
    const own = { containerId: id, owner: `sandbox:${id}` };
    await writeLines(recordFile(stateDir, id), [
      { key: SANDBOX_KEY, text: await sandbox({ id, name: id, uid: id }) },
      { key: attachmentLineKey(key), text: await attachment(own) },
    ]);
    const cached = {
      kind: "cniCacheV1",
      containerId: id,
      ifName: "eth0",
      networkName: "web",
      netns: OWN_NETNS,
    };
    await Deno.writeTextFile(`${cacheDir}/results/web-${id}-eth0`, JSON.stringify({ ...cached, result: {} }));
  });
}

/** Returns what makes the text of another record of the same kind. */
async function template(
  file: string,
  subject: Subject,
): Promise<(changes: JsonObject) => Promise<string>> {
  const text = await recordText(file, subject) ?? "";
  const { kind } = JSON.parse(text);
  const body = await parseChecksummed(kind, text);
  return (changes) => printChecksummed(kind, { ...body, ...changes });
}

/** Under the limit that a shell has by default. */
async function effortOf(dir: string, act: string): Promise<Effort> {
  const args = [
    "-c",
    'ulimit -n 1024 && exec "$@"',
    "sh",
    DENOW,
    "run",
    "-q",
    "-A",
    "--no-check",
    PROGRAM,
    dir,
    act,
  ];
  const { success, stdout } = await new Deno.Command("sh", { args, stderr: "inherit" }).output();
  assert(success, act);
  return JSON.parse(new TextDecoder().decode(stdout));
}

async function assertBounded(
  names: readonly string[],
  [few, many]: readonly [number, number],
): Promise<void> {
  await inTempDir(async (small) => {
    await inTempDir(async (large) => {
      await fill(small, few);
      await fill(large, many);
      for (const name of names) {
        const [less, more] = [await effortOf(small, name), await effortOf(large, name)];
        for (const { mostProcesses, mostFiles } of [less, more]) {
          assert(mostProcesses <= MOST_PROCESSES, `${name}: ${mostProcesses} processes at once`);
          assert(mostFiles <= MOST_FILES, `${name}: ${mostFiles} files at once`);
        }
        // With as many as there are sandboxes it would be thousands.
        const excess = more.allProcesses - less.allProcesses;
        assert(excess <= MOST_PROCESSES, `${name}: ${more.allProcesses} processes`);
        const growth = more.cpuMs / less.cpuMs;
        assert(growth < MOST_GROWTH, `${name}: ${less.cpuMs} ms of CPU, then ${more.cpuMs} ms`);
      }
      const { sandboxes } = new Podwire(dirsOf(large));
      assertEquals((await sandboxes.list({ state: "ready" })).length, many);
    });
  });
}

Deno.test("with 1,000 and 10,000 sandboxes no command runs more than eight processes or opens more than 64 files at once, and none grows faster than they do", () =>
  assertBounded(Object.keys(ACTS).filter((name) => !RECOVERING.includes(name)), [1_000, 10_000]));

Deno.test(`with ${RECOVERED / 10} and ${RECOVERED} sandboxes recovery, also the daemon's at its start, has the same bounds and leaves all of them up`, () =>
  assertBounded(RECOVERING, [RECOVERED / 10, RECOVERED]));
