import { assert, assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import {
  type NetworksAnnotation,
  OWN_ANNOTATION,
  readAnnotations,
  STANDARD_ANNOTATION,
} from "../../lib/nri/annotations.ts";
import { property, type Random } from "../cni/random.ts";

/** The networks of an annotation, without the members that were not written. */
function read(value: string, annotation: NetworksAnnotation = STANDARD_ANNOTATION) {
  return readAnnotations({ [annotation]: value }).map(({ annotation: _, ...network }) =>
    Object.fromEntries(Object.entries(network).filter(([, member]) => member !== undefined))
  );
}

function refusal(value: string, annotation: NetworksAnnotation = STANDARD_ANNOTATION): CniError {
  const error = assertThrows(() => readAnnotations({ [annotation]: value }), CniError);
  assertEquals(error.kind, "usage");
  assert(error.message.startsWith(`annotation ${annotation}`), error.message);
  return error;
}

/** The refusal of the second of two elements, without the place. */
function refusedElement(json: unknown): string {
  const { message } = refusal(JSON.stringify([{ name: "a" }, json]));
  const place = `annotation ${STANDARD_ANNOTATION}, element 2`;
  assert(message.startsWith(place), message);
  return message.slice(place.length).replace(/^, |^: /, "");
}

Deno.test("a pod without the annotations, or with empty ones, asks for nothing", () => {
  for (const value of ["", "  ", "\n"]) assertEquals(read(value), [], JSON.stringify(value));
  assertEquals(read("[]"), []);
  assertEquals(readAnnotations({ "k8s.v1.cni.cncf.io/network": "a" }), []);
});

Deno.test("a list of names has net1, net2 and so on by position, and named interfaces count too", () => {
  assertEquals(read("a, shop/b@lan ,c"), [
    { element: 1, name: "a", ifName: "net1" },
    { element: 2, namespace: "shop", name: "b", ifName: "lan" },
    { element: 3, name: "c", ifName: "net3" },
  ]);
});

Deno.test("a network that is named twice is two attachments", () => {
  assertEquals(read("a,a").map(({ name, ifName }) => ({ name, ifName })), [
    { name: "a", ifName: "net1" },
    { name: "a", ifName: "net2" },
  ]);
});

Deno.test("a name of an interface may be what the kernel takes, and not only a label of DNS", () => {
  for (const name of ["Lan_0", "eth0.100", "x", "fifteen-bytes-x"]) {
    assertEquals(read(`a@${name}`)[0]?.ifName, name);
    assertEquals(read(JSON.stringify([{ name: "a", interface: name }]))[0]?.ifName, name);
  }
});

Deno.test("an item of a list that is not [NAMESPACE/]NAME[@INTERFACE] is refused with its number and the rule", () => {
  const rules: Readonly<Record<string, RegExp>> = {
    "a,,b": /element 2: is empty/,
    "a,": /element 2: is empty/,
    "a/b/c": /element 1: "a\/b\/c" has more than one "\/"/,
    "a@b@c": /element 1: "a@b@c" has more than one "@"/,
    "/a": /element 1: "\/a" has an empty part/,
    "a@": /element 1: "a@" has an empty part/,
    "Shop/a": /element 1, key "namespace": must be lower-case letters/,
    "a,b_c": /element 2, key "name": must be lower-case letters/,
    "-a": /element 1, key "name": must be lower-case letters/,
    "a-": /element 1, key "name": must be lower-case letters/,
    "a@sixteen-bytes-xx": /element 1, key "interface": is refused: interface name is too long/,
    "a@b c": /element 1, key "interface": is refused: interface name contains/,
    "a@b:c": /element 1, key "interface": is refused: interface name contains/,
  };
  for (const [value, rule] of Object.entries(rules)) {
    const { message } = refusal(value);
    assert(rule.test(message), `${value}: ${message}`);
  }
});

Deno.test('a value with one of [ { and " is JSON, and must be a list of objects', () => {
  assert(/: must be a list, not an object$/.test(refusal('{"name": "a"}').message));
  assert(/: must be a list, not a string$/.test(refusal('"a"').message));
  assert(/element 1: must be an object, not a string$/.test(refusal('["a"]').message));
  assert(/: is not valid JSON: /.test(refusal('[{"name": "a"}').message));
  assert(/: is not valid JSON: .*twice/.test(refusal('[{"name": "a", "name": "b"}]').message));
});

Deno.test("every key of the standard is read", () => {
  const element = {
    name: "a",
    namespace: "shop",
    interface: "lan",
    ips: ["10.1.0.5/24", "fd00::5"],
    mac: "02:00:00:00:00:01",
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: "UDP" },
      { hostPort: 1, containerPort: 65535, hostIP: "127.0.0.1" },
    ],
    bandwidth: { ingressRate: 1000, ingressBurst: 2000, egressRate: 3000 },
    "cni-args": { vlan: 5, deep: { a: [1.50] } },
    "default-route": ["10.1.0.1", "FD00:0::1"],
    "example.com/mine": { any: "thing" },
  };
  assertEquals(read(JSON.stringify([element])), [{
    element: 1,
    name: "a",
    namespace: "shop",
    ifName: "lan",
    ips: ["10.1.0.5/24", "fd00::5"],
    mac: "02:00:00:00:00:01",
    portMappings: [
      { hostPort: 8080, containerPort: 80, protocol: "udp", hostIP: "" },
      { hostPort: 1, containerPort: 65535, protocol: "tcp", hostIP: "127.0.0.1" },
    ],
    bandwidth: { ingressRate: 1000, ingressBurst: 2000, egressRate: 3000 },
    cniArgs: { vlan: 5, deep: { a: [1.5] } },
    defaultRoute: ["10.1.0.1", "fd00::1"],
  }]);
});

Deno.test("what Go prints for members without a value asks for nothing", () => {
  const empty = { namespace: "", interface: "", mac: "", "cni-args": null, ips: null, "default-route": null };
  assertEquals(read(JSON.stringify([{ name: "a", ...empty, "infiniband-guid": "", deviceID: null }])), [
    { element: 1, name: "a", ifName: "net1" },
  ]);
  assertEquals(read(JSON.stringify([{ name: "a", portMappings: [], bandwidth: {} }])), [
    { element: 1, name: "a", ifName: "net1" },
  ]);
});

Deno.test("an empty list of default routes is not the same as none", () => {
  assertEquals(read('[{"name": "a", "default-route": []}]')[0]?.defaultRoute, []);
});

Deno.test("a wrong value is refused with its element, its key and the rule", () => {
  const rules: readonly (readonly [element: unknown, rule: string])[] = [
    [{}, 'key "name": is missing'],
    [{ name: "" }, 'key "name": must not be empty'],
    [{ name: 5 }, 'key "name": must be a string, not a number'],
    [
      { name: "B" },
      'key "name": must be lower-case letters, digits and -, with a letter or digit at both ends, not "B"',
    ],
    [{ name: "b", ips: "10.1.0.5" }, 'key "ips": must be an array, not a string'],
    [{ name: "b", ips: [] }, 'key "ips": must name an address'],
    [{ name: "b", ips: ["10.1.0.5", 5] }, 'key "ips[1]": must be a string, not a number'],
    [{ name: "b", ips: ["10.1.0.300"] }, 'key "ips[0]": is refused: unable to parse IP address "10.1.0.300"'],
    [{ name: "b", ips: ["fd00::1", "fd00:0::1"] }, 'key "ips[1]": is refused: "fd00:0::1" is given twice'],
    [
      { name: "b", mac: "02:00:00:00:01" },
      'key "mac": must be a MAC address of 6 bytes, not "02:00:00:00:01"',
    ],
    [
      { name: "b", mac: "02:00:00:00:00:00:00:01" },
      'key "mac": must be a MAC address of 6 bytes, not "02:00:00:00:00:00:00:01"',
    ],
    [
      { name: "b", mac: "01:00:5e:00:00:01" },
      'key "mac": must be the MAC address of one interface, not "01:00:5e:00:00:01"',
    ],
    [
      { name: "b", mac: "00:00:00:00:00:00" },
      'key "mac": must be the MAC address of one interface, not "00:00:00:00:00:00"',
    ],
    [
      { name: "b", interface: "a/b" },
      'key "interface": is refused: interface name contains / or : or whitespace characters',
    ],
    [
      { name: "b", interface: "x", interfaceRequest: "y" },
      'key "interfaceRequest": is "y", and key "interface" is "x"',
    ],
    [{ name: "b", "cni-args": ["x"] }, 'key "cni-args": must be an object, not an array'],
    [{ name: "b", portMappings: {} }, 'key "portMappings": must be an array, not an object'],
    [
      { name: "b", portMappings: [{ hostPort: 0, containerPort: 80 }] },
      'key "portMappings[0].hostPort": must be a whole number from 1 to 65535, not 0',
    ],
    [
      { name: "b", portMappings: [{ hostPort: 80, containerPort: 65536 }] },
      'key "portMappings[0].containerPort": must be a whole number from 1 to 65535, not 65536',
    ],
    [{ name: "b", portMappings: [{ hostPort: 80 }] }, 'key "portMappings[0].containerPort": is missing'],
    [
      { name: "b", portMappings: [{ hostPort: 80, containerPort: 80, protocol: "icmp" }] },
      'key "portMappings[0].protocol": must be one of tcp, udp, sctp, not "icmp"',
    ],
    [
      { name: "b", portMappings: [{ hostPort: 80, containerPort: 80, hostIP: "x" }] },
      'key "portMappings[0].hostIP": must be an IP address, not "x"',
    ],
    [
      { name: "b", bandwidth: { ingressBurst: 5 } },
      'key "bandwidth.ingressBurst": is refused: 5 has no effect without ingressRate',
    ],
    [
      { name: "b", bandwidth: { ingressRate: 5, egressBurst: 5 } },
      'key "bandwidth.egressBurst": is refused: 5 has no effect without egressRate',
    ],
    [
      { name: "b", bandwidth: { ingressRate: -1 } },
      'key "bandwidth.ingressRate": must be a whole number from 1 to 1000000000000, not -1',
    ],
    [{ name: "b", "default-route": "10.1.0.1" }, 'key "default-route": must be an array, not a string'],
    [
      { name: "b", "default-route": ["10.1.0.0/24"] },
      'key "default-route[0]": is refused: "10.1.0.0/24" is not a valid IP address',
    ],
    [
      { name: "b", "default-route": ["10.1.0.1", "fd00::1", "10.1.0.2"] },
      'key "default-route[2]": is a second gateway for IPv4',
    ],
    [
      { name: "b", "infiniband-guid": "c2:11:22:33:44:55:66:77" },
      'key "infiniband-guid": is not supported: ' +
      "podwire does not set the GUID of an InfiniBand device",
    ],
    [
      { name: "b", "ipam-claim-reference": "claim" },
      'key "ipam-claim-reference": is not supported: a claim is an object of the API server, which podwire does not ask',
    ],
    [
      { name: "b", deviceID: "0000:03:02.3" },
      'key "deviceID": is not supported: device plugins report their devices to the API server, which podwire does not ask',
    ],
  ];
  for (const [element, rule] of rules) assertEquals(refusedElement(element), rule, JSON.stringify(element));
});

Deno.test("an unknown key without a period is refused, and one with a period is ignored", () => {
  const message = refusedElement({ name: "b", ip: "10.1.0.5" });
  assert(message.startsWith('key "ip": is unknown; there are name, namespace, interface,'), message);
  assertEquals(refusedElement({ name: "b", Name: "c" }).startsWith('key "Name": is unknown'), true);
  assertEquals(read('[{"name": "a", "example.com": 5}]'), [{ element: 1, name: "a", ifName: "net1" }]);
});

Deno.test("the old name of the key of the interface is read, with a warning that names the place", () => {
  const warnings: string[] = [];
  const value = '[{"name": "a"}, {"name": "b", "interfaceRequest": "lan"}]';
  const networks = readAnnotations({ [STANDARD_ANNOTATION]: value }, { warn: (text) => warnings.push(text) });
  assertEquals(networks.map(({ ifName }) => ifName), ["net1", "lan"]);
  assertEquals(warnings, [
    `annotation ${STANDARD_ANNOTATION}, element 2: key "interfaceRequest" is the old name of "interface"`,
  ]);
});

Deno.test("two elements with one interface are refused, also if the second has its name by position", () => {
  assert(
    refusal("a@lan,b@lan").message.endsWith(
      'element 2, key "interface": is "lan", which element 1 has already',
    ),
  );
  assert(
    refusal("a@net2,b").message.endsWith(
      'element 2, key "interface": is "net2", which element 1 has already',
    ),
  );
});

Deno.test("only one element may have a default route, and also an empty list is one", () => {
  for (const second of [["fd00::1"], []]) {
    const value = [{ name: "a", "default-route": ["10.1.0.1"] }, { name: "b", "default-route": second }];
    const { message } = refusal(JSON.stringify(value));
    assert(
      message.endsWith(
        'element 2, key "default-route": is in element 1 already, and only one element may have it',
      ),
    );
  }
});

Deno.test("the annotation of podwire has the same grammar, and plain names as podwire's networks have", () => {
  assertEquals(read("Office_LAN.2,shop/b@lan", OWN_ANNOTATION), [
    { element: 1, name: "Office_LAN.2", ifName: "net1" },
    { element: 2, namespace: "shop", name: "b", ifName: "lan" },
  ]);
  assertEquals(read('[{"name": "Office_LAN", "interface": "lan"}]', OWN_ANNOTATION), [
    { element: 1, name: "Office_LAN", ifName: "lan" },
  ]);
  assert(/element 1, key "name": must be lower-case/.test(refusal("shop/Office", OWN_ANNOTATION).message));
  assert(
    /element 1, key "name": is refused: invalid characters/.test(refusal("a b", OWN_ANNOTATION).message),
  );
});

Deno.test("networks in both annotations are refused, unless one of them is another program's", () => {
  const annotations = { [STANDARD_ANNOTATION]: "a", [OWN_ANNOTATION]: "b" };
  const error = assertThrows(() => readAnnotations(annotations), CniError);
  assertEquals(error.message, `both annotations ${STANDARD_ANNOTATION} and ${OWN_ANNOTATION} name networks`);
  assertEquals(readAnnotations(annotations, { read: [OWN_ANNOTATION] }).map(({ name }) => name), ["b"]);
});

Deno.test("the annotation that replaces the network of the cluster is refused in a sentence", () => {
  const annotations = { "v1.multus-cni.io/default-network": "kube-system/x" };
  const error = assertThrows(() => readAnnotations(annotations), CniError);
  assertEquals(
    error.message,
    "annotation v1.multus-cni.io/default-network is not supported: podwire adds networks to a pod, and its eth0 " +
      "belongs to the network of the cluster",
  );
  assertEquals(readAnnotations(annotations, { read: [OWN_ANNOTATION] }), []);
});

const LABEL_LETTERS = "abz09-";
const ANY_LETTERS = 'ab/@,[]{}":. -_\n\u0000é0';

function word(random: Random, letters: string): string {
  return random.list(8, () => random.one([...letters])).join("");
}

property("any text is read, or refused with the name of its annotation", (random) => {
  const annotation = random.one([STANDARD_ANNOTATION, OWN_ANNOTATION]);
  const value = random.chance(50) ? word(random, ANY_LETTERS) : JSON.stringify(
    random.list(4, () => ({
      name: word(random, LABEL_LETTERS),
      [random.one(["ips", "mac", "default-route", "cni-args", "x", "x.y", "bandwidth", "portMappings"])]:
        random
          .one<unknown>(["", "10.1.0.1", [], ["10.1.0.1"], {}, null, 5, [{ hostPort: 1, containerPort: 2 }]]),
    })),
  );
  try {
    const networks = readAnnotations({ [annotation]: value });
    const names = networks.map(({ ifName }) => ifName);
    assertEquals(new Set(names).size, names.length);
    networks.forEach(({ element }, index) => assertEquals(element, index + 1));
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    assert(error.message.includes(annotation), error.message);
  }
}, 3_000);

property("both forms of a list of names are read alike", (random) => {
  const items = Array.from({ length: 1 + random.below(4) }, (_, index) => ({
    name: `n${random.below(9)}`,
    ...(random.chance(50) && { namespace: `s${random.below(9)}` }),
    ...(random.chance(50) && { interface: `if${index}` }),
  }));
  const list = items.map(({ name, namespace, interface: ifName }) =>
    `${namespace === undefined ? "" : `${namespace}/`}${name}${ifName === undefined ? "" : `@${ifName}`}`
  );
  assertEquals(read(list.join(",")), read(JSON.stringify(items)));
}, 2_000);
