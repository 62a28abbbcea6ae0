// Sandboxes that are made before they are requested, on the real kernel: their owner at each step.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { LiveRuntime } from "../../lib/runtime/live.ts";
import { sandboxTest, type SandboxWorld } from "./sandbox_world.ts";
import { putRecord, recordFile } from "../stores.ts";

const open = async (world: SandboxWorld) => await LiveRuntime.open({ ...world.options, log: world.log });
const never = new AbortController().signal;

sandboxTest(
  "a warm sandbox is on record as its pool's until a request gets it, and then as the caller's",
  async (world) => {
    const plugin = await world.network("a");
    await using runtime = await open(world);
    await using warmSandboxes = await runtime.warmSandboxes();
    const warm = await warmSandboxes.make("a", never);
    const [shown] = await runtime.sandboxes.list();
    assertEquals({ id: shown?.id, namespace: shown?.namespace, state: shown?.state, labels: shown?.labels }, {
      id: warm.id,
      namespace: "podwire-pool",
      state: "ready",
      labels: { "podwire.pool": "a" },
    });
    const args = (await plugin.calls()).find(({ env }) => env.CNI_COMMAND === "ADD")?.env.CNI_ARGS ?? "";
    assert(args.includes(`K8S_POD_NAMESPACE=podwire-pool;K8S_POD_NAME=pool-${warm.id.slice(0, 12)};`), args);
    const web = await warmSandboxes.claim(warm, { name: "web", namespace: "shop", labels: { app: "web" } });
    assertEquals({ id: web?.id, name: web?.name, namespace: web?.namespace, labels: web?.labels }, {
      id: warm.id,
      name: "web",
      namespace: "shop",
      labels: {
        app: "web",
      },
    });
    assertEquals(await runtime.sandboxes.get("web", { namespace: "shop" }), web);
    assertEquals((await world.sandboxes.read(warm.id))?.pool, undefined);
    // It no longer belongs to the pool, whichever process still knows it.
    assertEquals(await warmSandboxes.claim(warm, { name: "web2" }), undefined);
    assertEquals(await warmSandboxes.tearDown(warm), []);
    assertEquals((await runtime.recover()).removed, []);
    await runtime.sandboxes.remove("web", { namespace: "shop" });
  },
);

sandboxTest(
  "a warm sandbox whose process was killed while it gave it out has no owner, and neither has the name",
  async (world) => {
    await world.network("a");
    await using runtime = await open(world);
    let id = "";
    {
      await using warmSandboxes = await runtime.warmSandboxes();
      ({ id } = await warmSandboxes.make("a", never));
      const record = await world.sandboxes.read(id);
      // It had come so far when it was killed.
      await world.sandboxes.reserve({ ...record!, name: "web", namespace: "default" });
      await assertRejects(() => runtime.sandboxes.get("web"), CniError, "no sandbox");
      assertEquals((await runtime.recover()).removed, []);
    }
    // The sandbox of a process that is killed stays, and no process holds it.
    await Deno.writeTextFile(`${world.runDir}/pools/dead.lock`, "");
    const { removed } = await runtime.recover();
    assertEquals(Array.from(Deno.readDirSync(`${world.runDir}/pools`)), []);
    assertEquals(removed.map(({ kind, containerId }) => [kind, containerId]), [["attachment", id], [
      "sandbox",
      id,
    ]]);
    assertEquals(await world.left(), []);
  },
);

sandboxTest("a warm sandbox is not given out once anything of it has changed", async (world) => {
  await world.network("a");
  await using runtime = await open(world);
  await using warmSandboxes = await runtime.warmSandboxes();
  const refused = async (spoil: (id: string) => Promise<unknown>) => {
    const warm = await warmSandboxes.make("a", never);
    assertEquals(await warmSandboxes.isIntact(warm), true);
    await spoil(warm.id);
    assertEquals(await warmSandboxes.isIntact(warm), false);
    assertEquals(await warmSandboxes.claim(warm, { name: "web" }), undefined);
    await warmSandboxes.tearDown(warm);
    assertEquals(await world.left(), []);
  };
  await refused((id) => runtime.sandboxes.stop(id));
  await refused((id) => runtime.sandboxes.remove(id));
  await refused((id) => world.sh('umount "$1"', `${world.netnsDir}/podwire-${id}`));
  await refused(async (id) => {
    for (const record of await world.store.ofContainer(id)) {
      await world.store.write({ ...record, state: "failed" });
    }
  });
  await refused(async (id) => {
    const record = await world.sandboxes.read(id);
    await world.sandboxes.write({ ...record!, bootId: "another-boot" });
  });
  await refused(async () => {
    const file = `${world.confDir}/a.conflist`;
    const { name, plugins } = JSON.parse(await Deno.readTextFile(file));
    await Deno.writeTextFile(file, JSON.stringify({ cniVersion: "1.0.0", name, plugins }));
    await runtime.reload();
  });
});

sandboxTest("two requests for the same warm sandbox at once: one gets it", async (world) => {
  await world.network("a");
  await using runtime = await open(world);
  await using warmSandboxes = await runtime.warmSandboxes();
  const warm = await warmSandboxes.make("a", never);
  const names = ["one", "two", "three"];
  const given = await Promise.all(names.map((name) => warmSandboxes.claim(warm, { name })));
  const [winner, ...others] = given.filter((sandbox) => sandbox !== undefined);
  assertEquals(others, []);
  assertEquals((await runtime.sandboxes.list()).map(({ name }) => name), [winner?.name]);
  await runtime.sandboxes.remove(winner?.name ?? "");
  assertEquals(await world.left(), []);
});

sandboxTest("a taken name leaves the warm sandbox as it was", async (world) => {
  await world.network("a");
  await using runtime = await open(world);
  await using warmSandboxes = await runtime.warmSandboxes();
  await runtime.sandboxes.run({ name: "web" });
  const warm = await warmSandboxes.make("a", never);
  const refused = await assertRejects(() => warmSandboxes.claim(warm, { name: "web" }), CniError);
  assertEquals(refused.kind, "conflict");
  assertEquals((await warmSandboxes.claim(warm, { name: "other" }))?.name, "other");
  for (const name of ["web", "other"]) await runtime.sandboxes.remove(name);
  assertEquals(await world.left(), []);
});

sandboxTest("a request whose caller has gone leaves neither the sandbox nor the name", async (world) => {
  await world.network("a");
  await using runtime = await open(world);
  await using warmSandboxes = await runtime.warmSandboxes();
  for (const after of [0, 1, 2, 4, 8]) {
    const warm = await warmSandboxes.make("a", never);
    const left = new AbortController();
    const given = warmSandboxes.claim(warm, { name: "web" }, { signal: left.signal });
    setTimeout(() => left.abort(new CniError("cancelled", "the client has left")), after);
    const sandbox = await given.catch((error) => {
      assertEquals(error.kind, "cancelled");
      return undefined;
    });
    // It may have been the caller's already, have been torn down, or still be warm.
    if (sandbox !== undefined) await runtime.sandboxes.remove("web");
    else await warmSandboxes.tearDown(warm);
    assertEquals(await world.left(), []);
  }
});

sandboxTest(
  "a sandbox that was given out just before a loss of power is torn down, whichever records the disk has",
  async (world) => {
    await world.network("a");
    await using runtime = await open(world);
    await using warmSandboxes = await runtime.warmSandboxes();
    /** What is left to see of it. */
    const handedOut = async (spoil: (id: string) => Promise<unknown>) => {
      const warm = await warmSandboxes.make("a", never);
      await warmSandboxes.claim(warm, { name: "web" });
      const { id } = warm;
      for (const record of await world.store.ofContainer(id)) {
        await world.store.write({ ...record, bootId: "another-boot" });
      }
      const record = await world.sandboxes.read(id);
      await world.sandboxes.write({ ...record!, bootId: "another-boot" });
      await spoil(id);
      const { failed } = await runtime.recover();
      assertEquals(failed, []);
      assertEquals(await world.store.ofContainer(id), []);
      const shown = (await runtime.sandboxes.list()).map(({ name, state }) => `${name} ${state}`);
      await runtime.sandboxes.remove("web", { missingOk: true });
      await runtime.sandboxes.remove(id, { missingOk: true });
      assertEquals(await world.left(), []);
      return shown;
    };
    const name = `${world.stateDir}/names/default/web`;
    assertEquals(await handedOut(() => Promise.resolve()), ["web stopped"]);
    assertEquals(await handedOut(() => Deno.writeTextFile(name, "")), []);
    assertEquals(await handedOut(() => Deno.remove(name)), []);
    // Its namespace exists, so it counts as up.
    assertEquals(await handedOut((id) => putRecord(recordFile(world.stateDir, id), "sandbox", "")), [
      "web broken",
    ]);
    const both = async (id: string) => {
      await putRecord(recordFile(world.stateDir, id), "sandbox", "");
      await Deno.remove(name);
    };
    // Its name is lost too, so only its ID leads to it.
    assertEquals((await handedOut(both)).length, 1);
  },
);
