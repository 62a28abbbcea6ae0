import { assert, assertEquals } from "@std/assert";
import type { Clock } from "../../lib/async/clock.ts";
import { countAttachments, Gauges, type GaugeSources } from "../../lib/daemon/gauges.ts";
import { Metrics } from "../../lib/daemon/metrics.ts";
import type { AttachmentRecord } from "../../lib/state/attachment_store.ts";
import { FailedIndex } from "../../lib/state/failed_index.ts";
import { Locks } from "../../lib/state/locks.ts";
import { type ParsedFamily, parseExposition, valueOf } from "./prometheus_text.ts";
import { recordFile, storesIn } from "../stores.ts";

/** A clock that is set by hand. */
class HandClock implements Clock {
  ms = 0;
  now(): number {
    return this.ms;
  }
  date(): Date {
    return new Date(Date.UTC(2026, 0, 1) + this.ms);
  }
  after(): Disposable {
    throw new Error("unexpected wait");
  }
}

const CALL = {
  verb: "ADD",
  network: "web",
  type: "bridge",
  containerId: "c1",
  ms: 40,
  outcome: "ok",
  retries: 0,
} as const;

function read(metrics: Metrics, ...values: Parameters<Metrics["render"]>): ReadonlyMap<string, ParsedFamily> {
  return parseExposition(metrics.render(...values));
}

Deno.test("plugin calls become a histogram by verb, network and plugin, and their errors a counter by kind", () => {
  const metrics = new Metrics({ version: "1.2.3" });
  metrics.onPluginCall(CALL);
  metrics.onPluginCall({ ...CALL, ms: 3, retries: 2 });
  metrics.onPluginCall({ ...CALL, ms: 400_000, outcome: "timeout" });
  metrics.onPluginCall({ ...CALL, verb: "DEL", outcome: "plugin" });
  const families = read(metrics);
  const labels = { verb: "ADD", network: "web", plugin: "bridge" };
  const bucket = (le: string) =>
    valueOf(families, "podwire_plugin_duration_seconds_bucket", { ...labels, le });
  assertEquals(["0.001", "0.005", "0.05", "300", "+Inf"].map(bucket), [0, 1, 2, 2, 3]);
  assertEquals(valueOf(families, "podwire_plugin_duration_seconds_count", labels), 3);
  assertEquals(valueOf(families, "podwire_plugin_duration_seconds_sum", labels), 400.043);
  assertEquals(valueOf(families, "podwire_plugin_errors_total", { ...labels, kind: "timeout" }), 1);
  assertEquals(
    valueOf(families, "podwire_plugin_errors_total", { ...labels, verb: "DEL", kind: "plugin" }),
    1,
  );
  assertEquals(valueOf(families, "podwire_plugin_retries_total", labels), 2);
});

Deno.test("operations, locks and requests are counted, and methods of clients are bounded", () => {
  const metrics = new Metrics({ version: "1.2.3" });
  metrics.onOperation({ operation: "run", ms: 200, outcome: "conflict" });
  metrics.onLockWait({ lock: "container", ms: 2_000 });
  metrics.onHttpRequest({ route: "/v1/sandboxes/{id}", method: "GET", status: 404, ms: 7 });
  metrics.onHttpRequest({ route: "", method: "BREW", status: 405, ms: 1 });
  const families = read(metrics);
  const value = (name: string, labels: Record<string, string>) => valueOf(families, name, labels);
  assertEquals(value("podwire_operation_duration_seconds_count", { operation: "run" }), 1);
  assertEquals(value("podwire_operation_errors_total", { operation: "run", kind: "conflict" }), 1);
  assertEquals(value("podwire_lock_wait_seconds_bucket", { lock: "container", le: "2.5" }), 1);
  assertEquals(value("podwire_lock_wait_seconds_bucket", { lock: "container", le: "0.5" }), 0);
  assertEquals(
    value("podwire_http_requests_total", { route: "/v1/sandboxes/{id}", method: "GET", status: "404" }),
    1,
  );
  assertEquals(value("podwire_http_requests_total", { route: "", method: "other", status: "405" }), 1);
});

Deno.test("attachments that have drifted are a gauge, and each change of one is counted", () => {
  const metrics = new Metrics({ version: "1.2.3" });
  for (const state of ["drifted", "repaired", "repaired", "well"] as const) metrics.onDrift(state);
  const families = read(metrics, {}, 3);
  const total = (state: string) => valueOf(families, "podwire_attachment_drifts_total", { state });
  assertEquals(["drifted", "repaired", "well"].map(total), [1, 2, 1]);
  assertEquals(valueOf(families, "podwire_attachments_drifted", {}), 3);
});

Deno.test("requests become a histogram by route, method and class of status; clients cannot make it grow", () => {
  const metrics = new Metrics({ version: "1.2.3" });
  const route = "/v1/sandboxes/{id}";
  metrics.onHttpRequest({ route, method: "GET", status: 200, ms: 250 });
  metrics.onHttpRequest({ route, method: "GET", status: 201, ms: 500 });
  metrics.onHttpRequest({ route, method: "GET", status: 404, ms: 1 });
  for (let index = 0; index < 5_000; index++) {
    metrics.onHttpRequest({ route: "-", method: `M${index}`, status: 405, ms: 1 });
  }
  const families = read(metrics);
  const name = "podwire_http_request_duration_seconds";
  const labels = { route, method: "GET", status_class: "2xx" };
  const bucket = (le: string) => valueOf(families, `${name}_bucket`, { ...labels, le });
  assertEquals(["0.1", "0.25", "0.5", "+Inf"].map(bucket), [0, 1, 2, 2]);
  assertEquals([valueOf(families, `${name}_sum`, labels), valueOf(families, `${name}_count`, labels)], [
    0.75,
    2,
  ]);
  assertEquals(valueOf(families, `${name}_count`, { ...labels, status_class: "4xx" }), 1);
  const counts = families.get(name)?.samples.filter((sample) => sample.name === `${name}_count`) ?? [];
  assertEquals(counts.map(({ labels, value }) => [labels.get("method"), value]), [
    ["other", 5_000],
    ["GET", 2],
    ["GET", 1],
  ]);
});

Deno.test("gauges have lines for zeros too, and none for values that were not read", () => {
  const clock = new HandClock();
  const metrics = new Metrics({ version: "1.2.3", clock });
  clock.ms = 90_000;
  const families = read(metrics, {
    attachments: {
      states: { adding: 1, attached: 7, deleting: 0, failed: 2 },
      oldestFailure: "2026-01-01T00:00:30.000Z",
    },
    networks: [{ name: "web", status: "used" }, { name: undefined, status: "rejected" }],
    readiness: [
      { network: "web", ready: true, reason: undefined },
      { network: undefined, ready: false, reason: "invalid-config" },
    ],
  });
  const value = (name: string, labels: Record<string, string> = {}) => valueOf(families, name, labels);
  assertEquals(value("podwire_attachments", { state: "attached" }), 7);
  assertEquals(value("podwire_attachments", { state: "deleting" }), 0);
  assertEquals(value("podwire_failed_attachments"), 2);
  assertEquals(value("podwire_failed_attachment_age_seconds"), 60);
  assertEquals(value("podwire_networks", { status: "rejected" }), 1);
  assertEquals(value("podwire_networks", { status: "stale" }), 0);
  assertEquals(value("podwire_network_ready", { network: "web", reason: "" }), 1);
  assertEquals(value("podwire_network_ready", { network: "", reason: "invalid-config" }), 0);
  assertEquals(families.has("podwire_sandboxes"), false);
  assertEquals(value("podwire_gauges_unread", { part: "sandboxes" }), 1);
  assertEquals(value("podwire_gauges_unread", { part: "attachments" }), 0);
  assertEquals(value("process_start_time_seconds"), Date.UTC(2026, 0, 1) / 1_000);
  assertEquals(value("podwire_build_info", { version: "1.2.3" }), 1);
});

Deno.test("the age of the oldest failure is 0 without failures, and after the clock was set back", () => {
  const clock = new HandClock();
  const metrics = new Metrics({ version: "1", clock });
  const states = { adding: 0, attached: 0, deleting: 0, failed: 0 };
  const age = (oldestFailure: string | undefined) =>
    valueOf(
      read(metrics, { attachments: { states, oldestFailure } }),
      "podwire_failed_attachment_age_seconds",
    );
  assertEquals([age(undefined), age("2027-01-01T00:00:00.000Z"), age("yesterday")], [0, 0, 0]);
});

Deno.test("the series of a removed network stay for ten minutes, and those of VERSION forever", () => {
  const clock = new HandClock();
  const metrics = new Metrics({ version: "1", clock });
  metrics.onPluginCall(CALL);
  metrics.onPluginCall({ ...CALL, network: "gone", outcome: "plugin", retries: 1 });
  metrics.onPluginCall({ ...CALL, verb: "VERSION", network: "" });
  const networks = () => {
    const families = read(metrics, { networks: [{ name: "web", status: "used" }] });
    const shown = (name: string) =>
      families.get(name)?.samples.map(({ labels }) => labels.get("network")) ?? [];
    const names = [
      "podwire_plugin_duration_seconds",
      "podwire_plugin_errors_total",
      "podwire_plugin_retries_total",
    ];
    return [...new Set(names.flatMap(shown))].sort();
  };
  clock.ms = 599_000;
  assertEquals(networks(), ["", "gone", "web"]);
  clock.ms = 601_000;
  assertEquals(networks(), ["", "web"]);
});

Deno.test("the order of all lines is stable", () => {
  const metrics = new Metrics({ version: "1", clock: new HandClock() });
  metrics.onPluginCall({ ...CALL, network: "b" });
  metrics.onPluginCall({ ...CALL, network: "a" });
  const text = metrics.render();
  assertEquals(text, metrics.render());
  assert(text.indexOf('network="a"') < text.indexOf('network="b"'));
});

function sourcesOf(overrides: Partial<GaugeSources>): GaugeSources {
  const none = () => Promise.resolve([]);
  const states = { adding: 0, attached: 0, deleting: 0, failed: 0 };
  return {
    attachments: () => Promise.resolve({ states, oldestFailure: undefined }),
    sandboxes: none,
    networks: none,
    readiness: none,
    ...overrides,
  };
}

Deno.test("a value that is slow to read stays fresh for longer, and is read once at a time", async () => {
  const clock = new HandClock();
  let reads = 0;
  const sandboxes = () => {
    reads++;
    clock.ms += 1_000;
    return Promise.resolve([{ state: "ready" }]);
  };
  const gauges = new Gauges(sourcesOf({ sandboxes }), clock);
  const [one, two] = await Promise.all([gauges.read(), gauges.read()]);
  assertEquals({ oneSandboxes: one?.sandboxes, twoSandboxes: two?.sandboxes, reads }, {
    oneSandboxes: [{ state: "ready" }],
    twoSandboxes: [{ state: "ready" }],
    reads: 1,
  });
  clock.ms += 19_000;
  await gauges.read();
  assertEquals(reads, 1);
  clock.ms += 2_000;
  await gauges.read();
  assertEquals(reads, 2);
});

Deno.test("a source that cannot be read is left out until it can; the others are there", async () => {
  const clock = new HandClock();
  let isBroken = true;
  const networks = () =>
    isBroken
      ? Promise.reject(new Error("disk on fire"))
      : Promise.resolve([{ name: "web", status: "used" as const }]);
  const gauges = new Gauges(sourcesOf({ networks }), clock);
  assertEquals(Object.keys(await gauges.read()), ["attachments", "sandboxes", "readiness"]);
  isBroken = false;
  clock.ms += 2_001;
  assertEquals((await gauges.read()).networks?.length, 1);
});

Deno.test("a source that takes too long is not awaited, and its value is used later", async () => {
  const late = Promise.withResolvers<readonly { state: string }[]>();
  const gauges = new Gauges(sourcesOf({ sandboxes: () => late.promise }));
  assertEquals((await gauges.read()).sandboxes, undefined);
  late.resolve([{ state: "ready" }]);
  assertEquals((await gauges.read()).sandboxes, [{ state: "ready" }]);
});

Deno.test("attachments are counted by state, and only the records of unsettled containers are read", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-gauges-" });
  try {
    const store = storesIn(dir).store;
    const failed = new FailedIndex(dir);
    const locks = new Locks(`${dir}/run`);
    const counts = () => countAttachments({ store, failed, locks });
    assertEquals(await counts(), {
      states: { adding: 0, attached: 0, deleting: 0, failed: 0 },
      oldestFailure: undefined,
    });
    for (
      const [containerId, state, since] of [
        ["c1", "attached", "2026-01-01T00:00:00.000Z"],
        ["c2", "attached", "2026-01-01T00:00:00.000Z"],
        ["c3", "failed", "2026-01-03T00:00:00.000Z"],
        ["c4", "failed", "2026-01-02T00:00:00.000Z"],
        ["c5", "adding", "2026-01-01T00:00:00.000Z"],
      ] as const
    ) {
      await store.write(recordOf(containerId, state, since));
      if (state === "failed") await failed.add(containerId);
    }
    // A hint that a crash left has no effect.
    await failed.add("c1");
    // Its record is not read, so it is not moved aside.
    const file = recordFile(dir, "c2");
    const text = `${await Deno.readTextFile(file)}`.replace("c2", "c2x");
    await Deno.writeTextFile(file, text);
    {
      await using _lock = await locks.containers.hold("c5");
      assertEquals(await counts(), {
        states: { adding: 1, attached: 2, deleting: 0, failed: 2 },
        oldestFailure: "2026-01-02T00:00:00.000Z",
      });
    }
    assertEquals(await Deno.readTextFile(file), text);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

function recordOf(containerId: string, state: AttachmentRecord["state"], since: string): AttachmentRecord {
  return {
    containerId,
    network: "web",
    ifName: "eth0",
    state,
    netns: `/run/netns/${containerId}`,
    netnsId: undefined,
    owner: "cli",
    since,
    bootId: "boot",
    sequence: 0,
    attempts: 0,
    nextTry: undefined,
    error: undefined,
    config: "{}",
    cniArgs: [],
    capabilityArgs: {},
    result: undefined,
  };
}
