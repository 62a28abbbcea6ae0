import { assertEquals } from "@std/assert";
import { isObject, type Json, MAX_DEPTH, parseJson, printJson } from "../../lib/cni/json.ts";
import { asResult, convertResult, decodePrevResult, decodeResult } from "../../lib/cni/result.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../../lib/cni/version.ts";
import { faultOf } from "./fault.ts";

const FAMILIES: readonly (readonly SpecVersion[])[] = [
  ["0.1.0", "0.2.0"],
  ["0.3.0", "0.3.1", "0.4.0"],
  ["1.0.0", "1.1.0"],
];

function decodeFault(json: Json, version: SpecVersion = "1.1.0"): string {
  const { kind, code, msg } = faultOf(() => decodeResult(json, version));
  assertEquals({ kind, code }, { kind: "plugin-output", code: 6 });
  return msg;
}

// Versions

Deno.test("B54 C9 null is an empty result", () => {
  assertEquals(decodeResult(null, "1.1.0"), { cniVersion: "1.1.0" });
  assertEquals(decodeResult(null, "0.4.0"), { cniVersion: "0.4.0", dns: {} });
});

Deno.test("B53 refuses results that are not objects", () => {
  const cases = { "[]": "an array", '"x"': "a string", "1.0": "a number", "true": "a boolean" };
  for (const [text, found] of Object.entries(cases)) {
    assertEquals(decodeFault(parseJson(text)), `the result must be an object, not ${found}`);
  }
});

Deno.test("B55 a result without version has the configuration's", () => {
  for (const written of [undefined, "", null, 7, ["1.0.0"]]) {
    for (const version of SPEC_VERSIONS) {
      const json = written === undefined ? {} : { cniVersion: written };
      assertEquals(decodeResult(json, version)["cniVersion"], version);
    }
  }
});

Deno.test("B56 B57 a result of another version is converted to the configuration's", () => {
  const answer = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }] };
  assertEquals(decodeResult(answer, "0.4.0"), {
    cniVersion: "0.4.0",
    ips: [{ version: "4", address: "10.0.0.2/24" }],
    dns: {},
  });
  assertEquals(decodeResult(answer, "0.2.0"), { cniVersion: "0.2.0", ip4: { ip: "10.0.0.2/24" }, dns: {} });
});

Deno.test("C5 refuses versions outside the table", () => {
  for (const cniVersion of ["1.1", "0.4", "1.2.0", "9.0.0", "x"]) {
    assertEquals(decodeFault({ cniVersion }), `unsupported CNI result version "${cniVersion}"`);
    faultOf(() => convertResult({ cniVersion }, "1.1.0"));
  }
});

Deno.test("C2 C4 a stored result without version is one of 0.1.0", () => {
  const expected = { cniVersion: "1.1.0", ips: [{ address: "10.0.0.2/24" }] };
  for (const version of [{}, { cniVersion: "" }, { cniVersion: null }]) {
    assertEquals(asResult({ ...version, ip4: { ip: "10.0.0.2/24" } }), expected as never);
  }
  assertEquals(
    faultOf(() => asResult({ cniVersion: 1 })).msg,
    "cniVersion must be a string, not a number",
  );
});

Deno.test("C1 versions of one family share their members, unknown ones included", () => {
  for (const family of FAMILIES) {
    for (const from of family) {
      for (const to of family) {
        const json = decodeResult({ cniVersion: from, vendor: { x: 1 } }, to);
        assertEquals([json["cniVersion"], json["vendor"]], [to, { x: 1 }]);
      }
    }
  }
});

// Unknown members

Deno.test("C7 unknown members are kept at every level if nothing is converted", () => {
  const text = '{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","vf":1.0}],' +
    '"ips":[{"address":"10.0.0.2/24","lease":9007199254740993}],"routes":[{"dst":"0.0.0.0/0","via":{}}],' +
    '"dns":{"ttl":5},"vendor":[null],"__proto__":{"x":1}}';
  assertEquals(printJson(decodeResult(parseJson(text), "1.1.0")), text);
});

Deno.test("C7 unknown members of the oldest results are kept, too", () => {
  const text = '{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","x":1},"dns":{"y":2},"z":3}';
  assertEquals(printJson(decodeResult(parseJson(text), "0.2.0")), text);
});

Deno.test("C6 a conversion removes unknown members", () => {
  const json = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0", x: 1 }],
    ips: [{ address: "10.0.0.2/24", x: 1 }],
    routes: [{ dst: "0.0.0.0/0", x: 1 }],
    dns: { domain: "a", x: 1 },
    x: 1,
  };
  for (const version of ["0.4.0", "0.2.0"] as const) {
    assertEquals(printJson(convertResult(json, version)).includes('"x"'), false);
  }
});

Deno.test("decodeResult() does not change its input", () => {
  const json = { cniVersion: "1.1.0", ips: [{ address: "FD00::1/64" }], x: {} };
  const before = printJson(json);
  for (const version of SPEC_VERSIONS) convertResult(json, version);
  decodeResult(json, "1.1.0");
  assertEquals(printJson(json), before);
  assertEquals(isObject(json), true);
});

Deno.test("C22 the interface index of a fresh answer must be one of its interfaces", () => {
  const ip = (index: number) => ({ address: "10.0.0.2/24", interface: index });
  const two = [{ name: "veth0" }, { name: "eth0" }];
  for (const version of ["0.3.0", "0.4.0", "1.0.0", "1.1.0"] as const) {
    decodeResult(
      { cniVersion: version, interfaces: two, ips: [ip(0), ip(1), { address: "::1/64" }] },
      "1.1.0",
    );
    const cases: [Json[], Json[], string][] = [
      [two, [ip(1), ip(2)], "ips[1].interface is 2, but the result has only 2 interfaces"],
      [two, [ip(-1)], "ips[0].interface is -1, but the result has only 2 interfaces"],
      [[{ name: "eth0" }], [ip(1)], "ips[0].interface is 1, but the result has only one interface"],
      [[], [ip(0)], "ips[0].interface is 0, but the result has no interfaces"],
    ];
    for (const [interfaces, ips, msg] of cases) {
      assertEquals(decodeFault({ cniVersion: version, interfaces, ips }), msg);
    }
  }
  // The oldest results have no interfaces, so members of these names belong to a vendor.
  const foreign = { cniVersion: "0.2.0", dns: {}, ips: [{ interface: 7 }] };
  assertEquals(decodeResult(foreign, "0.2.0"), foreign);
});

Deno.test("C22 stored results may have any interface index", () => {
  const stored = {
    cniVersion: "1.0.0",
    ips: [{ interface: -1, address: "::1/64" }, { interface: 99, address: "::2/64" }],
  };
  assertEquals(convertResult(stored, "1.0.0"), stored);
  assertEquals(asResult(stored).ips, stored.ips);
  assertEquals(decodePrevResult(stored, "1.0.0"), stored);
});

Deno.test("C3 C49 a prevResult must have a version with the same members as the configuration's", () => {
  for (const family of FAMILIES) {
    for (const config of family) {
      for (const written of SPEC_VERSIONS) {
        const read = () => decodePrevResult({ cniVersion: written, x: 1 }, config);
        if (family.includes(written)) {
          assertEquals([read()["cniVersion"], read()["x"]], [config, 1]);
        } else {
          const msg = `result type supports [${
            family.join(" ")
          }] but unmarshalled CNIVersion is "${written}"`;
          assertEquals(faultOf(read).msg, msg);
        }
      }
    }
  }
});

Deno.test("C4 C49 a prevResult without version is one of the configuration's", () => {
  for (const version of SPEC_VERSIONS) {
    for (const document of [{}, { cniVersion: "" }, null]) {
      assertEquals(decodePrevResult(document, version)["cniVersion"], version);
    }
  }
});

Deno.test("C8 members count in their exact spelling only; other spellings are unknown members", () => {
  const json = { cniVersion: "1.1.0", IPs: [{ Address: "none" }] };
  assertEquals(decodeResult(json, "1.1.0"), json);
});

Deno.test("a text that encloses a result of the greatest depth can still be read", () => {
  const nested = (depth: number): Json => depth === 0 ? 1 : [nested(depth - 1)];
  const deepest = { cniVersion: "1.1.0", x: nested(MAX_DEPTH - 1) };
  assertEquals(parseJson(printJson({ prevResult: decodeResult(deepest, "1.1.0") })), { prevResult: deepest });
  assertEquals(decodeFault({ x: nested(MAX_DEPTH) }), "the result is nested deeper than 512 levels");
});
