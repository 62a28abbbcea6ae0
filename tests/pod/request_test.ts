import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Catalog } from "../../lib/catalog/catalog.ts";
import { CniError } from "../../lib/cni/error.ts";
import { planAttachments, type PodRequest, type WantedNetwork } from "../../lib/pod/request.ts";
import { networks, plan, POD, refusal } from "./plan.ts";

/** Freezes a value and everything in it, so that a write to it throws. */
function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

Deno.test("F61 the caller's request is not changed, and none of its objects reaches the plugins", () => {
  const settings = {
    ips: ["10.1.0.5", "10.1.0.6"],
    mac: "02:00:00:00:00:01",
    publish: [{ hostIP: "", hostPort: 80, containerPort: 80, protocol: "tcp" as const }],
    bandwidth: { ingressRate: 1000 },
    ipRanges: [[{ subnet: "10.1.0.0/24" }]],
    dns: { servers: ["10.1.0.1"] },
    aliases: ["db"],
    annotations: { a: "1" },
    args: [["A", "1"]] as const,
  };
  const request = frozen({
    ...POD,
    ...settings,
    networks: [{ name: "a" }, { ...settings, name: "c", publish: [], ips: [], mac: "02:00:00:00:00:02" }],
  });
  const before = JSON.stringify(request);
  const planned = planAttachments(request, request, networks());
  assertEquals(JSON.stringify(request), before);
  const args = planned.flatMap(({ capabilityArgs }) => Object.values(capabilityArgs));
  for (const value of Object.values(settings)) {
    assertEquals(typeof value === "object" && args.some((own) => own === value), false);
  }
});

Deno.test("F63 a network that does not exist is an error before anything is made", () => {
  assertEquals(refusal({ networks: [{ name: "a" }, { name: "gone" }] }).kind, "not-found");
});

Deno.test("F35 a pod that names its networks needs no default network, and a pod that names none needs it", () => {
  const catalog = {
    forPod: networks().forPod,
    default: () => {
      throw new CniError("not-ready", "no usable network");
    },
  } as unknown as Catalog;
  assertEquals(plan({ networks: [{ name: "b" }] }, catalog).map(({ list }) => list.name), ["b"]);
  assertEquals(refusal({}, catalog).kind, "not-ready");
});

Deno.test("F64 F65 CNI_ARGS are the pod's, then the caller's, then the requested address and MAC", () => {
  const [first, second] = plan({
    networks: [{ name: "a" }, { name: "b" }],
    args: [["FOO", "1"], ["FOO", "2"]],
    ips: ["10.1.0.5"],
    mac: "02:00:00:00:00:01",
  });
  const pod = [
    ["IgnoreUnknown", "1"],
    ["K8S_POD_NAMESPACE", "prod"],
    ["K8S_POD_NAME", "web-0"],
    ["K8S_POD_INFRA_CONTAINER_ID", "c1"],
    ["K8S_POD_UID", "u1"],
    ["FOO", "1"],
    ["FOO", "2"],
  ] as const;
  assertEquals(first?.args, [...pod, ["IP", "10.1.0.5"], ["MAC", "02:00:00:00:00:01"]]);
  // F60: with one address for two attachments, the pod would be in conflict with itself.
  assertEquals(second?.args, pod);
  assertEquals(second?.capabilityArgs, {});
  assertEquals(plan({ uid: "" })[0]?.args[4], ["K8S_POD_UID", ""]);
});

Deno.test("B19 F69 a name or argument that would change the meaning of CNI_ARGS is refused", () => {
  for (
    const settings of [{ name: "a;b" }, { uid: "x;IP=1" }, { args: [["A", "1;B"]] as const }, {
      args: [["A=", "1"]] as const,
    }]
  ) {
    assertEquals(refusal(settings).kind, "usage");
  }
  assertEquals(refusal({ containerId: "../x" }).kind, "usage");
});

Deno.test("F1 F2 F60 each network has its own settings, and those of the pod are for the first network", () => {
  const [a, b, c] = plan({
    networks: [
      { name: "a", mac: "02:00:00:00:00:01", args: [["OWN", "a"]] },
      { name: "b", ips: ["10.2.0.5"] },
      { name: "c", ips: ["10.3.0.5"], mac: "02:00:00:00:00:03", aliases: ["db"], deviceID: "0000:04:00.5" },
    ],
    ips: ["10.1.0.5"],
    aliases: ["web"],
    args: [["POD", "1"]],
  });
  const own = (args: readonly (readonly [string, string])[] = []) => args.slice(5);
  assertEquals(own(a?.args), [["POD", "1"], ["OWN", "a"], ["IP", "10.1.0.5"], ["MAC", "02:00:00:00:00:01"]]);
  assertEquals(own(b?.args), [["POD", "1"], ["IP", "10.2.0.5"]]);
  assertEquals(own(c?.args), [["POD", "1"], ["IP", "10.3.0.5"], ["MAC", "02:00:00:00:00:03"]]);
  assertEquals(a?.capabilityArgs, { ips: ["10.1.0.5"], mac: "02:00:00:00:00:01", aliases: ["web"] });
  assertEquals(b?.capabilityArgs, {});
  assertEquals(c?.capabilityArgs, {
    ips: ["10.3.0.5"],
    mac: "02:00:00:00:00:03",
    aliases: ["db"],
    deviceID: "0000:04:00.5",
  });
  // The result is compared with these.
  assertEquals([a, b, c].map((planned) => [planned?.settings.ips, planned?.settings.mac]), [
    [["10.1.0.5"], "02:00:00:00:00:01"],
    [["10.2.0.5"], undefined],
    [["10.3.0.5"], "02:00:00:00:00:03"],
  ]);
});

Deno.test("F59 F60 if a network is named twice, only the first attachment gets the settings of the pod, and each may have its own", () => {
  const [first, second] = plan({ networks: [{ name: "a" }, { name: "a" }], ips: ["10.1.0.5"] });
  assertEquals([first?.settings.ips, second?.settings.ips], [["10.1.0.5"], undefined]);
  const [, own] = plan({ networks: [{ name: "a" }, { name: "a", ips: ["10.1.0.6"] }], ips: ["10.1.0.5"] });
  assertEquals(own?.settings.ips, ["10.1.0.6"]);
});

Deno.test("annotations of a network are merged over those of the pod, and its cgroup path replaces that of the pod", () => {
  const planned = plan({
    networks: [{ name: "a", annotations: { x: "own", z: "3" } }, { name: "b", cgroupPath: "/own" }, {
      name: "c",
    }],
    annotations: { x: "1", y: "2" },
    cgroupPath: "/pod",
  });
  const key = "io.kubernetes.cri.pod-annotations";
  assertEquals(planned.map(({ capabilityArgs }) => capabilityArgs), [
    { [key]: { x: "own", y: "2", z: "3" }, cgroupPath: "/pod" },
    { [key]: { x: "1", y: "2" }, cgroupPath: "/own" },
    { [key]: { x: "1", y: "2" }, cgroupPath: "/pod" },
  ]);
});

Deno.test("a setting that is given for the pod and for its first network is refused", () => {
  const port = { hostIP: "", hostPort: 80, containerPort: 80, protocol: "tcp" } as const;
  const each: readonly Partial<PodRequest>[] = [
    { ips: ["10.1.0.5"] },
    { mac: "02:00:00:00:00:01" },
    { publish: [port] },
    { bandwidth: { ingressRate: 1 } },
    { ipRanges: [[{ subnet: "10.1.0.0/24" }]] },
    { dns: { servers: ["10.1.0.1"] } },
    { aliases: ["web"] },
    { deviceID: "0000:04:00.5" },
  ];
  for (const settings of each) {
    const [member] = Object.keys(settings);
    const error = refusal({ ...settings, networks: [{ name: "a", ...settings }] });
    assertEquals({ kind: error.kind, network: error.context.network, path: error.context.path }, {
      kind: "usage",
      network: "a",
      path: member,
    });
    assertStringIncludes(error.msg, `${member} is given for the pod and for this network, its first`);
    // Any other network may have its own.
    plan({ networks: [{ name: "b" }, { name: "a", ...settings }] });
  }
  const free = { "io.example.free": 1 };
  const error = refusal({ capabilities: free, networks: [{ name: "a", capabilities: free }] });
  assertStringIncludes(error.msg, "capabilities.io.example.free is given for the pod and for this network");
  // An empty value asks for nothing.
  plan({ ips: [], dns: { servers: [] }, bandwidth: {}, networks: [{ name: "a", ips: ["10.1.0.5"] }] });
});

Deno.test("one address or MAC address for two attachments of one network is refused, but not for two networks", () => {
  const ips = refusal({ networks: [{ name: "a", ips: ["fd00::5"] }, { name: "a", ips: ["FD00:0::5"] }] });
  assertEquals({ kind: ips.kind, msg: ips.msg }, {
    kind: "usage",
    msg: 'the address FD00:0::5 is requested twice, for "eth0" and "eth1"',
  });
  const mac = refusal({
    networks: [{ name: "a" }, { name: "a", ifName: "net1", mac: "02-00-00-00-00-0A" }],
    mac: "02:00:00:00:00:0a",
  });
  assertEquals(mac.msg, 'the MAC address 02-00-00-00-00-0A is requested twice, for "eth0" and "net1"');
  plan({ networks: [{ name: "a", ips: ["10.1.0.5"] }, { name: "c", ips: ["10.1.0.5"] }] });
});

Deno.test("one port of the host cannot lead to two places, however its address is written", () => {
  const at = (hostIP: string, protocol: "tcp" | "udp" = "tcp", hostPort = 80) => ({
    hostIP,
    hostPort,
    containerPort: 80,
    protocol,
  });
  const clashes = [["", ""], ["", "10.0.0.1"], ["0.0.0.0", "10.0.0.1"], ["::", "fd00::1"], [
    "fd00::1",
    "FD00:0::1",
  ], ["::ffff:10.0.0.1", "10.0.0.1"]];
  for (const [one = "", other = ""] of clashes) {
    for (const publish of [[at(one), at(other)], [at(other), at(one)]]) {
      const error = refusal({ publish });
      assertEquals(
        { kind: error.kind, path: error.context.path },
        { kind: "usage", path: "publish" },
        `${one} ${other}`,
      );
      assertStringIncludes(error.msg, "80/tcp");
    }
    refusal({ publish: [at(one)], networks: [{ name: "a" }, { name: "c", publish: [at(other)] }] });
  }
  const fine = [["10.0.0.1", "10.0.0.2"], ["0.0.0.0", "::"], ["0.0.0.0", "fd00::1"]];
  for (const [one = "", other = ""] of fine) plan({ publish: [at(one), at(other)] });
  plan({ publish: [at(""), at("", "udp"), at("", "tcp", 81)] });
  // The same port, given as a free capability.
  const portMappings = [{ hostPort: 80, containerPort: 1 }];
  refusal(
    { publish: [at("")], networks: [{ name: "a" }, { name: "c", capabilities: { portMappings } }] },
  );
});

Deno.test('a pod whose networks are "none" has no attachments, and no network has to exist', () => {
  const empty = {
    forPod: networks().forPod,
    default: () => networks().forPod("gone"),
  } as unknown as ReturnType<
    typeof networks
  >;
  assertEquals(
    plan({ networks: "none", annotations: { a: "1" }, args: [["A", "1"]], cgroupPath: "/x" }, empty),
    [],
  );
  assertEquals(plan({ networks: "none", ips: [], publish: [], capabilities: {}, dns: {} }, empty), []);
  const asking: readonly Partial<PodRequest>[] = [
    { ips: ["10.1.0.5"] },
    { mac: "02:00:00:00:00:01" },
    { publish: [{ hostIP: "", hostPort: 80, containerPort: 80, protocol: "tcp" }] },
    { bandwidth: { egressRate: 1 } },
    { ipRanges: [[]] },
    { dns: { options: ["x"] } },
    { aliases: ["web"] },
    { deviceID: "" },
    { capabilities: { x: null } },
  ];
  for (const settings of asking) {
    const [member] = Object.keys(settings);
    const error = refusal({ ...settings, networks: "none" }, empty);
    assertEquals({ kind: error.kind, path: error.context.path }, { kind: "usage", path: member });
    assertEquals(error.msg, `${member} asks something of a network, and the pod has no network`);
  }
  assertEquals(refusal({ networks: "none", containerId: "../x" }).kind, "usage");
});

Deno.test("G47 G48 arguments that are given more than once keep their order, and none is left out", () => {
  const [planned] = plan({
    args: [["B", "2"], ["A", "1"], ["B", "3"]],
    networks: [{ name: "a", args: [["A", "own"], ["0", "zero"]] }],
  });
  assertEquals(planned?.args.slice(5), [["B", "2"], ["A", "1"], ["B", "3"], ["A", "own"], ["0", "zero"]]);
});

Deno.test("G51 the container ID and the interface name are those of the request, and are checked", () => {
  const [planned] = plan({ containerId: "Pod_1.x-y", networks: [{ name: "a", ifName: "net1" }] });
  assertEquals([planned?.ifName, planned?.args[3]], ["net1", ["K8S_POD_INFRA_CONTAINER_ID", "Pod_1.x-y"]]);
  for (const containerId of ["", "a/b", ".x", "a;b"]) assertEquals(refusal({ containerId }).kind, "usage");
});

Deno.test("only one network can have the default route of a family, and a gateway must be an address", () => {
  const [, b] = plan({ networks: [{ name: "a" }, { name: "b", defaultRoute: ["10.1.0.1", "fd00::1"] }] });
  assertEquals(b?.settings.defaultRoute, ["10.1.0.1", "fd00::1"]);
  const apart = [{ name: "a", defaultRoute: ["10.1.0.1"] }, { name: "b", defaultRoute: ["fd00::1"] }];
  assertEquals(plan({ networks: apart }).length, 2);
  const cases: readonly [NonNullable<WantedNetwork["defaultRoute"]>[], string][] = [
    [[true, true], 'IPv4 is requested twice, for "a" and "b"'],
    [[["fd00::1"], true], 'IPv6 is requested twice, for "a" and "b"'],
    [[["10.1.0.1", "10.1.0.2"]], 'IPv4 is requested twice, for "eth0"'],
    [[["gateway"]], '"gateway" is not a valid IP address'],
    [["10.1.0.1" as unknown as true], "neither true nor a list"],
  ];
  for (const [routes, msg] of cases) {
    const networks = routes.map((defaultRoute, index) => ({ name: "ab"[index] ?? "", defaultRoute }));
    const error = refusal({ networks });
    assertEquals(error.kind, "usage");
    assertStringIncludes(error.message, msg);
  }
});
