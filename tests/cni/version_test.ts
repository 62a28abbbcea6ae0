import { assertEquals } from "@std/assert";
import {
  atLeast,
  compareVersions,
  CURRENT_VERSION,
  isSpecVersion,
  parseVersion,
  SPEC_VERSIONS,
} from "../../lib/cni/version.ts";
import { faultOf } from "./fault.ts";

Deno.test("C50 knows the seven versions in order", () => {
  assertEquals(SPEC_VERSIONS, ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
  assertEquals(CURRENT_VERSION, SPEC_VERSIONS.at(-1));
  assertEquals([...SPEC_VERSIONS].reverse().sort(compareVersions), [...SPEC_VERSIONS]);
});

Deno.test("C5 knows a version in its exact spelling only", () => {
  for (const version of SPEC_VERSIONS) assertEquals(isSpecVersion(version), true);
  for (const text of ["", "1.1", "01.1.0", "+1.1.0", "1.1.0 ", "1.2.0", "v1.1.0"]) {
    assertEquals(isSpecVersion(text), false, text);
  }
});

Deno.test("A40 reads up to three parts, missing ones as zero, an empty text as 0.1.0", () => {
  const cases: Record<string, readonly [number, number, number]> = {
    "": [0, 1, 0],
    "1": [1, 0, 0],
    "1.1": [1, 1, 0],
    "1.2.3": [1, 2, 3],
    "10.20.30": [10, 20, 30],
    "+1.0.0": [1, 0, 0],
    "0.-42.0": [0, -42, 0],
    "01.1.0": [1, 1, 0],
  };
  for (const [text, expected] of Object.entries(cases)) assertEquals(parseVersion(text), expected, text);
});

Deno.test("A40 refuses a text that is not a version, and names the part", () => {
  const cases: Record<string, string> = {
    "1.2.3.4": "too many parts",
    "1.0.0.": "too many parts",
    "v1.0.0": 'the major part "v1" is not a number',
    bad: 'the major part "bad" is not a number',
    "1. 0.0": 'the minor part " 0" is not a number',
    "1..0": 'the minor part "" is not a number',
    "1.0.0-rc1": 'the micro part "0-rc1" is not a number',
    "1.0.0x": 'the micro part "0x" is not a number',
    "1.0.1e1": 'the micro part "1e1" is not a number',
    "0x1.0.0": 'the major part "0x1" is not a number',
    "99999999999999999999.0.0": 'the major part "99999999999999999999" is not a number',
  };
  for (const [text, state] of Object.entries(cases)) {
    assertEquals(faultOf(() => parseVersion(text)), {
      kind: "config",
      code: 6,
      msg: `invalid version "${text}": ${state}`,
    });
  }
});

Deno.test("A41 compares part by part as numbers, not as text", () => {
  const ascending = [
    "0.-42.0",
    "",
    "0.2",
    "0.3.0",
    "0.3.1",
    "0.4.0",
    "0.10.0",
    "1",
    "1.0.1",
    "1.1.0",
    "10.0.0",
  ];
  for (const [i, a] of ascending.entries()) {
    for (const [j, b] of ascending.entries()) {
      assertEquals(compareVersions(a, b), Math.sign(i - j), `${a} ${b}`);
      assertEquals(atLeast(a, b), i >= j, `${a} ${b}`);
    }
  }
  assertEquals(compareVersions("1.1", "1.1.0"), 0);
});

Deno.test("A41 throws if an operand is not a version", () => {
  faultOf(() => compareVersions("1.0.0", "x"));
  faultOf(() => atLeast("x", "1.0.0"));
});
