import { assertEquals } from "@std/assert";
import { printSandbox } from "../../lib/cli/sandbox_text.ts";
import { byteText, sumOf, trafficText } from "../../lib/cli/traffic_text.ts";
import type { JsonObject } from "../../lib/cni/json.ts";
import type { Sandbox, SandboxNetwork } from "../../lib/sandbox/view.ts";
import { type FakeIo, inputOf } from "./fake_io.ts";

const DUAL = [{ address: "10.1.0.2/24", gateway: "10.1.0.1" }, { address: "fd00::2/64" }];

/** Returns what is printed for a network whose result has these addresses and routes. */
function networkLine(result: JsonObject): string {
  const network = { name: "web", ifName: "eth0", default: false, result: { cniVersion: "1.1.0", ...result } };
  const sandbox: Sandbox = {
    id: "0123456789ab",
    name: "pod",
    namespace: "default",
    uid: "u",
    attempt: 0,
    state: "ready",
    createdAt: "2026-03-02T08:10:44.873Z",
    netns: "/run/netns/x",
    hostNetwork: false,
    pid: null,
    ips: [],
    networks: [network satisfies SandboxNetwork],
    files: null,
    labels: {},
    annotations: {},
  };
  const input = inputOf("inspect", ["pod"]);
  printSandbox(input, sandbox);
  const { stdout } = input.io as FakeIo;
  return stdout.split("\n").find((line) => line.startsWith("network"))?.slice("network  ".length) ?? "";
}

Deno.test("run and inspect mark the network with the pod's default route, and its family", () => {
  const said = "web on eth0: 10.1.0.2/24, fd00::2/64";
  const [four, six] = [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00::1" }];
  assertEquals(networkLine({ ips: DUAL }), said);
  assertEquals(networkLine({ ips: DUAL, routes: [{ dst: "10.0.0.0/8" }] }), said);
  assertEquals(networkLine({ ips: DUAL, routes: [four, six] }), `${said} (default route)`);
  assertEquals(networkLine({ ips: DUAL, routes: [four] }), `${said} (default route for IPv4)`);
  assertEquals(networkLine({ ips: DUAL, routes: [six] }), `${said} (default route for IPv6)`);
  assertEquals(
    networkLine({ ips: DUAL.slice(0, 1), routes: [four] }),
    "web on eth0: 10.1.0.2/24 (default route)",
  );
  assertEquals(networkLine({ routes: [four] }), "web on eth0: no address (default route)");
  // The pod's traffic does not use a table that only rules lead to.
  assertEquals(networkLine({ ips: DUAL, routes: [{ ...four, table: 100 }] }), said);
});

Deno.test("numbers of bytes have a unit, and ps adds up what the interfaces have carried", () => {
  const texts = [0, 999, 1_000, 1_024, 1_536, 1_310_720, 5e9, 2 ** 50, 2 ** 60].map(byteText);
  assertEquals(texts, [
    "0 B",
    "999 B",
    "0.977 KiB",
    "1 KiB",
    "1.5 KiB",
    "1.25 MiB",
    "4.66 GiB",
    "1 PiB",
    "1020 PiB",
  ]);
  const rx = { bytes: 2_048, packets: 3, errors: 0, drops: 0 };
  const tx = { bytes: 10, packets: 1, errors: 2, drops: 4 };
  const [eth0, eth1] = ["eth0", "eth1"].map((ifName) => ({ ifName, network: null, rx, tx }));
  assertEquals(
    trafficText(eth0!),
    "eth0: received 2 KiB (3 packets), sent 10 B (1 packets, 2 errors, 4 drops)",
  );
  assertEquals(sumOf([eth0!, eth1!], "rx"), { bytes: 4_096, packets: 6, errors: 0, drops: 0 });
  assertEquals(sumOf([eth0!, eth1!], "tx"), { bytes: 20, packets: 2, errors: 4, drops: 8 });
});
