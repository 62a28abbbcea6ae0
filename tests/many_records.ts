/** State directories with any number of attachments on record, each as a real set-up leaves it. */
import { inParallel } from "../lib/async/parallel.ts";
import { HostPorts } from "../lib/state/host_ports.ts";
import { Locks } from "../lib/state/locks.ts";
import { ResultCache } from "../lib/state/result_cache.ts";
import { storesIn } from "./stores.ts";

/** The directories of an installation. */
export interface RecordDirs {
  readonly stateDir: string;
  readonly cacheDir: string;
  readonly runDir: string;
}

/** The copies that were made. */
export interface MultiplyOptions {
  /** Their container IDs. */
  readonly ids: readonly string[];
  /** The first of the host ports that are claimed, one for each copy. @default {none is} */
  readonly firstPort?: number;
}

const AT_ONCE = 16;

/**
 * Writes for each ID the records of the pod `like`, which is up: its sandbox, attachments and cached results.
 * Every other one is a sandbox of podwire itself, which has a name too.
 */
export async function multiply(dirs: RecordDirs, like: string, options: MultiplyOptions): Promise<void> {
  const { stateDir, cacheDir, runDir } = dirs;
  const { ids, firstPort } = options;
  const { store, sandboxes } = storesIn(stateDir);
  const cache = new ResultCache(cacheDir);
  const ports = new HostPorts({ stateDir, store, locks: new Locks(runDir) });
  const sandbox = await sandboxes.read(like);
  const records = await store.ofContainer(like);
  if (sandbox === undefined || records.length === 0) throw new Error(`there is no pod "${like}" to copy`);
  await inParallel([...ids.entries()], AT_ONCE, async ([index, containerId]) => {
    const { owner, ...own } = sandbox;
    const isPod = index % 2 === 0;
    const copy = { ...own, id: containerId, name: containerId, ...(isPod && owner ? { owner } : {}) };
    await sandboxes.write(copy);
    if (!isPod) await sandboxes.reserve(copy);
    for (const [nth, record] of records.entries()) {
      const attached = { ...record, containerId, owner: isPod ? record.owner : `sandbox:${containerId}` };
      if (nth > 0 || firstPort === undefined) {
        await store.write(attached);
        await cache.write(attached);
        continue;
      }
      const portMappings = [{ hostPort: firstPort + index, containerPort: 80, protocol: "tcp" }];
      const published = { ...attached, capabilityArgs: { ...record.capabilityArgs, portMappings } };
      await store.write(published);
      await ports.claim(published, published.capabilityArgs);
      await cache.write(published);
    }
  });
}

/** IDs that begin so, one for each number below `count`. */
export function idsFrom(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index.toString().padStart(5, "0")}`);
}
