import { assertEquals } from "@std/assert";
import { type Json, type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { decodeResult } from "../../lib/cni/result.ts";
import type { SpecVersion } from "../../lib/cni/version.ts";
import { faultOf } from "./fault.ts";

const FAMILIES: readonly (readonly SpecVersion[])[] = [
  ["0.1.0", "0.2.0"],
  ["0.3.0", "0.3.1", "0.4.0"],
  ["1.0.0", "1.1.0"],
];

/** Decodes a result of version 1.1.0 and removes the version. */
function decode1(json: Record<string, Json>): JsonObject {
  const { cniVersion: _, ...members } = decodeResult(json, "1.1.0");
  return members;
}

function decodeFault(json: Json, version: SpecVersion = "1.1.0"): string {
  const { kind, code, msg } = faultOf(() => decodeResult(json, version));
  assertEquals({ kind, code }, { kind: "plugin-output", code: 6 });
  return msg;
}

Deno.test("C10 C11 F138 results of 0.1.0 and 0.2.0 have ip4 and ip6, and always dns", () => {
  for (const cniVersion of FAMILIES[0]!) {
    assertEquals(decodeResult({ ip4: null, ip6: null }, cniVersion), { cniVersion, dns: {} });
    assertEquals(
      decodeResult({ ip4: { ip: "10.0.0.2/24", gateway: "", routes: [] } }, cniVersion),
      { cniVersion, ip4: { ip: "10.0.0.2/24" }, dns: {} },
    );
    const full = {
      cniVersion,
      ip4: {
        ip: "10.0.0.2/24",
        gateway: "10.0.0.1",
        routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1", mtu: 1400 }],
      },
      ip6: { ip: "fd00::2/64" },
      dns: { nameservers: ["10.0.0.1"] },
    };
    assertEquals(decodeResult(full, cniVersion), full);
  }
});

Deno.test("C12 C13 C14 results of 0.3.0 to 0.4.0 always have dns, name, version and address", () => {
  for (const cniVersion of FAMILIES[1]!) {
    assertEquals(decodeResult({ interfaces: [], ips: null, routes: [] }, cniVersion), {
      cniVersion,
      dns: {},
    });
    assertEquals(
      decodeResult({
        interfaces: [{}, { name: "eth0", mac: "", sandbox: "" }],
        ips: [
          { address: "10.0.0.2/24" },
          { version: "6", address: "fd00::2/64", interface: 0, gateway: null },
          { version: "4", address: "10.0.0.3/24", interface: null },
        ],
      }, cniVersion),
      {
        cniVersion,
        interfaces: [{ name: "" }, { name: "eth0" }],
        ips: [
          { version: "", address: "10.0.0.2/24" },
          { version: "6", interface: 0, address: "fd00::2/64" },
          { version: "4", address: "10.0.0.3/24" },
        ],
        dns: {},
      },
    );
  }
});

Deno.test("C15 C19 results of 1.0.0 and later have dns only if it is not empty", () => {
  for (const dns of [null, {}, { nameservers: [], domain: "", search: null, options: [] }]) {
    assertEquals(decode1({ dns }), {});
  }
  const dns = { nameservers: ["10.0.0.1"], domain: "a", search: ["b"], options: ["c"] };
  assertEquals(decode1({ dns }), { dns });
});

Deno.test("C16 both 1.x versions have every member of an interface", () => {
  const link = {
    name: "eth0",
    mac: "02:00:00:00:00:01",
    mtu: 1500,
    sandbox: "/n",
    socketPath: "/s",
    pciID: "1",
  };
  for (const cniVersion of FAMILIES[2]!) {
    assertEquals(decodeResult({ interfaces: [link] }, cniVersion), { cniVersion, interfaces: [link] });
  }
  const empty = { name: "eth0", mac: "", mtu: 0, sandbox: null, socketPath: "", pciID: "" };
  assertEquals(decode1({ interfaces: [empty] }), { interfaces: [{ name: "eth0" }] });
});

Deno.test("C17 the `version` of an address is never in a result of 1.x", () => {
  const interfaces = [{ name: "eth0" }];
  assertEquals(decode1({ interfaces, ips: [{ version: "6", address: "10.0.0.2/24", interface: 0 }] }), {
    interfaces,
    ips: [{ interface: 0, address: "10.0.0.2/24" }],
  });
});

Deno.test("C18 routes omit members that are zero, except table and scope", () => {
  const zero = { dst: "0.0.0.0/0", gw: "", mtu: 0, advmss: 0, priority: 0, table: 0, scope: 0 };
  assertEquals(decode1({ routes: [zero, { dst: "::/0", gw: null, table: null, scope: null }] }), {
    routes: [{ dst: "0.0.0.0/0", table: 0, scope: 0 }, { dst: "::/0" }],
  });
  const full = { dst: "::/0", gw: "fd00::1", mtu: 1400, advmss: 1360, priority: 100, table: 7, scope: 253 };
  assertEquals(decode1({ routes: [full] }), { routes: [full] });
});

Deno.test("C20 addresses get canonical form and keep their host part", () => {
  assertEquals(
    decode1({
      ips: [{ address: "FD00:0::2/64", gateway: "FD00:0:0::1" }, { address: "::ffff:10.2.3.1/120" }],
      routes: [{ dst: "10.2.3.1/24", gw: "::ffff:10.0.0.1" }],
    }),
    {
      ips: [{ address: "fd00::2/64", gateway: "fd00::1" }, { address: "10.2.3.1/24" }],
      routes: [{ dst: "10.2.3.1/24", gw: "10.0.0.1" }],
    },
  );
});

Deno.test("C21 refuses a value that is not an address, with its path", () => {
  const bad = "010.0.0.1/24";
  const cases: [Record<string, Json>, SpecVersion, string][] = [
    [{ ips: [{ address: "10.0.0.1" }] }, "1.1.0", "ips[0].address: invalid CIDR address: 10.0.0.1"],
    [{ ips: [{ address: "10.0.0.1/33" }] }, "1.0.0", "ips[0].address: invalid CIDR address: 10.0.0.1/33"],
    [
      { ips: [{ address: "::1/64" }, { address: bad }] },
      "0.4.0",
      `ips[1].address: invalid CIDR address: ${bad}`,
    ],
    [{ routes: [{ dst: bad }] }, "1.1.0", `routes[0].dst: invalid CIDR address: ${bad}`],
    [{ ip4: { ip: bad } }, "0.2.0", `ip4.ip: invalid CIDR address: ${bad}`],
    [
      { ip6: { ip: "::1/64", routes: [{ dst: bad }] } },
      "0.1.0",
      `ip6.routes[0].dst: invalid CIDR address: ${bad}`,
    ],
    [{ ips: [{ address: "::1/64", gateway: "x" }] }, "1.1.0", "ips[0].gateway: invalid IP address: x"],
    [{ routes: [{ dst: "::/0", gw: "::1/64" }] }, "0.3.1", "routes[0].gw: invalid IP address: ::1/64"],
    [
      { ip4: { ip: "10.0.0.1/8", gateway: "01.0.0.1" } },
      "0.1.0",
      "ip4.gateway: invalid IP address: 01.0.0.1",
    ],
  ];
  for (const [json, version, msg] of cases) assertEquals(decodeFault(json, version), msg);
});

Deno.test("C22 integers are integers", () => {
  const cases: [string, string][] = [
    ['{"interfaces":[{"mtu":1.5}]}', "interfaces[0].mtu must be an integer, not 1.5"],
    ['{"interfaces":[{"mtu":1500.0}]}', "interfaces[0].mtu must be an integer, not 1500.0"],
    ['{"interfaces":[{"mtu":"1500"}]}', "interfaces[0].mtu must be an integer, not a string"],
    ['{"ips":[{"address":"::1/64","interface":"0"}]}', "ips[0].interface must be an integer, not a string"],
    ['{"ips":[{"address":"::1/64","interface":1e2}]}', "ips[0].interface must be an integer, not 1e2"],
    ['{"routes":[{"dst":"::/0","table":true}]}', "routes[0].table must be an integer, not a boolean"],
    ['{"routes":[{"dst":"::/0","scope":1e400}]}', "routes[0].scope must be an integer, not 1e400"],
    ['{"routes":[{"dst":"::/0","priority":1e+21}]}', "routes[0].priority must be an integer, not 1e+21"],
    [
      '{"interfaces":[{"mtu":9007199254740993}]}',
      "interfaces[0].mtu must be an integer below 2^53, not 9007199254740993",
    ],
  ];
  for (const [text, msg] of cases) assertEquals(decodeFault(parseJson(text)), msg);
  assertEquals(decodeResult(parseJson('{"routes":[{"dst":"::/0","table":-0}]}'), "1.1.0")["routes"], [
    { dst: "::/0", table: 0 },
  ]);
});

Deno.test("C23 refuses a missing address", () => {
  const cases: [Record<string, Json>, SpecVersion, string][] = [
    [{ ips: [{}] }, "1.1.0", "ips[0].address is missing"],
    [{ ips: [{ address: null }] }, "0.4.0", "ips[0].address is missing"],
    [{ ips: [{ address: "" }] }, "1.0.0", "ips[0].address is missing"],
    [{ routes: [{ gw: "::1" }] }, "1.1.0", "routes[0].dst is missing"],
    [{ ip4: {} }, "0.2.0", "ip4.ip is missing"],
  ];
  for (const [json, version, msg] of cases) assertEquals(decodeFault(json, version), msg);
});

Deno.test("C25 the answer of an IPAM plugin is a result", () => {
  const json = { cniVersion: "1.1.0", ips: [{ address: "10.0.0.2/24", gateway: "10.0.0.1" }] };
  assertEquals(decodeResult(json, "1.1.0"), json);
});

Deno.test("C47 refuses null entries", () => {
  for (const version of ["0.4.0", "1.0.0"] as const) {
    for (const key of ["interfaces", "ips", "routes"]) {
      assertEquals(decodeFault({ [key]: [null] }, version), `${key}[0] is null`);
    }
  }
  assertEquals(decodeFault({ ip4: { ip: "10.0.0.1/8", routes: [null] } }, "0.2.0"), "ip4.routes[0] is null");
  assertEquals(decodeFault({ dns: { search: ["a", null] } }), "dns.search[1] is null");
});

Deno.test("refuses members of the wrong type, with their path", () => {
  const cases: [Record<string, Json>, SpecVersion, string][] = [
    [{ interfaces: {} }, "1.1.0", "interfaces must be an array, not an object"],
    [{ interfaces: ["eth0"] }, "0.3.0", "interfaces[0] must be an object, not a string"],
    [{ interfaces: [{ name: 1 }] }, "1.1.0", "interfaces[0].name must be a string, not 1"],
    [{ ips: "10.0.0.1/8" }, "1.1.0", "ips must be an array, not a string"],
    [{ ips: [{ address: 1 }] }, "1.1.0", "ips[0].address must be a string, not 1"],
    [{ ips: [{ address: "::1/64", version: 6 }] }, "0.4.0", "ips[0].version must be a string, not 6"],
    [{ routes: [[]] }, "1.1.0", "routes[0] must be an object, not an array"],
    [{ dns: [] }, "1.1.0", "dns must be an object, not an array"],
    [{ dns: "a" }, "0.2.0", "dns must be an object, not a string"],
    [{ dns: { search: "a" } }, "0.4.0", "dns.search must be an array, not a string"],
    [{ dns: { nameservers: [1] } }, "1.1.0", "dns.nameservers[0] must be a string, not 1"],
    [{ ip4: "10.0.0.1/8" }, "0.1.0", "ip4 must be an object, not a string"],
  ];
  for (const [json, version, msg] of cases) assertEquals(decodeFault(json, version), msg);
});
