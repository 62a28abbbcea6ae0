// What a killed run left is undone before the next run attaches anything. A long wait is reported, and lasts
// no longer than the next run's own ADD may take.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { sandboxTest } from "./sandbox_world.ts";

sandboxTest(
  "a run reports that it waits for the plugins of a killed one, and goes on without them when its own time for ADD is over",
  async (world) => {
    const slow = await world.network("slow");
    await world.network("swift");
    const [killed, next] = [world.id("killed"), world.id("next")];
    await world.podwire().sandboxes.run({
      name: "killed",
      id: killed,
      networks: [{ name: "slow", ifName: "eth0" }],
    });
    await world.interrupt(killed, "creating", "adding");
    await slow.answer("DEL", { hang: true });
    const podwire = world.podwire({ timeouts: { ADD: 3_000, DEL: 120_000 } });
    const networks = [{ name: "swift", ifName: "eth0" }];
    const { state } = await podwire.sandboxes.run({ name: "next", id: next, networks });
    assertEquals(state, "ready");
    const said = world.plain(world.log.all.join("\n"));
    assertMatch(
      said,
      /warn still waiting for the recovery from killed operations on container killed, since 1s/,
    );
    assertMatch(
      said,
      /warn going on without the recovery from .* container killed, after 3s; `podwire recover`/,
    );
    const records = await podwire.attachments({ containerId: killed });
    assertEquals(records.map(({ state }) => state), ["failed"]);
    await slow.answer("DEL", {});
    const { failed } = await podwire.recover();
    assertEquals(failed, []);
    assertEquals(await podwire.attachments({ containerId: killed }), []);
    await podwire.sandboxes.remove("next");
    assertEquals(await world.left(), []);
  },
);

sandboxTest(
  "a run that is cancelled while it waits for the plugins of a killed one ends with the reason",
  async (world) => {
    const slow = await world.network("slow");
    const killed = world.id("killed");
    await world.podwire().sandboxes.run({ name: "killed", id: killed });
    await world.interrupt(killed, "creating", "adding");
    await slow.answer("DEL", { hang: true });
    const cut = new AbortController();
    const log = {
      ...world.log,
      warn: (msg: string) => msg.startsWith("still waiting for the recovery") && cut.abort(),
    };
    const podwire = world.podwire({ log: { ...log, warn: (msg) => void log.warn(msg) } });
    const error = await podwire.sandboxes.run({ name: "next" }, { signal: cut.signal }).catch((error) =>
      error
    );
    assert(cut.signal.aborted);
    assertEquals(error.kind, "cancelled");
    await slow.answer("DEL", {});
    assertEquals((await world.podwire().recover()).failed, []);
    assertEquals(await world.left(), []);
  },
);
