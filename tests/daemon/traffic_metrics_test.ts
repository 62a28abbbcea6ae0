import { assertEquals } from "@std/assert";
import { TrafficMetrics } from "../../lib/daemon/traffic_metrics.ts";

const ETH0 = {
  ifName: "eth0",
  network: "front",
  rx: { bytes: 9_007_199_254_740_991, packets: 2, errors: 3, drops: 4 },
  tx: { bytes: 5, packets: 6, errors: 7, drops: 8 },
};

Deno.test("the traffic of sandboxes is eight counters, each with a series for each interface", async () => {
  const metrics = new TrafficMetrics(() =>
    Promise.resolve([
      {
        id: "a1",
        namespace: "default",
        name: "web",
        interfaces: [ETH0, { ...ETH0, ifName: "x", network: null }],
      },
      { id: "b2", namespace: "default", name: "db", interfaces: [] },
    ])
  );
  const text = await metrics.write();
  const names = [...text.matchAll(/^# TYPE (\S+) counter$/gm)].map(([, name]) => name);
  assertEquals(
    names,
    ["receive", "transmit"].flatMap((word) =>
      ["bytes", "packets", "errors", "packets_dropped"].map((unit) =>
        `podwire_sandbox_network_${word}_${unit}_total`
      )
    ),
  );
  const web = 'id="a1",namespace="default",name="web"';
  const received = text.split("\n").filter((line) =>
    line.startsWith("podwire_sandbox_network_receive_bytes_total")
  );
  assertEquals(received, [
    `podwire_sandbox_network_receive_bytes_total{${web},network="",interface="x"} 9007199254740991`,
    `podwire_sandbox_network_receive_bytes_total{${web},network="front",interface="eth0"} 9007199254740991`,
  ]);
  const dropped = text.split("\n").filter((line) => line.includes("transmit_packets_dropped_total{"));
  assertEquals(dropped.map((line) => line.split(" ").at(-1)), ["8", "8"]);
});

Deno.test("without an answer of the kernel there is no such metric", async () => {
  assertEquals(await new TrafficMetrics(() => Promise.reject(new Error("gone"))).write(), "");
});
