// What the interfaces of sandboxes have carried, by the compiled program: in the metrics of the daemon, in ps and in inspect.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, sh } from "./binary_world.ts";
import { DaemonProcess } from "./daemon_world.ts";

const OPTIONS = ["--builtin=prefer"];

binaryTest(
  "with --traffic-metrics the metrics count what each interface has carried, as ps and inspect do",
  ["ip"],
  async (world) => {
    await world.list([world.bridgePlugin({ ipMasq: false })]);
    await using daemon = await DaemonProcess.start(world, [...OPTIONS, "--traffic-metrics"]);
    const { status, json: { id, netns } } = await daemon.call("POST", "/v1/sandboxes", { name: "web" });
    assertEquals(status, 201);
    const send = `for i in 1 2 3; do printf %01000d 0 >/dev/udp/${world.subnet4}.1/9 || :; done`;
    await sh(`nsenter --net=${netns} bash -c '${send}' 2>/dev/null`);
    const families = parseExposition((await daemon.call("GET", "/metrics")).text);
    const labels = { id, namespace: "default", name: "web", network: world.network, interface: "eth0" };
    const counted = valueOf(families, "podwire_sandbox_network_transmit_bytes_total", labels);
    const [shown] = await world.json(["ps", "--stats"]);
    const sent = shown.traffic[0].tx.bytes;
    assert(counted !== undefined && counted >= 3_000 && counted <= sent, `${counted} and then ${sent} bytes`);
    assertMatch(
      await world.done(["inspect", "--stats", "web"]),
      /^traffic +eth0: received .+, sent .+$/m,
    );
    await daemon.call("DELETE", `/v1/sandboxes/${id}`);
  },
);
