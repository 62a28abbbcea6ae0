// Requests for ports become as few ranges as possible, and mean the same.
import { assertEquals, assertThrows } from "@std/assert";
import {
  formatRange,
  mergePorts,
  PortConflict,
  type PortRange,
  portsOfFamily,
} from "../../lib/builtin/port_range.ts";
import { parseIp } from "../../lib/cni/address.ts";

/** Reads `[ADDRESS@]HOSTPORT:PORT[/PROTOCOL]`. */
function port(text: string): PortRange {
  const [, address = "", hostPort, containerPort, protocol = "tcp"] =
    /^(?:(.*)@)?(\d+):(\d+)(?:\/(.*))?$/.exec(text) ?? [];
  const ip = parseIp(address);
  return {
    protocol: protocol === "udp" || protocol === "sctp" ? protocol : "tcp",
    family: ip?.family,
    hostIp: ip?.value === 0n ? undefined : ip,
    hostPort: Number(hostPort),
    containerPort: Number(containerPort),
    count: 1,
  };
}

function merged(...texts: readonly string[]): readonly string[] {
  return mergePorts(texts.map(port)).map((one) => `${formatRange(one)} to ${one.containerPort}`);
}

Deno.test("ports that follow each other on both sides become a range, in any order, and no others do", () => {
  assertEquals(merged("8002:82", "8000:80", "8001:81"), ["8000-8002/tcp to 80"]);
  assertEquals(merged("8000:80", "8001:80", "8003:83"), [
    "8000/tcp to 80",
    "8001/tcp to 80",
    "8003/tcp to 83",
  ]);
  assertEquals(merged("8000:80", "8001:81/udp"), ["8000/tcp to 80", "8001/udp to 81"]);
  assertEquals(merged("192.0.2.1@8000:80", "192.0.2.2@8001:81"), [
    "192.0.2.1:8000/tcp to 80",
    "192.0.2.2:8001/tcp to 81",
  ]);
});

Deno.test("the order of requests stays, by the first one of a range", () => {
  assertEquals(merged("9000:1", "8001:81", "7000:1", "8000:80"), [
    "9000/tcp to 1",
    "8000-8001/tcp to 80",
    "7000/tcp to 1",
  ]);
});

Deno.test("U33 the same port twice is one, also as a wildcard of one family", () => {
  assertEquals(merged("80:80", "80:80", "0.0.0.0@80:80", "::@80:80"), ["80/tcp to 80"]);
  assertEquals(merged("0.0.0.0@80:80", "::@80:80"), ["0.0.0.0:80/tcp to 80", "[::]:80/tcp to 80"]);
});

Deno.test("a port that leads to two ports is refused, unless it is one of two addresses", () => {
  for (const two of [["80:80", "80:81"], ["80:80", "::@80:81"], ["192.0.2.1@80:80", "192.0.2.1@80:81"]]) {
    const error = assertThrows(() => merged(...two), PortConflict);
    assertEquals(
      error.message.endsWith("80/tcp leads to the ports 80 and 81 of the container"),
      true,
      error.message,
    );
  }
  assertEquals(merged("192.0.2.1@80:80", "192.0.2.2@80:81").length, 2);
});

Deno.test("a port of one address comes before the same port of all addresses, which hides it otherwise", () => {
  assertEquals(merged("80:80", "81:1", "192.0.2.1@80:82"), [
    "192.0.2.1:80/tcp to 82",
    "80/tcp to 80",
    "81/tcp to 1",
  ]);
  assertEquals(merged("80:80", "192.0.2.1@81:82"), ["80/tcp to 80", "192.0.2.1:81/tcp to 82"]);
});

Deno.test("a family gets the ports of its own addresses and those of both", () => {
  const all = ["80:80", "192.0.2.1@81:81", "2001:db8::1@82:82", "0.0.0.0@83:83", "::@84:84"].map(port);
  assertEquals(portsOfFamily(all, 4).map(({ hostPort }) => hostPort), [80, 81, 83]);
  assertEquals(portsOfFamily(all, 6).map(({ hostPort }) => hostPort), [80, 82, 84]);
});

Deno.test("65,535 requests are merged in a moment", () => {
  const all = Array.from({ length: 65_535 }, (_, at) => port(`${at + 1}:${at + 1}`));
  assertEquals(mergePorts([...all, ...all]).map(formatRange), ["1-65535/tcp"]);
});
