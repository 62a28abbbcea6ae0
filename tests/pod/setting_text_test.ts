import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { refuseFrom } from "../../lib/pod/setting.ts";
import { bandwidth, ipRanges, portMappings, rate } from "../../lib/pod/setting_text.ts";

Deno.test("portMappings() reads ports, protocol and the host's address", () => {
  const read = (text: string) => {
    const [mapping, ...more] = portMappings(text, refuseFrom("--publish"));
    assertEquals(more, []);
    return mapping;
  };
  const mapping = { hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" } as const;
  assertEquals(read("8080:80"), mapping);
  assertEquals(read("8080:80/udp"), { ...mapping, protocol: "udp" });
  assertEquals(read("8080:80/sctp"), { ...mapping, protocol: "sctp" });
  assertEquals(read("127.0.0.1:8080:80/tcp"), { ...mapping, hostIP: "127.0.0.1" });
  assertEquals(read("[::1]:8080:80"), { ...mapping, hostIP: "::1" });
  assertEquals(read("8080:80/TCP"), mapping);
  assertEquals(read("8080:80/Udp"), { ...mapping, protocol: "udp" });
  assertEquals(read("1:65535"), { ...mapping, hostPort: 1, containerPort: 65_535 });
});

Deno.test("portMappings() reads a range as one mapping for each port", () => {
  const read = (text: string) => portMappings(text, refuseFrom("--publish"));
  const refusal = (text: string) => assertThrows(() => read(text), CniError).msg;
  const common = { hostIP: "192.0.2.1", protocol: "udp" } as const;
  assertEquals(read("192.0.2.1:8000-8002:80-82/udp"), [
    { ...common, hostPort: 8000, containerPort: 80 },
    { ...common, hostPort: 8001, containerPort: 81 },
    { ...common, hostPort: 8002, containerPort: 82 },
  ]);
  assertEquals(read("8000-8000:80").length, 1);
  assertEquals(read("1-65535:1-65535").length, 65_535);
  assertEquals(
    refusal("8000-8010:80"),
    '--publish: "8000-8010:80" has ranges of 11 and of 1, which differ',
  );
  assertEquals(refusal("8000:80-81"), '--publish: "8000:80-81" has ranges of 1 and of 2, which differ');
  assertEquals(refusal("8010-8000:80-90"), "--publish: the range 8010-8000 ends before it begins");
  assertEquals(refusal("8000-65536:80-90"), '--publish: "65536" is not a number from 1 to 65535');
});

Deno.test("portMappings() leaves a port of the host that is not written to podwire", () => {
  const auto = (containerPort: number, hostIP = "", protocol = "tcp") => ({
    hostIP,
    protocol,
    hostPort: "auto",
    containerPort,
  });
  const read = (text: string) => portMappings(text, refuseFrom("--publish")) as readonly unknown[];
  assertEquals(read(":80"), [auto(80)]);
  assertEquals(read(":53/UDP"), [auto(53, "", "udp")]);
  assertEquals(read("127.0.0.1::80/sctp"), [auto(80, "127.0.0.1", "sctp")]);
  assertEquals(read("[2001:db8::1]::80"), [auto(80, "2001:db8::1")]);
  assertEquals(read(":8000-8002"), [auto(8000), auto(8001), auto(8002)]);
});

Deno.test("portMappings() says how an IPv6 address is written", () => {
  const hint = (text: string) =>
    assertThrows(() => portMappings(text, refuseFrom("--publish")), CniError).context.hint;
  assertEquals(hint("2001:db8::1:8080:80"), "write an IPv6 address in brackets: [2001:db8::1]:8080:80");
  assertEquals(hint("::1:80:80"), hint("2001:db8::1:8080:80"));
  assertEquals(hint("80"), "as 8080:80, 127.0.0.1:8080:80/tcp or [2001:db8::1]:53:53/udp");
});

Deno.test("portMappings() refuses wrong ports, protocols and addresses", () => {
  const refusal = (text: string) =>
    assertThrows(() => portMappings(text, refuseFrom("--flag")), CniError).msg;
  const wrong = [
    "80",
    "",
    ":",
    "::80",
    "80:",
    "a:b",
    "80:80/",
    "80:80/icmp",
    "::1:80:80",
    "[::1]80:80",
    "1-2-3:1-2-3",
    "-2:1-2",
    "1-:1-2",
  ];
  for (const text of wrong) {
    assertEquals(refusal(text), `--flag: "${text}" is not [HOSTIP:][HOSTPORT]:PORT[/PROTO]`);
  }
  for (const [text, port] of [["0:80", "0"], ["80:0", "0"], ["65536:80", "65536"]] as const) {
    assertEquals(refusal(text), `--flag: "${port}" is not a number from 1 to 65535`);
  }
  for (const host of ["localhost", "1.2.3", "1.2.3.256"]) {
    assertEquals(refusal(`${host}:80:80`), `--flag: "${host}" is not a valid IP address`);
  }
  assertEquals(refusal("[fe80::x]:80:80"), '--flag: "fe80::x" is not a valid IP address');
});

Deno.test("bandwidth() reads either direction or both, with units", () => {
  const read = (text: string) => bandwidth(text, refuseFrom("--bandwidth"));
  assertEquals(read("ingress=10M"), { ingressRate: 10_000_000 });
  assertEquals(read("egress=1.5k,ingress=1G"), { egressRate: 1_500, ingressRate: 1_000_000_000 });
  assertEquals(read("ingress=1"), { ingressRate: 1 });
});

Deno.test("bandwidth() refuses wrong rates", () => {
  const refusal = (text: string) => assertThrows(() => bandwidth(text, refuseFrom("--flag")), CniError).msg;
  const wrong = [
    "",
    "10M",
    "ingress",
    "ingress=",
    "ingress=0",
    "ingress=-1",
    "ingress=1T",
    "ingress=1M=2",
    "up=1M",
    "ingress=9999G9",
    "ingress=2000G",
  ];
  for (const text of wrong) {
    assertEquals(refusal(text), `--flag: "${text}" is not ingress=RATE or egress=RATE, such as 10M`);
  }
  assertEquals(refusal("ingress=1M,"), '--flag: "" is not ingress=RATE or egress=RATE, such as 10M');
  assertEquals(refusal("ingress=1M,ingress=2M"), "--flag: ingress is given twice");
});

Deno.test("rate() reads bits per second", () => {
  assertEquals(["1", "2k", "2K", "1.5M", "1000G"].map(rate), [1, 2000, 2000, 1_500_000, 1e12]);
  assertEquals(["", "0", "0.4", "1T", "-1", "1e3", "1001G", ".5", "1.k"].map(rate), Array(9).fill(undefined));
});

Deno.test("ipRanges() reads a subnet with first, last and gateway, and several subnets", () => {
  const read = (text: string) => ipRanges(text, refuseFrom("--ip-range"));
  assertEquals(read("10.1.0.0/24"), [{ subnet: "10.1.0.0/24" }]);
  assertEquals(read("fd00::/64@fd00::5-fd00::9@gw=fd00::1"), [
    { subnet: "fd00::/64", rangeStart: "fd00::5", rangeEnd: "fd00::9", gateway: "fd00::1" },
  ]);
  assertEquals(read("10.1.0.0/24@10.1.0.5-"), [{ subnet: "10.1.0.0/24", rangeStart: "10.1.0.5" }]);
  assertEquals(read("10.1.0.0/24@-10.1.0.9"), [{ subnet: "10.1.0.0/24", rangeEnd: "10.1.0.9" }]);
  assertEquals(read("10.1.0.0/24@gw=10.1.0.1+10.2.0.0/24@10.2.0.5-10.2.0.6"), [
    { subnet: "10.1.0.0/24", gateway: "10.1.0.1" },
    { subnet: "10.2.0.0/24", rangeStart: "10.2.0.5", rangeEnd: "10.2.0.6" },
  ]);
});

Deno.test("ipRanges() refuses another order, and parts that are missing", () => {
  const wrong = [
    "",
    "+",
    "10.1.0.0/24+",
    "@10.1.0.5-10.1.0.6",
    "10.1.0.0/24@",
    "10.1.0.0/24@10.1.0.5",
    "10.1.0.0/24@gw=",
    "10.1.0.0/24@gw=10.1.0.1@10.1.0.5-10.1.0.6",
    "10.1.0.0/24@a-b@c-d",
  ];
  for (const text of wrong) {
    const { msg } = assertThrows(() => ipRanges(text, refuseFrom("--flag")), CniError, undefined, text);
    assertEquals(msg, `--flag: "${text}" is not SUBNET[@[START]-[END]][@gw=GATEWAY][+...]`);
  }
});
