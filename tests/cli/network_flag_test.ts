import { assert, assertEquals, assertThrows } from "@std/assert";
import { wantedNetwork, wantedNetworkItems, wantedNetworks } from "../../lib/cli/network_flag.ts";
import { networkHelp } from "../../lib/cli/network_help.ts";
import { CniError } from "../../lib/cni/error.ts";
import { type Json, parseJson, printJson } from "../../lib/cni/json.ts";
import type { IpRange, PortMapping, WantedNetwork } from "../../lib/pod/request.ts";
import { property, type Random } from "../cni/random.ts";

function refusal(...texts: string[]): CniError {
  const error = assertThrows(() => wantedNetworks(texts), CniError, undefined, texts.join(" "));
  assertEquals(error.kind, "usage");
  return error;
}

Deno.test("networks are read with and without a name for the interface, in order", () => {
  assertEquals(wantedNetworks([]), undefined);
  assertEquals(wantedNetworks(["a", "b:eth7"]), [{ name: "a" }, { name: "b", ifName: "eth7" }]);
  for (const text of ["", ":", "a:", ":eth0", "a:b:c"]) {
    assertEquals(refusal(text).msg, `--network: "${text}" is not NET[:IFNAME]`);
  }
});

Deno.test("none alone means no network; a network of that name is written with its interface", () => {
  assertEquals(wantedNetworks(["none"]), "none");
  assertEquals(wantedNetworks(["none:eth0"]), [{ name: "none", ifName: "eth0" }]);
  assertEquals(wantedNetworks(["a", "none:eth1,ip=10.1.0.5"]), [
    { name: "a" },
    { name: "none", ifName: "eth1", ips: ["10.1.0.5"] },
  ]);
  for (const texts of [["none", "a"], ["a", "none"], ["none", "none"], ["none,ip=10.1.0.5"]]) {
    const { msg, context } = refusal(...texts);
    assert(msg.startsWith('--network: "none" means no network'), msg);
    assert(context.hint?.includes("none:eth0"));
  }
});

Deno.test("F2 F60 every setting of a network can be written behind its name", () => {
  const text =
    "web:eth0,ip=10.1.0.5,ip=fd00::5,mac=02:00:00:00:00:01,publish=[::1]:53:5353/udp,publish=80:80," +
    "ingress=10M,egress=1k,range=10.1.0.0/24@10.1.0.5-10.1.0.9@gw=10.1.0.1+10.2.0.0/24,range=fd00::/64," +
    "dns=10.1.0.1,search=a.example,dns-option=ndots:2,alias=db,alias=x,device=0000:04:00.5,cgroup=/x.slice," +
    'annotation=a/b=c=d,arg=K=V,arg=E=,cap=free={"a": [1.0, "x,y"], "b": "}\\","},cap=io.x=null,alias=last';
  assertEquals(wantedNetwork(text), {
    name: "web",
    ifName: "eth0",
    ips: ["10.1.0.5", "fd00::5"],
    mac: "02:00:00:00:00:01",
    publish: [
      { hostIP: "::1", hostPort: 53, containerPort: 5353, protocol: "udp" },
      { hostIP: "", hostPort: 80, containerPort: 80, protocol: "tcp" },
    ],
    bandwidth: { ingressRate: 10_000_000, egressRate: 1000 },
    ipRanges: [
      [
        { subnet: "10.1.0.0/24", rangeStart: "10.1.0.5", rangeEnd: "10.1.0.9", gateway: "10.1.0.1" },
        { subnet: "10.2.0.0/24" },
      ],
      [{ subnet: "fd00::/64" }],
    ],
    dns: { servers: ["10.1.0.1"], searches: ["a.example"], options: ["ndots:2"] },
    aliases: ["db", "x", "last"],
    deviceID: "0000:04:00.5",
    cgroupPath: "/x.slice",
    annotations: { "a/b": "c=d" },
    args: [["K", "V"], ["E", ""]],
    capabilities: parseJson('{"free": {"a": [1.0, "x,y"], "b": "}\\","}, "io.x": null}') as {
      [key: string]: Json;
    },
  });
});

Deno.test("a comma inside a value is written with a backslash, and so is a backslash", () => {
  const { annotations } = wantedNetwork(String.raw`a,annotation=k=x\,y\\,annotation=l=\z\\\,`);
  assertEquals(annotations, { k: String.raw`x,y` + "\\", l: String.raw`\z\,` });
});

Deno.test("default-route stands alone or has a gateway for each family", () => {
  assertEquals(wantedNetwork("b,default-route"), { name: "b", defaultRoute: true });
  assertEquals(wantedNetwork("b:net1,default-route=10.1.0.1,mac=x,default-route=fd00::1"), {
    name: "b",
    ifName: "net1",
    mac: "x",
    defaultRoute: ["10.1.0.1", "fd00::1"],
  });
  // In a list an item without "=" is the next network, unless it is this key; at the start of a line it is a network.
  assertEquals(wantedNetworkItems("x", "a,b, default-route ,mac=x,c\ndefault-route"), [
    { name: "a" },
    { name: "b", mac: "x", defaultRoute: true },
    { name: "c" },
    { name: "default-route" },
  ]);
  assertEquals(refusal("a,default-route=x").msg, '--network default-route: "x" is not a valid IP address');
  assertEquals(refusal("a,default-route=").msg, '--network: "default-route=" has no value');
  for (const text of ["a,default-route,default-route", "a,default-route=10.1.0.1,default-route"]) {
    assertEquals(refusal(text).msg, "--network: default-route is given without a gateway and once more");
  }
});

Deno.test("an error names flag, key and value", () => {
  const cases: readonly [string, string][] = [
    ["a,", '--network: "" is not KEY=VALUE'],
    ["a,,ip=10.1.0.5", '--network: "" is not KEY=VALUE'],
    ["a,ip", '--network: "ip" is not KEY=VALUE'],
    ["a,=x", '--network: "=x" is not KEY=VALUE'],
    ["a,ip=", '--network: "ip=" has no value'],
    ["a,ips=10.1.0.5", '--network: unknown key "ips" in "ips=10.1.0.5"'],
    ["a,toString=1", '--network: unknown key "toString" in "toString=1"'],
    ["a,ip=10.1.0.5/33", '--network ip: "10.1.0.5/33" is not a valid IP address, with or without /PREFIX'],
    ["a,dns=x", '--network dns: "x" is not a valid IP address'],
    ["a,publish=80", '--network publish: "80" is not [HOSTIP:][HOSTPORT]:PORT[/PROTO]'],
    ["a,ingress=fast", '--network ingress: "fast" is not a rate in bit/s, such as 10M'],
    ["a,range=@", '--network range: "@" is not SUBNET[@[START]-[END]][@gw=GATEWAY][+...]'],
    ["a,arg=x", '--network arg: "x" is not KEY=VALUE'],
    ["a,annotation==x", '--network annotation: "=x" is not KEY=VALUE'],
    ["a,cap=x", '--network cap: "x" is not KEY=VALUE'],
    ["a,mac=a,mac=b", '--network: mac is given twice, "a" and "b"'],
    ["a,egress=1k,egress=2k", '--network: egress is given twice, "1000" and "2k"'],
  ];
  for (const [text, msg] of cases) assertEquals(refusal(text).msg, msg);
  for (const json of ["{", '{"a":', '"x', "[1,", "]"]) {
    const { msg } = refusal(`a,cap=x=${json},ip=10.1.0.5`);
    assert(msg.startsWith('--network cap: the value of "x" is not valid JSON'), msg);
  }
});

Deno.test("the help of run names every key", () => {
  const { context } = refusal("a,x=y");
  const help = networkHelp();
  const keys = (context.details ?? "").replace("keys are ", "").split(", ");
  assertEquals(keys.length, 16);
  for (const key of keys) assert(new RegExp(`[ ,]${key}[, ]`).test(help), key);
});

/** Text with every character that has a meaning in the syntax. */
const anyText = (random: Random) =>
  random.one(["x", "k"]) +
  random.list(6, () => random.one([",", "\\", "=", '"', "[", "}", ":", "+", "é", " "])).join("");

function anyJson(random: Random, depth = 2): Json {
  const kind = random.below(depth > 0 ? 6 : 4);
  if (kind === 4) return random.list(4, () => anyJson(random, depth - 1));
  if (kind === 5) {
    return Object.fromEntries(random.list(4, () => [anyText(random), anyJson(random, depth - 1)]));
  }
  return [null, true, anyText(random), random.below(1000)][kind] as Json;
}

const anyPort = (random: Random): PortMapping => ({
  hostIP: random.one(["", "10.1.0.1", "::1", "fd00::5"]),
  hostPort: 1 + random.below(65_535),
  containerPort: 1 + random.below(65_535),
  protocol: random.one(["tcp", "udp", "sctp"]),
});

const anyRange = (random: Random): IpRange => ({
  subnet: random.one(["10.1.0.0/24", "fd00::/64"]),
  ...(random.chance(50) ? { rangeStart: random.one(["10.1.0.5", "fd00::5"]) } : {}),
  ...(random.chance(50) ? { rangeEnd: random.one(["10.1.0.9", "fd00::9"]) } : {}),
  ...(random.chance(50) ? { gateway: random.one(["10.1.0.1", "fd00::1"]) } : {}),
});

/** At least one: an empty list cannot be written. */
const some = <T>(random: Random, make: () => T): T[] => [make(), ...random.list(3, make)];
const anyPairs = (random: Random) =>
  some(random, () => [anyText(random).replaceAll("=", ""), anyText(random)] as const);

function anyNetwork(random: Random): WantedNetwork {
  const members: { [K in keyof WantedNetwork]?: () => WantedNetwork[K] } = {
    ifName: () => random.one(["eth0", "net1"]),
    ips: () => some(random, () => random.one(["10.1.0.5", "fd00::5"])),
    mac: () => anyText(random),
    publish: () => some(random, () => anyPort(random)),
    bandwidth: () =>
      random.one([{ ingressRate: 1 }, { egressRate: 1500 }, { ingressRate: 2, egressRate: 1e12 }]),
    ipRanges: () => some(random, () => some(random, () => anyRange(random))),
    dns: () =>
      random.one([{ servers: ["10.1.0.1"] }, { searches: [anyText(random)], options: [anyText(random)] }]),
    aliases: () => some(random, () => anyText(random)),
    deviceID: () => anyText(random),
    cgroupPath: () => anyText(random),
    annotations: () => Object.fromEntries(anyPairs(random)),
    args: () => anyPairs(random),
    capabilities: () => Object.fromEntries(some(random, () => [random.one(["a", "io.b"]), anyJson(random)])),
  };
  const chosen = Object.entries(members).filter(() => random.chance(40));
  return {
    name: random.one(["web", "a-b.c"]),
    ...Object.fromEntries(chosen.map(([key, make]) => [key, make()])),
  };
}

const escaped = (text: string) => text.replaceAll("\\", "\\\\").replaceAll(",", "\\,");

/** The flag that asks for a network. */
function printed(wanted: WantedNetwork): string {
  const { publish = [], bandwidth = {}, ipRanges = [], dns = {}, capabilities = {} } = wanted;
  const port = ({ hostIP, hostPort, containerPort, protocol }: PortMapping) =>
    `${
      hostIP && (hostIP.includes(":") ? `[${hostIP}]:` : `${hostIP}:`)
    }${hostPort}:${containerPort}/${protocol}`;
  const range = ({ subnet, rangeStart = "", rangeEnd = "", gateway }: IpRange) =>
    subnet + (rangeStart || rangeEnd ? `@${rangeStart}-${rangeEnd}` : "") + (gateway ? `@gw=${gateway}` : "");
  const settings: readonly [string, readonly (string | number | undefined)[]][] = [
    ["ip", wanted.ips ?? []],
    ["mac", [wanted.mac]],
    ["publish", publish.map((mapping) => port(mapping as PortMapping))],
    ["ingress", [bandwidth.ingressRate]],
    ["egress", [bandwidth.egressRate]],
    ["range", ipRanges.map((set) => set.map(range).join("+"))],
    ["dns", dns.servers ?? []],
    ["search", dns.searches ?? []],
    ["dns-option", dns.options ?? []],
    ["alias", wanted.aliases ?? []],
    ["device", [wanted.deviceID]],
    ["cgroup", [wanted.cgroupPath]],
    ["annotation", Object.entries(wanted.annotations ?? {}).map((pair) => pair.join("="))],
    ["arg", (wanted.args ?? []).map((pair) => pair.join("="))],
  ];
  const plain = settings.flatMap(([key, values]) =>
    values.flatMap((value) => value === undefined ? [] : [`,${key}=${escaped(String(value))}`])
  );
  const free = Object.entries(capabilities).map(([name, json]) => `,cap=${name}=${printJson(json)}`);
  return `${wanted.name}${wanted.ifName ? `:${wanted.ifName}` : ""}${[...free, ...plain].join("")}`;
}

property("every network that can be requested can be written, and is read back unchanged", (random) => {
  const wanted = anyNetwork(random);
  const text = printed(wanted);
  assertEquals(wantedNetworks([text]), [wanted], text);
}, 2_000);

property("any text is read, or refused as wrong usage", (random) => {
  const words = [
    "a",
    ":eth0",
    ",",
    "ip=",
    "10.1.0.5",
    "cap=",
    "x=",
    "{",
    "}",
    '"',
    "\\",
    "range=",
    "@",
    "-",
    "+",
    "mac=",
  ];
  const text = random.list(10, () => random.one(words)).join("");
  try {
    wantedNetwork(text);
  } catch (error) {
    assert(error instanceof CniError && error.kind === "usage", `${text}: ${error}`);
  }
}, 5_000);
