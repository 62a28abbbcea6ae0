import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { OWN_ANNOTATION, readAnnotations, STANDARD_ANNOTATION } from "../../lib/nri/annotations.ts";
import { parsePolicy, readPolicy } from "../../lib/nri/policy.ts";

const FILE = "/etc/podwire/nri.json";

function refusal(policy: unknown): CniError {
  const text = typeof policy === "string" ? policy : JSON.stringify(policy);
  const error = assertThrows(() => parsePolicy(text, FILE), CniError);
  assertEquals({ kind: error.kind, file: error.context.file }, { kind: "config", file: FILE });
  return error;
}

Deno.test("an empty policy lets no pod use a network, and reads both annotations", () => {
  assertEquals(parsePolicy("{}", FILE), {
    file: FILE,
    annotations: [STANDARD_ANNOTATION, OWN_ANNOTATION],
    names: {},
    networks: {},
    clusterCidrs: [],
  });
});

Deno.test("a policy is read with all of its fields", () => {
  const policy = {
    annotations: [OWN_ANNOTATION],
    names: { "shop/storage": "storage-v2" },
    networks: {
      "storage-v2": {
        namespaces: {
          shop: {
            ips: true,
            mac: true,
            hostPorts: ["80", "30000-30100"],
            bandwidth: true,
            cniArgs: ["vlan"],
            defaultRoute: true,
          },
          "*": {},
        },
      },
    },
    clusterCidrs: ["10.244.0.0/16", "FD00:10::/56"],
  };
  const { networks, names, clusterCidrs, annotations } = parsePolicy(JSON.stringify(policy), FILE);
  assertEquals({ names, clusterCidrs, annotations }, {
    names: { "shop/storage": "storage-v2" },
    clusterCidrs: ["10.244.0.0/16", "fd00:10::/56"],
    annotations: [OWN_ANNOTATION],
  });
  assertEquals(networks["storage-v2"]?.namespaces["shop"], {
    ips: true,
    mac: true,
    hostPorts: [{ first: 80, last: 80 }, { first: 30000, last: 30100 }],
    bandwidth: true,
    cniArgs: ["vlan"],
    defaultRoute: true,
  });
  assertEquals(networks["storage-v2"]?.namespaces["*"], {});
});

Deno.test("an error in the policy names the file, the line and the field", () => {
  const network = (permissions: unknown) => ({ networks: { a: { namespaces: { shop: permissions } } } });
  const rules: readonly (readonly [policy: unknown, rule: RegExp])[] = [
    ["[]", /the configuration must be an object, not an array/],
    ['{"names": {}, "names": {}}', /twice/],
    ["{", /nri\.json:1:2: /],
    [{ network: {} }, /: network is unknown; there are annotations, names, networks, clusterCidrs$/],
    [{ names: { storage: "a" } }, /: names\.storage is not NAMESPACE\/NAME$/],
    [{ names: { "shop/a": "b" } }, /: names\["shop\/a"\] is the network "b", which networks does not list$/],
    [
      { networks: { "a b": { namespaces: {} } } },
      /: networks\["a b"\] is not the name of a network: invalid/,
    ],
    [{ networks: { a: {} } }, /: networks\.a\.namespaces is missing$/],
    [
      { networks: { a: { namespaces: ["shop"] } } },
      /: networks\.a\.namespaces must be an object, not an array$/,
    ],
    [
      { networks: { a: { namespaces: { Shop: {} } } } },
      /: networks\.a\.namespaces\.Shop is not the name of a namespace/,
    ],
    [network({ ip: true }), /: networks\.a\.namespaces\.shop\.ip is unknown; there are ips, mac, hostPorts,/],
    [network({ ips: "yes" }), /: networks\.a\.namespaces\.shop\.ips must be true or false, not a string$/],
    [
      network({ hostPorts: ["80-70"] }),
      /: networks\.a\.namespaces\.shop\.hostPorts\[0\] must be PORT or FIRST-LAST/,
    ],
    [
      network({ hostPorts: [80] }),
      /: networks\.a\.namespaces\.shop\.hostPorts\[0\] must be a string, not a number$/,
    ],
    [
      { clusterCidrs: ["10.0.0.1/8"] },
      /: clusterCidrs\[0\] has host bits: the subnet of 10\.0\.0\.1\/8 is 10\.0\.0\.0\/8$/,
    ],
    [{ clusterCidrs: ["0.0.0.0/0"] }, /: clusterCidrs\[0\] is the default route/],
    [{ clusterCidrs: ["10.0.0.1"] }, /: clusterCidrs\[0\] must be a subnet/],
    [{ annotations: ["other"] }, /: annotations\[0\] must be one of k8s\.v1\.cni\.cncf\.io\/networks,/],
  ];
  for (const [policy, rule] of rules) {
    const { message } = refusal(policy);
    assert(rule.test(message), `${JSON.stringify(policy)}: ${message}`);
    assert(message.startsWith(`${FILE}:1:`), message);
  }
});

Deno.test("a policy that is not there is an error that names the file", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const error = await assertRejects(() => readPolicy(`${dir}/nri.json`), CniError);
    assertEquals({ kind: error.kind, message: error.message }, {
      kind: "config",
      message: `${dir}/nri.json: the policy for the networks of pods does not exist`,
    });
    await Deno.writeTextFile(`${dir}/nri.json`, '{"clusterCidrs": ["10.0.0.0/8"]}');
    assertEquals((await readPolicy(`${dir}/nri.json`)).clusterCidrs, ["10.0.0.0/8"]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the policies and the annotations in the documentation are valid", async () => {
  const text = await Deno.readTextFile(new URL("../../docs/nri-networks.md", import.meta.url));
  const policies = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(([, policy = ""]) =>
    parsePolicy(policy, FILE)
  );
  assertEquals(policies.map(({ networks }) => Object.keys(networks)), [["san", "lan"], []]);
  const values = [...text.matchAll(/cncf\.io\/networks: (?:\|\n\s+)?(.+)/g)].map(([, value = ""]) => value);
  const read = values.map((value) =>
    readAnnotations({ [STANDARD_ANNOTATION]: value }).map(({ ifName }) => ifName)
  );
  assertEquals(read, [["net1", "lan0"], ["data"]]);
});
