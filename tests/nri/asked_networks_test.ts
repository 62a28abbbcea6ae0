import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { OWN_ANNOTATION, STANDARD_ANNOTATION } from "../../lib/nri/annotations.ts";
import { networksOf, wantedNetworksOf } from "../../lib/nri/asked_networks.ts";
import { parsePolicy } from "../../lib/nri/policy.ts";
import { property } from "../cni/random.ts";

const FILE = "/etc/podwire/nri.json";
const ALL = {
  ips: true,
  mac: true,
  hostPorts: ["8000-8010"],
  bandwidth: true,
  cniArgs: ["vlan"],
  defaultRoute: true,
};
const POLICY = parsePolicy(
  JSON.stringify({
    clusterCidrs: ["10.244.0.0/16"],
    names: { "shop/storage": "san", "infra/lan": "lan" },
    networks: {
      san: { namespaces: { shop: ALL, lab: {} } },
      lan: { namespaces: { "*": {}, shop: { ips: true } } },
    },
  }),
  FILE,
);

function podIn(namespace: string, value: unknown, annotation: string = STANDARD_ANNOTATION) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return { name: "web", namespace, uid: "1", annotations: { [annotation]: text, other: "x" } };
}

function asked(namespace: string, value: unknown, annotation: string = STANDARD_ANNOTATION) {
  return networksOf(podIn(namespace, value, annotation), POLICY).map(({ network, title, ifName }) =>
    `${title}=${network}@${ifName}`
  );
}

function refusal(namespace: string, value: unknown, annotation: string = STANDARD_ANNOTATION): string {
  const error = assertThrows(() => networksOf(podIn(namespace, value, annotation), POLICY), CniError);
  assertEquals(error.kind, "permission");
  return error.message;
}

Deno.test("a pod that asks for nothing gets nothing, whatever the policy says", () => {
  const pod = { name: "web", namespace: "other", uid: "1", annotations: { a: "b" } };
  assertEquals(networksOf(pod, parsePolicy("{}", FILE)), []);
});

Deno.test("a name with its namespace, or in the pod's namespace, is looked up in the table", () => {
  assertEquals(asked("shop", "storage"), ["shop/storage=san@net1"]);
  assertEquals(asked("lab", "shop/storage@data"), ["shop/storage=san@data"]);
  assertEquals(asked("any", "infra/lan,infra/lan"), ["infra/lan=lan@net1", "infra/lan=lan@net2"]);
});

Deno.test("a plain name is a network of podwire that is listed for the namespace", () => {
  assertEquals(asked("shop", "san"), ["shop/san=san@net1"]);
  assertEquals(asked("shop", "san,lan@x", OWN_ANNOTATION), ["shop/san=san@net1", "shop/lan=lan@x"]);
});

Deno.test("a refusal names the namespace, the network and the rule", () => {
  const place = `annotation ${STANDARD_ANNOTATION}, element 1`;
  assertEquals(
    refusal("other", "shop/storage"),
    `${place}: pods of namespace "other" may not use network "san": ` +
      `networks.san.namespaces of ${FILE} lists neither the namespace nor "*"`,
  );
  assertEquals(refusal("lab", "storage"), `${place}: there is no network "lab/storage"`);
  assertEquals(
    refusal("lab", "secret", OWN_ANNOTATION),
    `annotation ${OWN_ANNOTATION}, element 1: pods of namespace "lab" may not use network "secret": ` +
      `networks of ${FILE} does not list the network`,
  );
});

Deno.test("each thing that may be asked for is closed until the namespace may ask for it", () => {
  const things = {
    ips: { ips: ["10.1.0.5"] },
    mac: { mac: "02:00:00:00:00:01" },
    "portMappings[0].hostPort": { portMappings: [{ hostPort: 8000, containerPort: 80 }] },
    bandwidth: { bandwidth: { ingressRate: 5 } },
    "cni-args.vlan": { "cni-args": { vlan: 5 } },
    "default-route": { "default-route": [] },
  };
  const rules = {
    ips: ["addresses", "ips"],
    mac: ["a MAC address", "mac"],
    "portMappings[0].hostPort": ["port 8000 of the host", "hostPorts"],
    bandwidth: ["limits of its traffic", "bandwidth"],
    "cni-args.vlan": ['the argument "vlan"', "cniArgs"],
    "default-route": ["the default route", "defaultRoute"],
  };
  for (const [key, thing] of Object.entries(things)) {
    const value = [{ name: "storage", namespace: "shop", ...thing }];
    assertEquals(asked("shop", value), ["shop/storage=san@net1"], key);
    const [what, member] = rules[key as keyof typeof rules];
    assertEquals(
      refusal("lab", value),
      `annotation ${STANDARD_ANNOTATION}, element 1, key "${key}": pods of namespace "lab" may not ask network "san" for ` +
        `${what}: networks.san.namespaces.lab.${member} of ${FILE} does not allow it`,
    );
  }
});

Deno.test("a port outside the allowed ones and a key that is not listed are refused", () => {
  const port = (hostPort: number) => [{ name: "san", portMappings: [{ hostPort, containerPort: 80 }] }];
  assertEquals(asked("shop", port(8010)).length, 1);
  assertEquals(refusal("shop", port(8011)).includes("for port 8011 of the host"), true);
  const args = [{ name: "san", "cni-args": { vlan: 5, constructor: 1 } }];
  assertEquals(refusal("shop", args).includes('key "cni-args.constructor"'), true);
});

Deno.test("the rule of the namespace counts, and not that of all", () => {
  const value = [{ name: "lan", namespace: "infra", ips: ["10.1.0.5"] }];
  assertEquals(asked("shop", value).length, 1);
  assertEquals(refusal("lab", value).includes("networks.lan.namespaces.*.ips"), true);
});

Deno.test("names of the language's objects are not in the tables", () => {
  for (const name of ["constructor", "shop/constructor"]) {
    assertEquals(refusal("shop", name).includes(name), true);
  }
  assertEquals(refusal("constructor", "san").includes('namespace "constructor"'), true);
});

Deno.test("what is asked for becomes the networks of a sandbox", () => {
  const element = {
    name: "storage",
    interface: "data",
    ips: ["10.1.0.5"],
    mac: "02:00:00:00:00:01",
    portMappings: [{ hostPort: 8000, containerPort: 80 }],
    bandwidth: { ingressRate: 5 },
    "cni-args": { vlan: 5 },
    "default-route": ["10.1.0.1"],
  };
  assertEquals(wantedNetworksOf(networksOf(podIn("shop", [element]), POLICY)), [{
    name: "san",
    ifName: "data",
    ips: ["10.1.0.5"],
    mac: "02:00:00:00:00:01",
    publish: [{ hostPort: 8000, containerPort: 80, protocol: "tcp", hostIP: "" }],
    bandwidth: { ingressRate: 5 },
    cniArgs: { vlan: 5 },
    defaultRoute: ["10.1.0.1"],
    title: "shop/storage",
    requireCapabilities: true,
    foreignRoutes: { keep: ["10.244.0.0/16"] },
  }]);
});

property("no pod gets a network that is not listed for its namespace", (random) => {
  const namespace = random.one(["shop", "lab", "other"]);
  const name = random.one(["san", "lan", "shop/storage", "infra/lan", "storage", "x", "infra/x"]);
  const annotation = random.one([STANDARD_ANNOTATION, OWN_ANNOTATION]);
  try {
    const [network] = networksOf(podIn(namespace, name, annotation), POLICY);
    const isListed = network?.network === "lan" || (network?.network === "san" && namespace !== "other");
    assertEquals(isListed, true, `${namespace} got ${network?.network}`);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    assertEquals(error.kind, "permission");
  }
}, 1_000);
