/**
 * Measures how long the event loop of the daemon is blocked while sandboxes are made and listed whose plugins return
 * results of 1 MiB: `sh tests/machine.sh ./denow run -A tests/bench/large_results.ts` prints the longest time
 * between two turns of the loop, with large and with small results. It makes a sandbox, so it needs root.
 */
import type { JsonObject } from "../../lib/cni/json.ts";
import { bootId } from "../../lib/host/boot.ts";
import { runCommand } from "../../lib/host/command.ts";
import { decodeOutput } from "../../lib/plugin/output.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { askDaemon, type Asked, dirsOf } from "../many_sandboxes_process.ts";
import { PluginFolder } from "../recording_plugin.ts";
import { unmountBelow } from "../root/unmount.ts";
import { storesIn } from "../stores.ts";

const SANDBOXES = 20;
/** The largest allowed result: 1 MiB, and 10,000 members. */
const LARGE_IPS = 3_300;

/** Measures the longest time between two turns of the loop while `body` runs, and the whole time, in milliseconds. */
async function blockedBy(
  body: () => Promise<unknown>,
): Promise<{ readonly longest: number; readonly whole: number }> {
  let longest = 0;
  const started = performance.now();
  let last = started;
  const measure = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const timer = setInterval(measure, 1);
  try {
    await body();
    measure();
  } finally {
    clearInterval(timer);
  }
  return { longest, whole: performance.now() - started };
}

function resultOf(ips: number): JsonObject {
  const note = "x".repeat(ips === 1 ? 1 : 270);
  const list = Array.from(
    { length: ips },
    (_, n) => ({ address: `10.${n >> 8 & 255}.${n & 255}.2/24`, note }),
  );
  return { cniVersion: "1.1.0", ips: list };
}

/** Installs a network whose plugin returns the result. */
async function install(dir: string, plugins: PluginFolder, result: JsonObject): Promise<Asked> {
  const { confDir, pluginDirs: [bin = ""] } = dirsOf(dir);
  const list = { cniVersion: "1.1.0", name: "large", plugins: [{ type: "large" }] };
  await Deno.writeTextFile(`${confDir}/x.conflist`, JSON.stringify(list));
  await Deno.symlink(plugins.dir, bin);
  await plugins.install("large", { ADD: { stdout: JSON.stringify(result) } });
  const body = JSON.stringify({ name: "posted", networks: [{ name: "large" }] });
  return { target: "/v1/sandboxes", body };
}

async function fill(dir: string, result: JsonObject): Promise<void> {
  const { confDir, stateDir } = dirsOf(dir);
  await Deno.mkdir(confDir, { recursive: true });
  const config = JSON.stringify({ cniVersion: "1.1.0", name: "web", plugins: [{ type: "bridge" }] });
  await Deno.writeTextFile(`${confDir}/web.conflist`, config);
  const boot = await bootId();
  await Deno.mkdir(stateDir, { recursive: true });
  await Deno.writeTextFile(`${stateDir}/boot-id`, boot);
  const since = new Date().toISOString();
  for (let n = 0; n < SANDBOXES; n++) {
    const id = n === 0 ? "like" : `c${n}`;
    const { sandboxes, store } = storesIn(stateDir);
    await sandboxes.write({
      ...{ id, name: id, namespace: "default", uid: id, phase: "ready", createdAt: since, bootId: boot },
      netns: { path: "/proc/self/ns/net", owned: false, id: undefined },
      ...{ pid: Deno.pid, infra: undefined, annotations: {} },
    });
    await store.write({
      ...{ containerId: id, network: "web", ifName: "eth0", state: "attached", netns: "/proc/self/ns/net" },
      ...{ netnsId: undefined, owner: `sandbox:${id}`, since, bootId: boot, sequence: 1, attempts: 0 },
      ...{
        nextTry: undefined,
        error: undefined,
        config,
        cniVersion: "1.1.0",
        cniArgs: [],
        capabilityArgs: {},
        result,
      },
    });
  }
}

const NOTHING = { longest: 0, whole: 0 };

async function main(): Promise<void> {
  for (const ips of [1, LARGE_IPS]) {
    const result = resultOf(ips);
    const text = JSON.stringify(result);
    const dir = await Deno.makeTempDir();
    try {
      await fill(dir, result);
      const read = await blockedBy(() => Promise.resolve(decodeOutput(text)));
      console.log(`a result of ${text.length} bytes: read in ${read.whole.toFixed(1)} ms`);
      await using plugins = await PluginFolder.make();
      const post = await install(dir, plugins, result);
      for (const asked of ["/v1/sandboxes", "/v1/sandboxes/like", "/v1/attachments", "/metrics", post]) {
        const { longest, whole } = await askDaemon(dir, runCommand, [asked], blockedBy) ?? NOTHING;
        const what = typeof asked === "string" ? `GET ${asked}` : `POST ${asked.target}`;
        console.log(`${what}: ${whole.toFixed(0)} ms, at most ${longest.toFixed(0)} ms blocked`);
      }
      await new Podwire(dirsOf(dir)).sandboxes.remove("posted", { force: true });
    } finally {
      await unmountBelow(dir);
      await Deno.remove(dir, { recursive: true });
    }
  }
}

if (import.meta.main) await main();
