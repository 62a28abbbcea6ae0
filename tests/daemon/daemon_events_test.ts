import { assertEquals, assertRejects } from "@std/assert";
import { DaemonEvents } from "../../lib/daemon/daemon_events.ts";
import { silentLogger } from "../../lib/host/log.ts";
import type { LiveRuntime } from "../../lib/runtime/live.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { recordsDir } from "../../lib/state/record_files.ts";
import { recordFile } from "../stores.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";
import { SANDBOX } from "./fake_context.ts";

/** A runtime with one sandbox, which the test changes. */
class World {
  sandbox: Sandbox = { ...SANDBOX, netns: "/proc/self/ns/net" };
  /** How often the IDs of all sandboxes were read: once when a watch begins. */
  watches = 0;
  readonly events: DaemonEvents;

  constructor(readonly dir: string) {
    const subscribe = () => ({ [Symbol.asyncDispose]: () => Promise.resolve() });
    const runtime = {
      stateDir: dir,
      records: {
        store: { ofContainer: () => Promise.resolve([]), containers: () => Promise.resolve([]) },
      },
      sandboxes: {
        get: () => Promise.resolve(this.sandbox),
        list: () => {
          this.watches++;
          return Promise.resolve([this.sandbox]);
        },
      },
      isSettled: () => Promise.resolve(true),
      onNetworks: subscribe,
      onInfraEnded: subscribe,
      onDrift: subscribe,
      onStatus: subscribe,
    };
    this.events = new DaemonEvents({
      runtime: runtime as unknown as LiveRuntime,
      log: silentLogger,
      onInfraEnded: () => {},
      onDrift: () => {},
    });
  }

  /** Changes the sandbox and its record. */
  async become(reason: string): Promise<void> {
    this.sandbox = { ...this.sandbox, reason };
    await Deno.writeTextFile(recordFile(this.dir, SANDBOX.id), "{}");
  }
}

Deno.test("one watch of the records serves all that follow and read, and ends with the last of them", () =>
  inTempDir(async (dir) => {
    const world = new World(dir);
    await using events = world.events;
    const heard: string[] = [];
    const first = await events.followSandboxes((id) => heard.push(`first ${id}`));
    const reading = events.subscribe();
    const second = await events.followSandboxes((id) => heard.push(`second ${id}`));
    assertEquals(world.watches, 1);
    await world.become("one");
    await until(() => heard.length === 2);
    assertEquals(heard, [`first ${SANDBOX.id}`, `second ${SANDBOX.id}`]);
    first[Symbol.dispose]();
    first[Symbol.dispose]();
    await reading.cancel();
    await world.become("two");
    await until(() => heard.length === 3);
    assertEquals(heard.at(-1), `second ${SANDBOX.id}`);
    second[Symbol.dispose]();
    const again = await events.followSandboxes((id) => heard.push(`again ${id}`));
    assertEquals(world.watches, 2, "the watch had ended, and begins again");
    await world.become("three");
    await until(() => heard.length === 4);
    assertEquals(heard.at(-1), `again ${SANDBOX.id}`);
    again[Symbol.dispose]();
  }));

Deno.test("what cannot follow the sandboxes learns it, and a later attempt succeeds", () =>
  inTempDir(async (dir) => {
    const world = new World(dir);
    await using events = world.events;
    await Deno.mkdir(recordsDir(dir), { recursive: true });
    await Deno.remove(recordsDir(dir));
    await Deno.writeTextFile(recordsDir(dir), "no directory");
    await assertRejects(() => events.followSandboxes(() => {}));
    await Deno.remove(recordsDir(dir));
    let heard = 0;
    using _following = await events.followSandboxes(() => heard++);
    await world.become("one");
    await until(() => heard === 1);
  }));
