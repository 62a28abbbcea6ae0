import { assertEquals } from "@std/assert";
import { type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { asResult, convertResult, type Result } from "../../lib/cni/result.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../../lib/cni/version.ts";
import { faultOf } from "./fault.ts";

const DNS = { nameservers: ["10.0.0.1"], domain: "local", search: ["a"], options: ["b"] };
const ROUTE = {
  dst: "0.0.0.0/0",
  gw: "10.0.0.1",
  mtu: 1400,
  advmss: 1360,
  priority: 1,
  table: 0,
  scope: 253,
};

/** The same attachment in each family. */
const SAMPLES: Readonly<Record<SpecVersion, JsonObject>> = (() => {
  const old = {
    ip4: { ip: "10.0.0.2/24", gateway: "10.0.0.1", routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }] },
    ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0" }] },
    dns: DNS,
  };
  const ips = [{ address: "10.0.0.2/24", gateway: "10.0.0.1" }, { address: "fd00::2/64" }];
  const routes = [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }, { dst: "::/0" }];
  const middle = { ips: [{ version: "4", ...ips[0] }, { version: "6", ...ips[1] }], routes, dns: DNS };
  const today = { ips, routes, dns: DNS };
  return {
    "0.1.0": { cniVersion: "0.1.0", ...old },
    "0.2.0": { cniVersion: "0.2.0", ...old },
    "0.3.0": { cniVersion: "0.3.0", ...middle },
    "0.3.1": { cniVersion: "0.3.1", ...middle },
    "0.4.0": { cniVersion: "0.4.0", ...middle },
    "1.0.0": { cniVersion: "1.0.0", ...today },
    "1.1.0": { cniVersion: "1.1.0", ...today },
  } as Readonly<Record<SpecVersion, JsonObject>>;
})();

Deno.test("C29 C45 every version converts into every other, and back", () => {
  for (const from of SPEC_VERSIONS) {
    for (const to of SPEC_VERSIONS) {
      assertEquals(convertResult(SAMPLES[from], to), SAMPLES[to], `${from} ${to}`);
    }
  }
});

Deno.test("C26 the empty version is 0.1.0", () => {
  assertEquals(convertResult(SAMPLES["1.1.0"], ""), SAMPLES["0.1.0"]);
});

Deno.test("C31 0.1.0 and 0.2.0 share everything, route attributes included", () => {
  const json = { cniVersion: "0.1.0", ip4: { ip: "10.0.0.2/24", routes: [ROUTE] }, dns: {} };
  assertEquals(convertResult(json, "0.2.0"), { ...json, cniVersion: "0.2.0" });
});

Deno.test("C32 the `version` of an old result follows the member, not the address", () => {
  const json = { cniVersion: "0.2.0", ip4: { ip: "fd00::2/64" }, ip6: { ip: "10.0.0.2/24" } };
  assertEquals(convertResult(json, "0.4.0"), {
    cniVersion: "0.4.0",
    ips: [{ version: "4", address: "fd00::2/64" }, { version: "6", address: "10.0.0.2/24" }],
    dns: {},
  });
});

Deno.test("C33 routes of an old result are joined, with all attributes and duplicates", () => {
  const json = {
    cniVersion: "0.2.0",
    ip4: { ip: "10.0.0.2/24", routes: [ROUTE, { dst: "10.1.0.0/16" }] },
    ip6: { ip: "fd00::2/64", routes: [ROUTE] },
  };
  assertEquals(convertResult(json, "0.3.0")["routes"], [ROUTE, { dst: "10.1.0.0/16" }, ROUTE]);
  assertEquals(convertResult(json, "1.1.0")["routes"], [ROUTE, { dst: "10.1.0.0/16" }, ROUTE]);
});

Deno.test("C34 a gateway becomes neither a route nor a next hop", () => {
  const json = {
    cniVersion: "0.2.0",
    ip4: { ip: "10.0.0.2/24", gateway: "10.0.0.1", routes: [{ dst: "0.0.0.0/0" }] },
    ip6: { ip: "fd00::2/64", gateway: "fd00::1" },
  };
  assertEquals(convertResult(json, "1.1.0"), {
    cniVersion: "1.1.0",
    ips: [{ address: "10.0.0.2/24", gateway: "10.0.0.1" }, { address: "fd00::2/64", gateway: "fd00::1" }],
    routes: [{ dst: "0.0.0.0/0" }],
  });
  assertEquals(convertResult(convertResult(json, "0.4.0"), "0.2.0"), { ...json, dns: {} });
});

Deno.test("C36 an old result gets the first address of each `version`, whatever the address is", () => {
  const json = {
    cniVersion: "0.4.0",
    ips: [
      { version: "5", address: "10.0.0.1/24" },
      { version: "6", address: "10.0.0.2/24" },
      { version: "4", address: "fd00::3/64" },
      { version: "4", address: "10.0.0.4/24" },
    ],
  };
  assertEquals(convertResult(json, "0.2.0"), {
    cniVersion: "0.2.0",
    ip4: { ip: "fd00::3/64" },
    ip6: { ip: "10.0.0.2/24" },
    dns: {},
  });
});

Deno.test("C48 the family of an address without `version` follows from the address", () => {
  for (const version of [{}, { version: "" }, { version: null }]) {
    const json = {
      cniVersion: "0.3.1",
      ips: [{ ...version, address: "fd00::2/64" }, { ...version, address: "::ffff:10.0.0.2/120" }],
    };
    assertEquals(convertResult(json, "0.1.0"), {
      cniVersion: "0.1.0",
      ip4: { ip: "10.0.0.2/24" },
      ip6: { ip: "fd00::2/64" },
      dns: {},
    });
  }
});

Deno.test("C37 an old result gets the routes of the families that it has, without attributes", () => {
  const routes = [ROUTE, { dst: "::/0", gw: "fd00::1", table: 5 }, { dst: "::ffff:10.9.0.0/112" }];
  const ips = [{ version: "4", address: "10.0.0.2/24" }];
  assertEquals(convertResult({ cniVersion: "0.4.0", ips, routes }, "0.2.0"), {
    cniVersion: "0.2.0",
    ip4: { ip: "10.0.0.2/24", routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }, { dst: "10.9.0.0/16" }] },
    dns: {},
  });
});

Deno.test("C38 an old result needs an address", () => {
  const none: JsonObject[] = [
    { cniVersion: "0.4.0" },
    { cniVersion: "0.4.0", ips: [{ version: "5", address: "10.0.0.2/24" }] },
    { cniVersion: "1.1.0", interfaces: [{ name: "eth0" }] },
  ];
  for (const json of none) {
    for (const to of ["0.1.0", "0.2.0"] as const) {
      assertEquals(faultOf(() => convertResult(json, to)), {
        kind: "plugin-output",
        code: 6,
        msg: "cannot convert: no valid IP addresses",
      });
    }
  }
});

Deno.test("C39 C40 C41 C44 interfaces and indices exist from 0.3.0 on, their newer members from 1.0.0 on", () => {
  const json = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "veth0" }, {
      name: "eth0",
      mac: "m",
      mtu: 9000,
      sandbox: "/n",
      socketPath: "/s",
      pciID: "p",
    }],
    ips: [{ interface: 1, address: "10.0.0.2/24" }, { interface: 0, address: "fd00::2/64" }, {
      address: "::1/128",
    }],
    routes: [ROUTE],
  };
  const middle = {
    cniVersion: "0.4.0",
    interfaces: [{ name: "veth0" }, { name: "eth0", mac: "m", sandbox: "/n" }],
    ips: [
      { version: "4", interface: 1, address: "10.0.0.2/24" },
      { version: "6", interface: 0, address: "fd00::2/64" },
      { version: "6", address: "::1/128" },
    ],
    routes: [ROUTE],
    dns: {},
  };
  assertEquals(convertResult(json, "0.4.0"), middle);
  assertEquals(convertResult(middle, "1.0.0"), {
    ...json,
    cniVersion: "1.0.0",
    interfaces: middle.interfaces,
  });
  assertEquals(convertResult(json, "0.2.0"), {
    cniVersion: "0.2.0",
    ip4: { ip: "10.0.0.2/24", routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }] },
    ip6: { ip: "fd00::2/64" },
    dns: {},
  });
});

Deno.test("C41 `version` follows from the address, whatever the input has", () => {
  const ips = [{ version: "6", address: "10.0.0.2/24" }, { version: "4", address: "fd00::2/64" }];
  assertEquals(convertResult({ cniVersion: "1.0.0", ips }, "0.3.0")["ips"], [
    { version: "4", address: "10.0.0.2/24" },
    { version: "6", address: "fd00::2/64" },
  ]);
});

Deno.test("C43 1.0.0 and 1.1.0 differ in the version only", () => {
  const json = { cniVersion: "1.0.0", interfaces: [{ name: "eth0", mtu: 9000, pciID: "p" }], x: 1 };
  assertEquals(convertResult(json, "1.1.0"), { ...json, cniVersion: "1.1.0" });
});

Deno.test("C46 0.2.0 to 0.4.0 and back loses nothing", () => {
  assertEquals(convertResult(convertResult(SAMPLES["0.2.0"], "0.4.0"), "0.2.0"), SAMPLES["0.2.0"]);
});

Deno.test("C23 C47 a conversion checks the result as strictly as decodeResult()", () => {
  for (const ips of ["[null]", "[{}]", '[{"address":"10.0.0.1"}]']) {
    const json = { cniVersion: "1.1.0", ips: parseJson(ips) };
    for (const to of SPEC_VERSIONS) assertEquals(faultOf(() => convertResult(json, to)).code, 6);
  }
});

Deno.test("asResult() converts any version to 1.1.0", () => {
  const results: Result[] = SPEC_VERSIONS.map((version) => asResult(SAMPLES[version]));
  for (const result of results) {
    assertEquals(result.cniVersion, "1.1.0");
    assertEquals(result.ips?.[0]?.address, "10.0.0.2/24");
    assertEquals(convertResult(result, "0.2.0"), SAMPLES["0.2.0"]);
  }
});

Deno.test("C27 C35 a version of the same members, or the same version, changes nothing else", () => {
  for (const from of SPEC_VERSIONS) {
    const json = { ...SAMPLES[from], vendor: { x: parseJson("1.0") } };
    assertEquals(convertResult(json, from), json);
  }
  const json = { ...SAMPLES["0.3.0"], vendor: { x: 1 } };
  assertEquals(convertResult(json, "0.4.0"), { ...json, cniVersion: "0.4.0" });
});

Deno.test("C28 the type of a result requires its version", () => {
  // @ts-expect-error without a version
  const result: Result = { ips: [{ address: "10.0.0.2/24" }] };
  assertEquals(convertResult({ ...result, cniVersion: "1.1.0" }, "0.2.0")["ip4"], { ip: "10.0.0.2/24" });
});

Deno.test("C30 a version outside the table cannot be converted", () => {
  const to = "1.2.0" as SpecVersion;
  assertEquals(
    faultOf(() => convertResult(SAMPLES["1.1.0"], to)).msg,
    "no converter for CNI result version 1.1.0 to 1.2.0",
  );
  assertEquals(
    faultOf(() => convertResult({ cniVersion: "1.2.0" }, "1.1.0")).msg,
    'unsupported CNI result version "1.2.0"',
  );
});
