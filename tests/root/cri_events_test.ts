// Events of sandboxes over the CRI of the compiled program, whichever program has changed them.
import { assertEquals } from "@std/assert";
import { CRI_CLIENT, podConfig, startCri, worldWithNetwork } from "../cri/cri_world.ts";
import { binaryTest, until } from "./binary_world.ts";
import { leftIn } from "./daemon_world.ts";

/** An event as the client gets it. */
interface Event {
  readonly container_id: string;
  readonly container_event_type: string;
  readonly pod_sandbox_status: { readonly state: string; readonly network?: { readonly ip: string } };
}

binaryTest(
  "a kubelet hears of its sandboxes, also of what the command line does to them, and of no others",
  CRI_CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    await using cri = await startCri(world);
    const { client } = cri;
    const run = async (name: string) =>
      world.watch((await client.ok("RunPodSandbox", { config: podConfig(name) })).pod_sandbox_id);
    const before = await run("before");
    const events: Event[] = [];
    const onEvent = (event: Event) => void events.push(event);
    const following = client.begin("GetContainerEvents", {}, { onEvent });
    following.answer.catch(() => {});
    const own = world.id("own");
    await world.done(["run", "own", "--id", own]);
    const id = await run("web");
    await until("both events of the new sandbox", () => Promise.resolve(events.length === 2));
    const { status } = await client.ok("PodSandboxStatus", { pod_sandbox_id: id });
    assertEquals(events.map((event) => event.pod_sandbox_status), [status, status]);
    await world.done(["stop", id]);
    await until("it has stopped", () => Promise.resolve(events.length === 3));
    await world.done(["rm", "--force", id]);
    await until("it is deleted", () => Promise.resolve(events.length === 4));
    await client.ok("RemovePodSandbox", { pod_sandbox_id: before });
    await until("the other one is deleted", () => Promise.resolve(events.length >= 6));
    await world.done(["rm", "--force", own]);
    const last = await run("last");
    await until("the last one is made", () => Promise.resolve(events.length === 8));
    assertEquals(
      events.map((event) =>
        [event.container_id, event.container_event_type, event.pod_sandbox_status.state].join(" ")
      ),
      [
        `${id} CONTAINER_CREATED_EVENT SANDBOX_READY`,
        `${id} CONTAINER_STARTED_EVENT SANDBOX_READY`,
        `${id} CONTAINER_STOPPED_EVENT SANDBOX_NOTREADY`,
        `${id} CONTAINER_DELETED_EVENT SANDBOX_NOTREADY`,
        `${before} CONTAINER_STOPPED_EVENT SANDBOX_NOTREADY`,
        `${before} CONTAINER_DELETED_EVENT SANDBOX_NOTREADY`,
        `${last} CONTAINER_CREATED_EVENT SANDBOX_READY`,
        `${last} CONTAINER_STARTED_EVENT SANDBOX_READY`,
      ],
    );
    following.cancel();
    assertEquals((await following.answer).code, "CANCELLED");
    await client.ok("RemovePodSandbox", { pod_sandbox_id: last });
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "each of many sandboxes that change at once has its four events in order, and a stream ends with a killed daemon",
  CRI_CLIENT,
  async (world) => {
    await worldWithNetwork(world);
    await using cri = await startCri(world);
    const { client, daemon } = cri;
    const types = new Map<string, string[]>();
    const onEvent = ({ container_id: id, container_event_type: type }: Event) => {
      types.set(id, [...types.get(id) ?? [], type.split("_")[1] ?? ""]);
    };
    const following = client.begin("GetContainerEvents", {}, { onEvent });
    following.answer.catch(() => {});
    const names = Array.from({ length: 20 }, (_, at) => `web-${at}`);
    const ids = await Promise.all(names.map(async (name) => {
      const { pod_sandbox_id: id } = await client.ok("RunPodSandbox", { config: podConfig(name) });
      return world.watch(id);
    }));
    const haveEvents = (count: number) => () =>
      Promise.resolve(ids.every((id) => (types.get(id)?.length ?? 0) >= count));
    await until("all have begun", haveEvents(2));
    await Promise.all(ids.map((id) => client.ok("StopPodSandbox", { pod_sandbox_id: id })));
    await until("all have stopped", haveEvents(3));
    await Promise.all(ids.map((id) => client.ok("RemovePodSandbox", { pod_sandbox_id: id })));
    await until("all are deleted", haveEvents(4));
    const each = ids.map((id) => types.get(id)?.join(" "));
    assertEquals(each, ids.map(() => "CREATED STARTED STOPPED DELETED"));
    assertEquals(types.size, ids.length);
    daemon.child.kill("SIGKILL");
    await daemon.child.status;
    assertEquals((await following.answer).code, "UNAVAILABLE");
    assertEquals(await leftIn(world), []);
  },
);
