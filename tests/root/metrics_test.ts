// The Prometheus metrics of a runtime that makes and removes real sandboxes.
import { assert, assertEquals, assertRejects } from "@std/assert";
import { countAttachments, Gauges } from "../../lib/daemon/gauges.ts";
import { Metrics } from "../../lib/daemon/metrics.ts";
import { FailedIndex } from "../../lib/state/failed_index.ts";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { need } from "./need.ts";
import { DEL_REFUSAL, REFUSAL, SandboxWorld } from "./sandbox_world.ts";

Deno.test({
  name: "the metrics of a runtime count what happened to sandboxes, plugins and locks",
  ...need("root"),
  fn: async () => {
    await using world = await SandboxWorld.make();
    await world.network("bad", { ADD: REFUSAL });
    await world.network("stuck", { DEL: DEL_REFUSAL });
    await world.network("web");
    const metrics = new Metrics({ version: "1" });
    const podwire = world.podwire({ observer: metrics });
    const { store, locks } = world;
    const gauges = new Gauges({
      attachments: () => countAttachments({ store, locks, failed: new FailedIndex(world.stateDir) }),
      sandboxes: () => podwire.sandboxes.list(),
      networks: () => podwire.networks(),
      readiness: () => podwire.status(),
    });
    const on = (name: string, ...networks: string[]) =>
      podwire.sandboxes.run({
        id: world.id(name),
        name,
        networks: networks.map((network, index) => ({ name: network, ifName: `eth${index}` })),
      });
    await on("one", "web");
    await on("two", "web", "stuck");
    await assertRejects(() => on("three", "web", "bad"));
    await podwire.sandboxes.stop("two");
    await podwire.gc({ dryRun: true });

    const families = parseExposition(metrics.render(await gauges.read()));
    const value = (name: string, labels: Record<string, string> = {}) =>
      valueOf(families, `podwire_${name}`, labels);
    const calls = (verb: string, plugin: string) =>
      value("plugin_duration_seconds_count", { verb, network: plugin, plugin });
    const errors = (verb: string, plugin: string) =>
      value("plugin_errors_total", { verb, network: plugin, plugin, kind: "plugin" });
    assertEquals([calls("ADD", "web"), calls("DEL", "web"), errors("ADD", "web")], [3, 2, undefined]);
    assertEquals({ calls: calls("ADD", "bad"), errors: errors("ADD", "bad") }, { calls: 1, errors: 1 });
    assertEquals({ calls: calls("DEL", "stuck"), errors: errors("DEL", "stuck") }, { calls: 1, errors: 1 });
    assertEquals(value("operation_duration_seconds_count", { operation: "run" }), 3);
    assertEquals(value("operation_errors_total", { operation: "run", kind: "plugin" }), 1);
    assertEquals(value("operation_duration_seconds_count", { operation: "stop" }), 1);
    assertEquals(value("operation_duration_seconds_count", { operation: "gc" }), 1);
    for (const lock of ["container", "names", "gc"]) {
      assert((value("lock_wait_seconds_count", { lock }) ?? 0) >= 3, lock);
    }
    assertEquals(["ready", "stopped", "broken"].map((state) => value("sandboxes", { state })), [1, 1, 0]);
    assertEquals(["attached", "failed", "adding"].map((state) => value("attachments", { state })), [1, 1, 0]);
    assertEquals(value("failed_attachments"), 1);
    assert((value("failed_attachment_age_seconds") ?? -1) >= 0);
    assertEquals(value("networks", { status: "used" }), 3);
    assertEquals(value("network_ready", { network: "web", reason: "" }), 1);
    await podwire.sandboxes.remove("two", { force: true });
  },
});
