import { assertEquals } from "@std/assert";
import { portTexts } from "../../lib/cli/ports_text.ts";
import { publishedPortsOf } from "../../lib/state/host_port.ts";

Deno.test("published ports are written as ranges where both sides go on, with their address", () => {
  const portMappings = [
    { hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" },
    { hostPort: 8081, containerPort: 81, protocol: "TCP" },
    { hostPort: 8082, containerPort: 90 },
    { hostPort: 53, containerPort: 53, protocol: "udp", hostIP: "127.0.0.1" },
    { hostPort: 54, containerPort: 54, protocol: "udp", hostIP: "0.0.0.0" },
    { hostPort: 7, containerPort: 7, hostIP: "2001:DB8::1" },
    // Plugins refuse or ignore these.
    { hostPort: 0, containerPort: 7 },
    { hostPort: 9 },
    "80",
  ];
  assertEquals(portTexts(publishedPortsOf({ portMappings })), [
    "8080-8081->80-81/tcp",
    "8082->90/tcp",
    "127.0.0.1:53->53/udp",
    "0.0.0.0:54->54/udp",
    "[2001:db8::1]:7->7/tcp",
  ]);
  assertEquals(portTexts(publishedPortsOf({})), []);
});
