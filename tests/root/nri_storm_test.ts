// 50 pods of the real containerd at once.
import { assert, assertEquals } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { Containerd, ENGINE } from "../nri/containerd.ts";
import { makeSlowNetwork, NETWORKS, startNri, writePolicy } from "../nri/nri_world.ts";
import { binaryTest, type BinaryWorld, until } from "./binary_world.ts";

const PODS = 50;

/** Makes the sandboxes of pods at once, and returns their IDs. */
async function runAll(engine: Containerd, prefix: string, annotations: Readonly<Record<string, string>>) {
  const configs = Array.from({ length: PODS }, (_, at) => engine.pod(`${prefix}-${at}`, annotations));
  const ids = await Promise.all(configs.map((config) => engine.run(config)));
  return { ids, configs };
}

const attachedIn = async (world: BinaryWorld) =>
  (await world.json(["attachments"])).filter(({ state }: { state: string }) => state === "attached").length;

binaryTest(
  "50 sandboxes are made while all of their plugins hang, and each is attached once when they go on",
  ENGINE,
  async (world) => {
    const { gate } = await makeSlowNetwork(world);
    await writePolicy(world, ["slow"]);
    await using engine = await Containerd.open(world);
    await using nri = await startNri(world, engine);
    // No plugin can end before the last sandbox is made: one that waited for a plugin would never return.
    await Deno.writeTextFile(gate, "");
    const { ids, configs } = await runAll(engine, "web", { [NETWORKS]: "slow" });
    assertEquals(await attachedIn(world), 0);
    await until("all are begun", async () => {
      await delay(100);
      return (await nri.call("GET", "/v1/sandboxes")).json.length === PODS;
    });
    await Deno.remove(gate);
    const attached = `\npodwire_nri_attempts_total{outcome="attached"} ${PODS}\n`;
    await until("all are attached", async () => {
      await delay(100);
      return (await nri.call("GET", "/metrics")).text.includes(attached);
    });
    for (const [at, id] of ids.entries()) {
      const config = configs[at];
      if (config !== undefined) await engine.start(id, config);
    }
    assertEquals((await nri.call("GET", "/healthz")).status, 200);
    const { text } = await nri.call("GET", "/metrics");
    assert(text.includes("\npodwire_nri_connections_total 1\n"), "the engine has thrown podwire out");
    await Promise.all(ids.map((id) => engine.remove(id)));
    await nri.end();
    assertEquals(await world.json(["attachments"]), []);
  },
);
