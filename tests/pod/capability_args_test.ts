import { assertEquals, assertStringIncludes } from "@std/assert";
import type { PodRequest, WantedNetwork } from "../../lib/pod/request.ts";
import { networks, plan, refusal } from "./plan.ts";

const MAPPING = { hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" } as const;
const argsOf = (request: Partial<PodRequest>) => plan(request)[0]?.capabilityArgs;

Deno.test("F67 F69 G46 G49 G50 every capability has the name and the shape of the conventions", () => {
  assertEquals(
    argsOf({
      publish: [{ protocol: "tcp", hostPort: 8080, containerPort: 80, hostIP: "" }],
      ips: ["10.1.0.5"],
      mac: "02:00:00:00:00:01",
      bandwidth: { ingressRate: 1000, ingressBurst: 2000, egressRate: 3000, egressBurst: 4000 },
      ipRanges: [
        [{ subnet: "10.1.2.0/24", rangeStart: "10.1.2.3", rangeEnd: "10.1.2.99", gateway: "10.1.2.254" }],
        [{ subnet: "fd00::/64" }],
      ],
      dns: { servers: ["8.8.8.8"], searches: ["internal.example.net"], options: ["ndots:2"] },
      aliases: ["db", "primary"],
      cgroupPath: "/kubelet.slice/pod.slice",
      deviceID: "0000:04:00.5",
      annotations: { "example.com/x": "1" },
      capabilities: { "io.example.free": { any: ["thing"] } },
    }),
    {
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" }],
      ips: ["10.1.0.5"],
      mac: "02:00:00:00:00:01",
      bandwidth: { ingressRate: 1000, ingressBurst: 2000, egressRate: 3000, egressBurst: 4000 },
      ipRanges: [
        [{ subnet: "10.1.2.0/24", rangeStart: "10.1.2.3", rangeEnd: "10.1.2.99", gateway: "10.1.2.254" }],
        [{ subnet: "fd00::/64" }],
      ],
      dns: { servers: ["8.8.8.8"], searches: ["internal.example.net"], options: ["ndots:2"] },
      aliases: ["db", "primary"],
      cgroupPath: "/kubelet.slice/pod.slice",
      deviceID: "0000:04:00.5",
      "io.kubernetes.cri.pod-annotations": { "example.com/x": "1" },
      "io.example.free": { any: ["thing"] },
    },
  );
});

Deno.test("F67 a setting that asks for nothing makes no capability argument", () => {
  assertEquals(argsOf({}), {});
  const nothing = { publish: [], ips: [], bandwidth: {}, ipRanges: [], dns: { servers: [] }, aliases: [] };
  assertEquals(argsOf({ ...nothing, capabilities: {} }), {});
  assertEquals(argsOf({ annotations: {} }), { "io.kubernetes.cri.pod-annotations": {} });
  assertEquals(argsOf({ dns: { searches: ["a"], options: [] } }), { dns: { searches: ["a"] } });
});

Deno.test("F67 a rate without a burst gets a burst of a tenth of a second, as plugins refuse a rate without one", () => {
  assertEquals(argsOf({ bandwidth: { ingressRate: 10_000_000 } }), {
    bandwidth: { ingressRate: 10_000_000, ingressBurst: 1_000_000 },
  });
  assertEquals(argsOf({ bandwidth: { egressRate: 1, ingressRate: 20, ingressBurst: 7 } }), {
    bandwidth: { ingressRate: 20, ingressBurst: 7, egressRate: 1, egressBurst: 1 },
  });
  const most = argsOf({ bandwidth: { ingressRate: 1e12 } })?.bandwidth as { ingressBurst: number };
  assertEquals(most.ingressBurst / 8 < 2 ** 32, true);
});

Deno.test("F67 annotations and the cgroup path go to every network, whether it asks for them or not", () => {
  const offered = { annotations: { "example.com/x": "1" }, cgroupPath: "/x.slice" };
  for (const { capabilityArgs } of plan({ ...offered, networks: [{ name: "b" }, { name: "c" }] })) {
    assertEquals(capabilityArgs, {
      "io.kubernetes.cri.pod-annotations": offered.annotations,
      cgroupPath: "/x.slice",
    });
  }
});

Deno.test("F68 the aliases are those of the network itself", () => {
  const planned = plan({ networks: [{ name: "a", aliases: ["x"] }, { name: "c", aliases: ["y", "z"] }] });
  assertEquals(planned.map(({ capabilityArgs }) => capabilityArgs.aliases), [["x"], ["y", "z"]]);
});

Deno.test("a setting that no plugin of a network supports is refused, as it would look like success", () => {
  const cases: readonly [Omit<WantedNetwork, "name">, string][] = [
    [{ publish: [MAPPING] }, "portMappings"],
    [{ bandwidth: { ingressRate: 1 } }, "bandwidth"],
    [{ ipRanges: [[{ subnet: "10.1.0.0/24" }]] }, "ipRanges"],
    [{ dns: { servers: ["10.1.0.1"] } }, "dns"],
    [{ aliases: ["db"] }, "aliases"],
    [{ deviceID: "eth7" }, "deviceID"],
    [{ capabilities: { "io.example.free": [] } }, "io.example.free"],
    [{ ips: ["10.1.0.5", "10.1.0.6"] }, "ips"],
  ];
  for (const [settings, capability] of cases) {
    for (
      const error of [
        refusal({ ...settings, networks: [{ name: "b" }, { name: "a" }] }),
        refusal({ networks: [{ name: "a" }, { name: "b", ...settings }] }),
      ]
    ) {
      assertEquals(error.kind, "usage");
      assertEquals(error.msg, `no plugin of network "b" (bridge) takes the capability "${capability}"`);
      assertStringIncludes(error.context.hint ?? "", `"${capability}": true`);
    }
  }
  // These two can also be carried by CNI_ARGS.
  const [first] = plan({ ips: ["10.1.0.5"], mac: "02:00:00:00:00:01", networks: [{ name: "b" }] });
  assertEquals(first?.capabilityArgs, {});
});

Deno.test("two addresses are carried by the capability alone: CNI_ARGS hold one", () => {
  const [first] = plan({ ips: ["10.1.0.5", "fd00::5"] });
  assertEquals(first?.capabilityArgs.ips, ["10.1.0.5", "fd00::5"]);
  assertEquals(first?.args.some(([key]) => key === "IP"), false);
});

Deno.test("a capability that is given both freely and by its member is refused, and the error names both", () => {
  const cases: readonly [Partial<PodRequest>, string, string][] = [
    [{ publish: [MAPPING] }, "portMappings", "publish"],
    [{ ips: ["10.1.0.5"] }, "ips", "ips"],
    [{ mac: "02:00:00:00:00:01" }, "mac", "mac"],
    [{ bandwidth: { ingressRate: 1 } }, "bandwidth", "bandwidth"],
    [{ ipRanges: [[{ subnet: "10.1.0.0/24" }]] }, "ipRanges", "ipRanges"],
    [{ dns: { servers: ["10.1.0.1"] } }, "dns", "dns"],
    [{ aliases: ["db"] }, "aliases", "aliases"],
    [{ cgroupPath: "/x" }, "cgroupPath", "cgroupPath"],
    [{ deviceID: "eth7" }, "deviceID", "deviceID"],
    [{ annotations: {} }, "io.kubernetes.cri.pod-annotations", "annotations"],
  ];
  for (const [typed, capability, member] of cases) {
    const error = refusal({ ...typed, capabilities: { [capability]: [] } });
    const msg = `${member} and capabilities.${capability} both give the capability "${capability}"`;
    assertEquals({ kind: error.kind, msg: error.msg, network: error.context.network }, {
      kind: "usage",
      msg,
      network: "a",
    });
    // Alone it is allowed.
    assertEquals(argsOf({ capabilities: { [capability]: [] } }), { [capability]: [] });
  }
  // One from the pod, one from the network.
  assertEquals(
    refusal({ publish: [MAPPING], networks: [{ name: "a", capabilities: { portMappings: [] } }] }).kind,
    "usage",
  );
  assertEquals(plan({ networks: [{ name: "a" }] }, networks(["a"]))[0]?.capabilityArgs, {});
});

Deno.test("a port is published as text or as an object, with the same defaults", () => {
  const json = [{ hostPort: 8080, containerPort: 80, protocol: "tcp", hostIP: "" }];
  for (const port of ["8080:80", "8080:80/TCP", { hostPort: 8080, containerPort: 80 }, MAPPING]) {
    assertEquals(argsOf({ publish: [port] }), { portMappings: json });
    assertEquals(argsOf({ networks: [{ name: "a", publish: [port] }] }), { portMappings: json });
  }
  const error = refusal({ publish: [MAPPING, "80"] });
  assertEquals(
    { kind: error.kind, msg: error.msg, path: error.context.path, network: error.context.network },
    {
      kind: "usage",
      msg: 'publish[1]: "80" is not [HOSTIP:][HOSTPORT]:PORT[/PROTO]',
      path: "publish[1]",
      network: "a",
    },
  );
  assertStringIncludes(refusal({ publish: ["8080:80", MAPPING] }).msg, "8080/tcp is requested twice");
});

Deno.test("where capabilities are required, a setting that CNI_ARGS could carry is refused by the name of its capability", () => {
  for (
    const [name, setting] of Object.entries({ ips: { ips: ["10.1.0.5"] }, mac: { mac: "02:00:00:00:00:01" } })
  ) {
    // Network b declares none.
    const error = refusal({ networks: [{ name: "b", ...setting, requireCapabilities: true }] });
    assertEquals(error.message, `no plugin of network "b" (bridge) takes the capability "${name}"`);
    assertEquals(plan({ networks: [{ name: "b", ...setting }] })[0]?.capabilityArgs, {});
    const declared = plan({ networks: [{ name: "a", ...setting, requireCapabilities: true }] });
    assertEquals(declared[0]?.capabilityArgs, setting);
  }
});

Deno.test("ports and limits are refused by the name of their capability, wherever they come from", () => {
  const settings = {
    portMappings: { publish: [{ hostPort: 8080, containerPort: 80 }] },
    bandwidth: { bandwidth: { ingressRate: 5 } },
  };
  for (const [name, setting] of Object.entries(settings)) {
    for (const requireCapabilities of [true, false]) {
      const error = refusal({ networks: [{ name: "b", ...setting, requireCapabilities }] });
      assertEquals(error.message, `no plugin of network "b" (bridge) takes the capability "${name}"`);
    }
  }
});
