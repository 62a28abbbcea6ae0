import { assertEquals } from "@std/assert";
import {
  validateCniArg,
  validateContainerId,
  validateInterfaceName,
  validateNetworkName,
  validateNewCniArg,
  validatePluginType,
} from "../../lib/cni/name.ts";
import { faultOf } from "./fault.ts";

const GOOD_NAMES = ["a", "0", "Z9", "a.b-c_d", "a..b", "a-", "a".repeat(5000)];
const BAD_NAMES = [
  "-a",
  ".a",
  "_a",
  "../other",
  "a/b",
  "a b",
  "a\n",
  "\na",
  "ä",
  "aä",
  "a\0",
  "a%",
  "a:b",
  ".",
];

Deno.test("E40 refuses an empty container ID with code 3", () => {
  assertEquals(faultOf(() => validateContainerId("")), {
    kind: "usage",
    code: 3,
    msg: "missing containerID",
  });
});

Deno.test("E40 E47 accepts container IDs of the allowed characters, of any length", () => {
  for (const id of GOOD_NAMES) validateContainerId(id);
  for (const id of BAD_NAMES) {
    const expected = { kind: "usage", code: 4, msg: "invalid characters in containerID", details: id };
    assertEquals(faultOf(() => validateContainerId(id)), expected);
  }
});

Deno.test("E41 refuses an empty network name with code 7", () => {
  const expected = { kind: "config", code: 7, msg: "missing network name:" };
  assertEquals(faultOf(() => validateNetworkName("")), expected);
});

Deno.test("E41 E47 accepts network names of the allowed characters, of any length", () => {
  for (const name of GOOD_NAMES) validateNetworkName(name);
  for (const name of BAD_NAMES) {
    const expected = {
      kind: "config",
      code: 7,
      msg: "invalid characters found in network name",
      details: name,
    };
    assertEquals(faultOf(() => validateNetworkName(name)), expected);
  }
});

Deno.test("E42 to E45 refuses interface names with code 4", () => {
  const tooLong = {
    msg: "interface name is too long",
    details: "interface name should be less than 16 characters",
  };
  const characters = { msg: "interface name contains / or : or whitespace characters" };
  const cases: [string, { msg: string; details?: string }][] = [
    ["", { msg: "interface name is empty" }],
    ["a".repeat(16), tooLong],
    ["é".repeat(8), tooLong],
    ["😀😀😀😀", tooLong],
    [".", { msg: "interface name is . or .." }],
    ["..", { msg: "interface name is . or .." }],
    ...[..."/: \t\n\v\f\r\u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"].map((char) =>
      [`a${char}b`, characters] as [string, typeof characters]
    ),
  ];
  for (const [name, expected] of cases) {
    assertEquals(faultOf(() => validateInterfaceName(name)), { kind: "usage", code: 4, ...expected }, name);
  }
});

Deno.test("E43 counts bytes of UTF-8, not characters", () => {
  validateInterfaceName("é".repeat(7));
  validateInterfaceName("a".repeat(15));
});

Deno.test("E44 E45 E46 accepts characters that the kernel's rule does not forbid", () => {
  for (const name of ["eth0", "...", "a\ufeffb", "-", "a\u200bb"]) validateInterfaceName(name);
});

Deno.test("refuses an interface name that the kernel changes to another name", () => {
  for (const name of ["br%d", "%", "a%%", "eth%s"]) {
    assertEquals(faultOf(() => validateInterfaceName(name)).msg, "interface name contains %", name);
  }
  assertEquals(faultOf(() => validateInterfaceName("a\0")).msg, "interface name contains a zero byte");
});

Deno.test("E46 reports the length before the characters", () => {
  assertEquals(faultOf(() => validateInterfaceName("/".repeat(16))).msg, "interface name is too long");
});

Deno.test("B2 B4 accepts a plugin type only if it can be the name of a file", () => {
  for (const type of ["bridge", "host-local", "...", "a.b", "a b", "\\"]) validatePluginType(type);
  const cases = { "": "no plugin name provided", "a/b": "invalid plugin name: a/b" };
  for (const [type, msg] of Object.entries(cases)) {
    assertEquals(faultOf(() => validatePluginType(type)), { kind: "config", code: 7, msg });
  }
  for (const type of [".", "..", "/", "../bridge", "/bin/sh", "a\0"]) {
    assertEquals(faultOf(() => validatePluginType(type)).code, 7, type);
  }
});

Deno.test("B19 refuses CNI arguments that would change their meaning", () => {
  for (const [key, value] of [["K", ""], ["K", "a=b"], ["K8S_POD_NAME", "web 1"]] as const) {
    validateCniArg(key, value);
  }
  for (
    const [key, value] of [["K", "a;b"], ["K;", "a"], ["K=", "a"], ["", "a"], ["K", "\0"], [
      "\0",
      "",
    ]] as const
  ) {
    const { kind, code } = faultOf(() => validateCniArg(key, value));
    assertEquals({ kind, code }, { kind: "usage", code: 4 }, `${key} ${value}`);
  }
});

Deno.test("a CNI argument of a caller must fit on a line and be printable; one in a record is passed on as it is", () => {
  validateNewCniArg("K8S_POD_NAME", "web ü 1");
  for (const char of ["\n", "\r", "\t", "\x1b", "\u0085", "\u2028", "\u202e", "\ud800"]) {
    for (const [key, value] of [["K", `a${char}b`], [`a${char}b`, "v"]] as const) {
      const { kind, code } = faultOf(() => validateNewCniArg(key, value));
      assertEquals({ kind, code }, { kind: "usage", code: 4 });
      validateCniArg(key, value);
    }
  }
});
