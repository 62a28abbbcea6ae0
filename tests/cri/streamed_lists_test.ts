import { assert, assertEquals } from "@std/assert";
import { toBinary } from "@bufbuild/protobuf";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import type { RuntimeServiceContext } from "../../lib/cri/call_context.ts";
import {
  ImageService,
  PodSandboxState,
  RuntimeService,
  StreamPodSandboxesResponseSchema,
} from "../../lib/cri/generated/api_pb.ts";
import { imageService } from "../../lib/cri/image_service.ts";
import { runtimeService } from "../../lib/cri/runtime_service.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";
import { SANDBOX, TRAFFIC } from "../daemon/fake_context.ts";

/** Returns clients of both services with these sandboxes. That of the host's network has no counters. */
function clientsOf(sandboxes: readonly Sandbox[]) {
  const runtime = {
    sandboxes: {
      list: ({ id = "", labels = {} }: { id?: string; labels?: Record<string, string> }) =>
        Promise.resolve(
          sandboxes.filter((one) =>
            one.id.startsWith(id) && Object.entries(labels).every(([key, value]) => one.labels[key] === value)
          ),
        ),
      traffic: (found: readonly Sandbox[]) =>
        Promise.resolve(found.map(({ hostNetwork }) => hostNetwork ? null : TRAFFIC)),
    },
  };
  const context = { runtime } as unknown as RuntimeServiceContext;
  const transport = createRouterTransport((router) => {
    router.service(RuntimeService, runtimeService(context));
    router.service(ImageService, imageService({ stateDir: "/" }));
  });
  return { client: createClient(RuntimeService, transport), images: createClient(ImageService, transport) };
}

function many(count: number, annotation = ""): readonly Sandbox[] {
  return Array.from({ length: count }, (_, at): Sandbox => ({
    ...SANDBOX,
    id: `id-${at}`,
    state: at % 2 === 0 ? "ready" : "stopped",
    labels: { app: at < 10 ? "first" : "more" },
    annotations: { annotation },
  }));
}

Deno.test("a streamed list has each item of the list once, in messages that any client reads", async () => {
  const SIZES = [[1, ""], [250, ""], [300, "x".repeat(100_000)], [5, "x".repeat(1_000_000)]] as const;
  for (const [count, annotation] of SIZES) {
    const { client } = clientsOf(many(count, annotation));
    const { items } = await client.listPodSandbox({});
    const parts = await Array.fromAsync(client.streamPodSandboxes({}));
    assertEquals(parts.flatMap(({ podSandboxes }) => podSandboxes), items);
    assertEquals(items.length, count);
    for (const part of parts) {
      const { length } = toBinary(StreamPodSandboxesResponseSchema, part);
      assert(length > 0 && length < 4 * 1024 * 1024, `a message has ${length} bytes`);
    }
  }
});

Deno.test("streamed lists have the filters of the lists, and no message where nothing matches", async () => {
  const { client } = clientsOf(many(20));
  const filter = { labelSelector: { app: "first" }, state: { state: PodSandboxState.SANDBOX_NOTREADY } };
  const [part] = await Array.fromAsync(client.streamPodSandboxes({ filter }));
  assertEquals(part?.podSandboxes.map(({ id }) => id), ["id-1", "id-3", "id-5", "id-7", "id-9"]);
  const labelSelector = { app: "first" };
  const [stats] = await Array.fromAsync(
    client.streamPodSandboxStats({ filter: { id: "id-1", labelSelector } }),
  );
  assertEquals(stats?.podSandboxStats.map(({ attributes }) => attributes?.id), ["id-1"]);
  assertEquals(await Array.fromAsync(client.streamPodSandboxes({ filter: { id: "none" } })), []);
  assertEquals(await Array.fromAsync(client.streamPodSandboxStats({ filter: { id: "none" } })), []);
  assertEquals(await Array.fromAsync(clientsOf([]).client.streamPodSandboxMetrics({})), []);
});

Deno.test("streamed lists of containers and of images have no message", async () => {
  const { client, images } = clientsOf(many(1));
  assertEquals(await Array.fromAsync(client.streamContainers({})), []);
  assertEquals(await Array.fromAsync(client.streamContainerStats({})), []);
  assertEquals(await Array.fromAsync(images.streamImages({})), []);
});

Deno.test("the metrics of a sandbox have the names, labels and values of their descriptors", async () => {
  const { client } = clientsOf([SANDBOX, { ...SANDBOX, id: "host", hostNetwork: true }]);
  const { descriptors } = await client.listMetricDescriptors({});
  const { podMetrics } = await client.listPodSandboxMetrics({});
  const [own, host] = podMetrics;
  assertEquals(own?.metrics.map(({ name }) => name), descriptors.map(({ name }) => name));
  assertEquals([host?.podSandboxId, host?.metrics], ["host", []]);
  const shown = own?.metrics.map(({ name, value }) => `${name} ${value?.value}`);
  assertEquals(shown, [
    "container_network_receive_bytes_total 1500",
    "container_network_receive_packets_total 3",
    "container_network_receive_packets_dropped_total 1",
    "container_network_receive_errors_total 0",
    "container_network_transmit_bytes_total 1500",
    "container_network_transmit_packets_total 3",
    "container_network_transmit_packets_dropped_total 1",
    "container_network_transmit_errors_total 0",
  ]);
  const labels = descriptors[0]?.labelKeys.map((key, at) => [key, own?.metrics[0]?.labelValues[at]]);
  assertEquals(labels, [
    ["id", SANDBOX.id],
    ["image", ""],
    ["namespace", "default"],
    ["pod", "web"],
    ["container", "POD"],
    ["interface", "eth0"],
  ]);
  assert((own?.metrics[0]?.timestamp ?? 0n) > 0n);
  const [streamed] = await Array.fromAsync(client.streamPodSandboxMetrics({}));
  assertEquals(streamed?.podSandboxMetrics.map(({ podSandboxId }) => podSandboxId), [SANDBOX.id, "host"]);
});
