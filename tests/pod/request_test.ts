import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { Catalog } from "../../lib/pod/catalog.ts";
import { macDigits, planAttachments, type PodRequest } from "../../lib/pod/request.ts";
import { type NetworkConfigList, parseConfigList } from "../../lib/spec/config.ts";
import { CniError } from "../../lib/spec/error.ts";
import { Random } from "../spec/random.ts";

/** Networks `a`, `b` and `c`; those of `capable` declare every capability that a pod can ask for. */
function networks(capable: readonly string[] = ["a"]): Catalog {
  const names = ["portMappings", "bandwidth", "ips", "mac", "aliases", "io.kubernetes.cri.pod-annotations"];
  const capabilities = Object.fromEntries(names.map((name) => [name, true]));
  const lists = new Map(["a", "b", "c"].map((name): [string, NetworkConfigList] => {
    const plugin = { type: "bridge", ...(capable.includes(name) ? { capabilities } : {}) };
    return [name, parseConfigList(JSON.stringify({ cniVersion: "1.1.0", name, plugins: [plugin] }))];
  }));
  const get = (name: string) => {
    const list = lists.get(name);
    if (list === undefined) throw new CniError("not-found", `no network ${name}`);
    return list;
  };
  // A catalogue without a directory: the plan asks it for lists and nothing else.
  return { get, default: () => get("a") } as unknown as Catalog;
}

const POD: PodRequest = {
  containerId: "c1",
  name: "web-0",
  namespace: "prod",
  uid: "u1",
  netns: "/run/netns/c1",
};

const plan = (overrides: Partial<PodRequest> = {}, catalog: Catalog = networks()) =>
  planAttachments({ ...POD, ...overrides }, catalog);
const refusal = (overrides: Partial<PodRequest>, catalog?: Catalog) =>
  assertThrows(() => plan(overrides, catalog), CniError);
const placed = (wanted: PodRequest["networks"]) =>
  plan(wanted === undefined ? {} : { networks: wanted }).map(({ list, ifName }) => `${list.name}=${ifName}`);

Deno.test("F54 a pod that names no network gets the default one as eth0", () => {
  assertEquals(placed(undefined), ["a=eth0"]);
  assertEquals(placed([]), ["a=eth0"]);
});

Deno.test("F55 an interface name that is asked for twice is refused, naming the second network", () => {
  const error = refusal({ networks: [{ name: "a", ifName: "net1" }, { name: "b", ifName: "net1" }] });
  assertEquals([error.kind, error.msg], [
    "usage",
    'network "b" requested interface name "net1" already assigned',
  ]);
  assertEquals(refusal({ networks: [{ name: "a", ifName: "lo" }] }).kind, "usage");
  assertEquals(refusal({ networks: [{ name: "a", ifName: "way-too-long-name" }] }).kind, "usage");
});

Deno.test("F56 F59 the others get the lowest free ethN in order, and a network may come twice", () => {
  assertEquals(placed([{ name: "a" }, { name: "b", ifName: "eth0" }, { name: "c" }]), [
    "a=eth1",
    "b=eth0",
    "c=eth2",
  ]);
  assertEquals(placed([{ name: "a", ifName: "eth1" }, { name: "b" }, { name: "c" }]), [
    "a=eth1",
    "b=eth0",
    "c=eth2",
  ]);
  assertEquals(placed([{ name: "a" }, { name: "a" }, { name: "a", ifName: "net1" }]), [
    "a=eth0",
    "a=eth1",
    "a=net1",
  ]);
});

Deno.test("F57 there are ten thousand names and no more", () => {
  const networks = Array.from({ length: 10_000 }, () => ({ name: "b" }));
  assertEquals(plan({ networks }).at(-1)?.ifName, "eth9999");
  const error = refusal({ networks: [...networks, { name: "c" }] });
  assertEquals(error.msg, 'failed to find free interface name for network "c"');
});

Deno.test("property: interface names are unique, explicit ones stand, automatic ones are the lowest free", () => {
  const random = new Random(17);
  for (let round = 0; round < 300; round++) {
    const explicit = new Set<string>();
    const wanted = [
      { name: "a" },
      ...random.list(7, () => {
        const ifName = `eth${random.below(6)}`;
        if (random.chance(50) || explicit.has(ifName)) return { name: random.one(["a", "b"]) };
        explicit.add(ifName);
        return { name: random.one(["a", "b"]), ifName };
      }),
    ];
    const names = plan({ networks: wanted }).map(({ ifName }) => ifName);
    assertEquals(new Set(names).size, wanted.length);
    const automatic: number[] = [];
    for (const [index, network] of wanted.entries()) {
      if ("ifName" in network && network.ifName !== undefined) assertEquals(names[index], network.ifName);
      else automatic.push(Number(names[index]?.slice(3)));
    }
    assertEquals(automatic, automatic.toSorted((x, y) => x - y));
    for (let n = 0; n < (automatic.at(-1) ?? 0); n++) assert(names.includes(`eth${n}`), names.join());
  }
});

Deno.test("F61 the caller's request is not written to", () => {
  const request = Object.freeze({ ...POD, networks: Object.freeze([Object.freeze({ name: "a" })]) });
  const before = JSON.stringify(request);
  planAttachments(request, networks());
  assertEquals(JSON.stringify(request), before);
});

Deno.test("F62 F63 a network that is not there is told before anything is made", () => {
  assertEquals(refusal({ networks: [{ name: "a" }, { name: "gone" }] }).kind, "not-found");
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
  // F60: one address for two attachments would be a conflict of the pod with itself.
  assertEquals(second?.args, pod);
  assertEquals(second?.capabilityArgs, {});
  assertEquals(plan({ uid: "" })[0]?.args[4], ["K8S_POD_UID", ""]);
});

Deno.test("F66 an address has no prefix, and a MAC address is one, in any of its spellings", () => {
  for (const ip of ["10.1.0.5/24", "10.1.0", "fd00::1%eth0", "", "host"]) {
    assertEquals(refusal({ ips: [ip] }).msg, `unable to parse IP address "${ip}"`);
  }
  const good = [
    "02:00:5e:10:00:01",
    "02-00-5E-10-00-01",
    "0200.5e10.0001",
    "02:00:5e:10:00:00:00:01",
    "0200.5e10.0000.0001",
    Array.from({ length: 20 }, () => "0a").join(":"),
    Array.from({ length: 10 }, () => "0a0b").join("."),
  ];
  for (const mac of good) assertEquals(plan({ mac })[0]?.args.at(-1), ["MAC", mac]);
  const bad = [
    "",
    "02",
    "02:00:5e:10:00",
    "02:00:5e:10:00:01:02",
    "02:00-5e:10:00:01",
    "020.05e1.00001",
    "0200:5e10:0001",
    "02:00:5e:10:00:0g",
    "02005e100001",
    "0200.5e10",
    "02:00:5e:10:00:01\n",
  ];
  for (const mac of bad) assertEquals(refusal({ mac }).msg, `unable to parse MAC address "${mac}"`, mac);
  assertEquals(macDigits("0A00.5e10.0001"), macDigits("0a-00-5E-10-00-01"));
});

Deno.test("F67 F69 capability arguments are there when something was asked for, with all four members of a port", () => {
  const mapping = { hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" } as const;
  const [first] = plan({
    publish: [mapping],
    ips: ["10.1.0.5"],
    mac: "02:00:00:00:00:01",
    bandwidth: { ingressRate: 1000, ingressBurst: 2000 },
    annotations: {},
    capabilities: { aliases: ["db"] },
  });
  assertEquals(first?.capabilityArgs, {
    "io.kubernetes.cri.pod-annotations": {},
    ips: ["10.1.0.5"],
    mac: "02:00:00:00:00:01",
    portMappings: [{ hostIP: "", hostPort: 8080, containerPort: 80, protocol: "tcp" }],
    bandwidth: { ingressRate: 1000, ingressBurst: 2000 },
    aliases: ["db"],
  });
  assertEquals(plan()[0]?.capabilityArgs, {});
});

Deno.test("annotations go to every network, whether it asks for them or not", () => {
  const annotations = { "example.com/x": "1" };
  const attachments = plan({ annotations, networks: [{ name: "b" }, { name: "c" }] });
  for (const { capabilityArgs } of attachments) {
    assertEquals(capabilityArgs, { "io.kubernetes.cri.pod-annotations": annotations });
  }
});

Deno.test("what no plugin of the first network would do is refused, as it would look like success", () => {
  const wishes: readonly [Partial<PodRequest>, string][] = [
    [{ publish: [{ hostIP: "", hostPort: 1, containerPort: 1, protocol: "tcp" }] }, "portMappings"],
    [{ bandwidth: { ingressRate: 1 } }, "bandwidth"],
    [{ capabilities: { aliases: [] } }, "aliases"],
    [{ ips: ["10.1.0.5", "10.1.0.6"] }, "ips"],
  ];
  for (const [wish, capability] of wishes) {
    const error = refusal({ ...wish, networks: [{ name: "b" }, { name: "a" }] });
    assertEquals(error.msg, `no plugin of network "b" (bridge) takes the capability "${capability}"`);
    assertStringIncludes(error.context.hint ?? "", `"${capability}": true`);
  }
  // These have the old way of CNI_ARGS too.
  const [first] = plan({ ips: ["10.1.0.5"], mac: "02:00:00:00:00:01", networks: [{ name: "b" }] });
  assertEquals(first?.capabilityArgs, {});
});

Deno.test("two addresses go by the capability alone: CNI_ARGS hold one", () => {
  const [first] = plan({ ips: ["10.1.0.5", "fd00::5"] });
  assertEquals(first?.capabilityArgs.ips, ["10.1.0.5", "fd00::5"]);
  assertEquals(first?.args.some(([key]) => key === "IP"), false);
});

Deno.test("B19 F69 a name or argument that would change the meaning of CNI_ARGS is refused", () => {
  for (
    const wish of [{ name: "a;b" }, { uid: "x;IP=1" }, { args: [["A", "1;B"]] as const }, {
      args: [["A=", "1"]] as const,
    }]
  ) {
    assertEquals(refusal(wish).kind, "usage");
  }
  assertEquals(refusal({ containerId: "../x" }).kind, "usage");
});
