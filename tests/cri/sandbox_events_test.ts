import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConnectError } from "@connectrpc/connect";
import { CniError } from "../../lib/cni/error.ts";
import { type ContainerEventResponse, ContainerEventType } from "../../lib/cri/generated/api_pb.ts";
import { SandboxEvents } from "../../lib/cri/sandbox_events.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { SANDBOX } from "../daemon/fake_context.ts";
import { until } from "../until.ts";

/** Sandboxes that the test changes, and what follows them. */
class World {
  readonly sandboxes = new Map<string, Sandbox>();
  readonly followers = new Set<(id: string) => void>();
  /** What the next follower waits for. */
  begins: Promise<void> = Promise.resolve();
  lists = 0;
  problem: Error | undefined;
  readonly events: SandboxEvents;

  constructor(backlog = 1_024) {
    this.events = new SandboxEvents({
      backlog,
      follow: async (changed) => {
        this.followers.add(changed);
        await this.begins;
        return { [Symbol.dispose]: () => void this.followers.delete(changed) };
      },
      list: (id) => {
        this.lists++;
        if (this.problem !== undefined) return Promise.reject(this.problem);
        return Promise.resolve([...this.sandboxes.values()].filter((sandbox) => sandbox.id.startsWith(id)));
      },
    });
  }

  /** Sets or removes a sandbox. */
  become(id: string, state?: Sandbox["state"]): void {
    if (state === undefined) this.sandboxes.delete(id);
    else this.sandboxes.set(id, { ...SANDBOX, id, state });
    this.followers.forEach((changed) => changed(id));
  }
}

function read(world: World): {
  readonly ended: Promise<void>;
  readonly got: ContainerEventResponse[];
  readonly lines: () => readonly string[];
  readonly leaving: AbortController;
} {
  const leaving = new AbortController();
  const got: ContainerEventResponse[] = [];
  const stream = world.events.read(leaving.signal);
  const ended = (async () => {
    for await (const event of stream) got.push(event);
  })();
  ended.catch(() => {});
  const lines = () =>
    got.map(({ containerId, containerEventType: type, podSandboxStatus: status }) =>
      `${containerId} ${ContainerEventType[type]?.split("_")[1]} ${status?.state}`
    );
  return { ended, got, lines, leaving };
}

Deno.test("each change of a sandbox is an event with its status, and what was there before is none", async () => {
  const world = new World();
  world.become("old", "ready");
  const { got, lines, leaving, ended } = read(world);
  await until(() => world.followers.size === 1);
  world.become("new", "ready");
  await until(() => got.length === 2);
  world.become("new", "stopped");
  await until(() => got.length === 3);
  world.become("new", "ready");
  await until(() => got.length === 4);
  world.become("new");
  await until(() => got.length === 6);
  world.become("brief", "stopped");
  await until(() => got.length === 9);
  world.become("old");
  await until(() => got.length === 11);
  assertEquals(lines(), [
    "new CREATED 0",
    "new STARTED 0",
    "new STOPPED 1",
    "new STARTED 0",
    "new STOPPED 1",
    "new DELETED 1",
    "brief CREATED 1",
    "brief STARTED 1",
    "brief STOPPED 1",
    "old STOPPED 1",
    "old DELETED 1",
  ]);
  const { podSandboxStatus } = got[0] ?? {};
  assertEquals(podSandboxStatus?.network?.ip, "10.0.0.2");
  assertEquals(podSandboxStatus?.metadata?.uid, "u");
  leaving.abort(new CniError("cancelled", "the client has left"));
  await assertRejects(() => ended, CniError, "the client has left");
  assertEquals([world.events.readers, world.followers.size], [0, 0]);
});

Deno.test("what changes while the sandboxes begin to be followed is not missed", async () => {
  const world = new World();
  world.become("goes", "ready");
  const begun = Promise.withResolvers<void>();
  world.begins = begun.promise;
  const { got, lines, leaving } = read(world);
  await until(() => world.followers.size === 1);
  const followers = [...world.followers];
  world.followers.clear();
  // Nothing hears of these.
  world.become("goes");
  world.become("comes", "ready");
  followers.forEach((changed) => world.followers.add(changed));
  begun.resolve();
  await until(() => got.length === 4);
  assertEquals(lines().toSorted(), [
    "comes CREATED 0",
    "comes STARTED 0",
    "goes DELETED 1",
    "goes STOPPED 1",
  ]);
  leaving.abort();
});

Deno.test("many changes at once are read by one list, and each is an event for each reader", async () => {
  const world = new World();
  const first = read(world);
  const second = read(world);
  await until(() => world.followers.size === 1);
  world.become("web", "ready");
  await until(() => first.got.length === 2);
  const before = world.lists;
  for (let at = 0; at < 100; at++) world.become(`s${at}`, "ready");
  await until(() => first.got.length === 202 && second.got.length === 202);
  assert(world.lists - before <= 3, `${world.lists - before} lists were read`);
  first.leaving.abort();
  assertEquals(world.followers.size, 1);
  second.leaving.abort();
  assertEquals(world.followers.size, 0);
});

Deno.test("a reader that is too slow loses its stream, and one that reads gets all events", async () => {
  const world = new World(8);
  const slow = world.events.read(new AbortController().signal);
  const { got, leaving } = read(world);
  await until(() => world.followers.size === 1);
  for (let at = 0; at < 20; at++) {
    world.become("web", at % 2 === 0 ? "ready" : "stopped");
    await until(() => got.length >= at + 2);
  }
  const error = await assertRejects(() => Array.fromAsync(slow), CniError);
  assertEquals([error.kind, error.msg], ["exhausted", "the events are not read fast enough"]);
  assertEquals(world.events.readers, 1);
  leaving.abort();
});

Deno.test("streams end if the sandboxes cannot be followed or read, and later ones begin again", async () => {
  const world = new World();
  world.begins = Promise.reject(new Error("no more watches"));
  await assertRejects(() => read(world).ended, CniError, "no more watches");
  world.followers.clear();
  world.begins = Promise.resolve();
  const second = read(world);
  await until(() => world.followers.size === 1);
  await until(() => second.got.length === 0 && world.lists >= 3);
  world.problem = new Error("no record");
  world.become("web", "ready");
  await assertRejects(() => second.ended, CniError, "no record");
  world.problem = undefined;
  const third = read(world);
  await until(() => world.followers.size === 1);
  world.become("web", "stopped");
  await until(() => third.lines().join() === "web STOPPED 1");
  third.leaving.abort();
});

Deno.test("the streams end with the daemon, and each later one at once", async () => {
  const world = new World();
  const { ended } = read(world);
  await until(() => world.followers.size === 1);
  world.events.close();
  await assertRejects(() => ended, ConnectError, "podwire is shutting down");
  await assertRejects(() => read(world).ended, ConnectError, "podwire is shutting down");
  assertEquals([world.events.readers, world.followers.size], [0, 0]);
});
