import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { bandwidth, portMapping, sandboxRequest } from "../../lib/cli/run.ts";
import { CniError } from "../../lib/spec/error.ts";
import { printJson } from "../../lib/spec/json.ts";
import { inputOf } from "./fake_io.ts";

const request = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  sandboxRequest(inputOf("run", args, { env }));

function refusal(...args: string[]): string {
  const error = assertThrows(() => request(args), CniError);
  assertEquals(error.kind, "usage");
  return error.msg;
}

Deno.test("run without options asks for a new namespace on the default network", () => {
  assertEquals(request([]), {
    source: { kind: "new" },
    replace: false,
    ips: [],
    args: [],
    capabilities: {},
  });
});

Deno.test("run hands on name, namespace, uid, id, mac and replace", () => {
  const { name, namespace, uid, id, mac, replace } = request(
    ["web", "--namespace=prod", "--uid", "u-1", "--id=abc", "--mac", "02:00:00:00:00:01", "--replace"],
  );
  assertEquals([name, namespace, uid, id, mac, replace], [
    "web",
    "prod",
    "u-1",
    "abc",
    "02:00:00:00:00:01",
    true,
  ]);
});

Deno.test("run takes networks with and without a name for the interface, in order", () => {
  assertEquals(request(["--network", "a", "--network=b:eth7"]).networks, [{ name: "a" }, {
    name: "b",
    ifName: "eth7",
  }]);
  for (const text of [":", "a:", ":eth0", "a:b:c"]) {
    assertEquals(refusal("--network", text), `--network: "${text}" is not NET[:IFNAME]`);
  }
});

Deno.test("run takes the namespace from one place only", () => {
  assertEquals(request(["--netns", "/run/netns/x"]).source, { kind: "path", path: "/run/netns/x" });
  assertEquals(request(["--netns", "x/../y"]).source, { kind: "path", path: `${Deno.cwd()}/y` });
  assertEquals(request(["--pid", "42"]).source, { kind: "pid", pid: 42 });
  assertEquals(request(["--infra"]).source, { kind: "infra" });
  assertEquals(request(["--infra", "--runtime=crun"]).source, { kind: "infra", runtime: "crun" });
  assertEquals(refusal("--netns=/x", "--pid=2"), "--netns and --pid exclude each other");
  assertEquals(refusal("--pid=2", "--infra"), "--pid and --infra exclude each other");
  assertEquals(refusal("--runtime=crun"), "--runtime goes with --infra");
  for (const pid of ["0", "-1", "1.5", "x", "4194305", "1e3"]) {
    assertEquals(refusal(`--pid=${pid}`), `--pid: "${pid}" is no number from 1 to 4194304`);
  }
});

Deno.test("portMapping() reads ports, protocol and the host's address", () => {
  const mapping = { hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" } as const;
  assertEquals(portMapping("8080:80"), mapping);
  assertEquals(portMapping("8080:80/udp"), { ...mapping, protocol: "udp" });
  assertEquals(portMapping("8080:80/sctp"), { ...mapping, protocol: "sctp" });
  assertEquals(portMapping("127.0.0.1:8080:80/tcp"), { ...mapping, hostIP: "127.0.0.1" });
  assertEquals(portMapping("[::1]:8080:80"), { ...mapping, hostIP: "::1" });
  assertEquals(portMapping("1:65535"), { ...mapping, hostPort: 1, containerPort: 65_535 });
});

Deno.test("portMapping() refuses what is no port, protocol or address", () => {
  const wrong = [
    "80",
    "",
    ":80",
    "80:",
    "a:b",
    "80:80/",
    "80:80/TCP",
    "80:80/icmp",
    "::1:80:80",
    "[::1]80:80",
    "1-2:1-2",
  ];
  for (const text of wrong) {
    const error = assertThrows(() => portMapping(text), CniError);
    assertEquals(error.msg, `--publish: "${text}" is not [HOSTIP:]HOSTPORT:PORT[/PROTO]`);
  }
  for (const [text, port] of [["0:80", "0"], ["80:0", "0"], ["65536:80", "65536"]] as const) {
    const error = assertThrows(() => portMapping(text), CniError);
    assertEquals(error.msg, `--publish: "${port}" is no number from 1 to 65535`);
  }
  for (const host of ["localhost", "1.2.3", "1.2.3.256"]) {
    const error = assertThrows(() => portMapping(`${host}:80:80`), CniError);
    assertEquals(error.msg, `--publish: "${host}" is no IP address`);
  }
  assertThrows(() => portMapping("[fe80::x]:80:80"), CniError, '"fe80::x" is no IP address');
});

Deno.test("bandwidth() reads either direction or both, with units", () => {
  assertEquals(bandwidth(undefined), undefined);
  assertEquals(bandwidth("ingress=10M"), { ingressRate: 10_000_000, ingressBurst: 1_000_000 });
  assertEquals(bandwidth("egress=1.5k,ingress=1G"), {
    egressRate: 1_500,
    egressBurst: 150,
    ingressRate: 1_000_000_000,
    ingressBurst: 100_000_000,
  });
  assertEquals(bandwidth("ingress=1"), { ingressRate: 1, ingressBurst: 1 });
});

Deno.test("bandwidth() refuses what is no rate", () => {
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
  ];
  for (const text of [...wrong, "ingress=2000G", "ingress=1M,"]) {
    const part = text === "ingress=1M," ? "" : text;
    const error = assertThrows(() => bandwidth(text), CniError);
    assertEquals(error.msg, `--bandwidth: "${part}" is not ingress=RATE or egress=RATE, such as 10M`);
  }
  assertThrows(() => bandwidth("ingress=1M,ingress=2M"), CniError, "--bandwidth: ingress is given twice");
});

Deno.test("run adds --arg to the arguments of its own environment", () => {
  assertEquals(request(["--arg", "A=1", "--arg", "B=x=y", "--arg", "A="]).args, [["A", "1"], ["B", "x=y"], [
    "A",
    "",
  ]]);
  assertEquals(request(["--arg", "A=1"], { CNI_ARGS: "X=1;junk;;Y=2" }).args, [["X", "1"], ["Y", "2"], [
    "A",
    "1",
  ]]);
  for (const text of ["A", "=1"]) assertEquals(refusal("--arg", text), `--arg: "${text}" is not KEY=VALUE`);
});

Deno.test("run reads capabilities as JSON and keeps numbers as they are written", () => {
  const { capabilities = {} } = request([
    "--cap",
    'a={"n":12345678901234567890}',
    "--cap",
    "b=[1.0]",
    "--cap=c=null",
  ]);
  assertEquals(printJson(capabilities), '{"a":{"n":12345678901234567890},"b":[1.0],"c":null}');
  assertEquals(refusal("--cap", "a"), '--cap: "a" is not KEY=VALUE');
  assertMatch(refusal("--cap", "a={"), /^--cap a: the value is no JSON: unexpected end/);
});

Deno.test("run takes annotations, whose values may hold anything", () => {
  assertEquals(request(["--annotation", "a.b/c=d=e;f", "--annotation=x="]).annotations, {
    "a.b/c": "d=e;f",
    x: "",
  });
  assertEquals(refusal("--annotation", "a"), '--annotation: "a" is not KEY=VALUE');
});

Deno.test("run takes several addresses", () => {
  assertEquals(request(["--ip", "10.0.0.9", "--ip=fd00::9"]).ips, ["10.0.0.9", "fd00::9"]);
});
