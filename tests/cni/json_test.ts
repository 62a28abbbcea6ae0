import { assert, assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import {
  formatPath,
  isObject,
  type Json,
  type JsonPath,
  kindOf,
  MAX_DEPTH,
  member,
  numberOf,
  parseJson,
  positionOf,
  printJson,
} from "../../lib/cni/json.ts";
import { faultOf } from "./fault.ts";

Deno.test("A86 keeps the text of every number", () => {
  const numbers = [
    "9007199254740993",
    "12345678901234567890",
    "1.0",
    "-0",
    "0.10",
    "1e400",
    "-1E-400",
    "1e2",
    "1E+2",
    "0",
    "-1",
    "1500",
    "0.1",
    "1e+21",
  ];
  const text = `{"a":[${numbers.join(",")}],"b":${numbers[0]}}`;
  assertEquals(printJson(parseJson(text)), text);
});

Deno.test("A86 reads a number that a double preserves as a number", () => {
  assertEquals(parseJson("[0, -1, 1500, 0.1]"), [0, -1, 1500, 0.1]);
});

Deno.test("numberOf() returns the nearest double", () => {
  const cases: [string, number | undefined][] = [
    ["1.0", 1],
    ["15", 15],
    ["9007199254740993", 9007199254740992],
    ["1e400", Infinity],
    ['"1"', undefined],
    ["null", undefined],
    ["[1]", undefined],
    ['{"rawJSON":"1"}', undefined],
  ];
  for (const [text, expected] of cases) assertEquals(numberOf(parseJson(text)), expected, text);
});

Deno.test("isObject() distinguishes objects from arrays and from numbers with a text", () => {
  assertEquals(["{}", '{"rawJSON":"1"}'].map((text) => isObject(parseJson(text))), [true, true]);
  assertEquals(
    ["[]", "1.0", "null", '"{}"', "1"].map((text) => isObject(parseJson(text))),
    Array(5).fill(false),
  );
});

Deno.test("kindOf() names every kind of value", () => {
  const kinds = {
    null: "null",
    true: "a boolean",
    '"x"': "a string",
    1: "a number",
    "1.0": "a number",
    "[]": "an array",
    "{}": "an object",
  };
  for (const [text, kind] of Object.entries(kinds)) assertEquals(kindOf(parseJson(text)), kind);
});

Deno.test("keys that are special in JavaScript are normal keys", () => {
  const text =
    '{"__proto__":{"polluted":true},"constructor":{"prototype":1},"hasOwnProperty":2,"toJSON":3,"":4}';
  const json = parseJson(text);
  if (!isObject(json)) throw new Error("not an object");
  assertEquals(Object.keys(json), ["__proto__", "constructor", "hasOwnProperty", "toJSON", ""]);
  assertEquals(Object.getPrototypeOf(json), Object.prototype);
  assertEquals(member(json, "__proto__"), { polluted: true });
  assertEquals(({} as Record<string, unknown>)["polluted"], undefined);
  assertEquals(printJson(json), text);
});

Deno.test("a key never reaches the setter of __proto__, which Deno lacks and other runtimes have", () => {
  let called = false;
  const trap = { configurable: true, get: () => undefined, set: () => void (called = true) };
  Object.defineProperty(Object.prototype, "__proto__", trap);
  try {
    assertEquals(printJson(parseJson('{"__proto__":{"a":1},"b":2}')), '{"__proto__":{"a":1},"b":2}');
  } finally {
    Reflect.deleteProperty(Object.prototype, "__proto__");
  }
  assertEquals(called, false);
});

Deno.test("member() never returns an inherited member", () => {
  for (const key of ["constructor", "__proto__", "toString"]) assertEquals(member({}, key), undefined);
});

Deno.test("A51 takes the last of equal keys, unless they are refused", () => {
  const refused = { duplicateKeys: "refused", kind: "plugin-output" } as const;
  assertEquals(faultOf(() => parseJson('{"a":[{"b":1,"b":1}]}', refused)), {
    kind: "plugin-output",
    code: 7,
    msg: "a[0].b: the object has this key twice",
    at: "1:14",
  });
  assertEquals(parseJson('{"a":1,"b":2,"a":{"c":3}}'), { a: { c: 3 }, b: 2 });
  assertEquals(printJson(parseJson('{"__proto__":1,"__proto__":2}')), '{"__proto__":2}');
});

Deno.test("reads every escape and keeps lone surrogates", () => {
  const text = String.raw`"\"\\\/\b\f\n\r\t\u0041\u00E9\ud83d\ude00\ud800"`;
  assertEquals(parseJson(text), '"\\/\b\f\n\r\tAé😀\ud800');
  assertEquals(printJson(parseJson('"\\ud800"')), '"\\ud800"');
});

Deno.test("A87 prints a text that is read as the same value", () => {
  const text = "<a>&\u2028\u2029\0é";
  assertEquals(parseJson(printJson(text)), text);
  assertEquals(parseJson(String.raw`"\u003c\u2028"`), "<\u2028");
});

Deno.test("C24 prints with the wanted indent and without a newline at the end", () => {
  assertEquals(printJson({ a: [1] }, 4), '{\n    "a": [\n        1\n    ]\n}');
  assertEquals(printJson(parseJson('{"a":1.0}'), 2), '{\n  "a": 1.0\n}');
});

Deno.test("A12 says what is wrong with a text, and where", () => {
  const cases: [text: string, at: string, msg: string, hint?: string][] = [
    ["", "1:1", "not valid JSON: the text is empty"],
    [" \n\t\r\n", "1:1", "not valid JSON: the text is only white space"],
    [
      "\ufeff{}",
      "1:1",
      "the text starts with a byte-order mark (U+FEFF)",
      "save it as UTF-8 without byte-order mark",
    ],
    ["{} {}", "1:4", 'unexpected "{" after the end of the JSON value'],
    ["{}\n]", "2:1", 'unexpected "]" after the end of the JSON value'],
    ["{", "1:2", 'unexpected end of the text: expected a key in double quotes or "}"'],
    ['{"a"', "1:5", 'a: unexpected end of the text: expected ":"'],
    ['{"a":', "1:6", "a: unexpected end of the text: expected a value"],
    ['{"a":1', "1:7", 'unexpected end of the text: expected "," or "}"'],
    ["[", "1:2", 'unexpected end of the text: expected a value or "]"'],
    ["[1,", "1:4", "unexpected end of the text: expected a value"],
    ['{"a" 1}', "1:6", 'a: unexpected "1": expected ":"'],
    ['{"a":}', "1:6", 'a: unexpected "}": expected a value'],
    ['{"a":1 "b":2}', "1:8", 'unexpected \'"\': expected "," or "}"'],
    ['{} "b"', "1:4", "unexpected '\"' after the end of the JSON value"],
    ["[1 2]", "1:4", 'unexpected "2": expected "," or "]"'],
    ["[1}", "1:3", 'unexpected "}": expected "," or "]"'],
    ["[,1]", "1:2", '[0]: unexpected ",": expected a value'],
    ["{a:1}", "1:2", 'unexpected "a": expected a key in double quotes or "}"'],
    ["[1,\n]", "2:1", 'unexpected "]": expected a value', "a comma must not stand before a closing bracket"],
    [
      '{"a":1,}',
      "1:8",
      'unexpected "}": expected a key in double quotes',
      "a comma must not stand before a closing bracket",
    ],
    ["{\n // x\n}", "2:2", 'unexpected "/": expected a key in double quotes or "}"', "JSON has no comments"],
    [
      "{'a':1}",
      "1:2",
      'unexpected "\'": expected a key in double quotes or "}"',
      "strings are written in double quotes",
    ],
    ['"abc', "1:1", "a string is not closed"],
    ['"abc\\', "1:1", "a string is not closed"],
    ['["a\nb"]', "1:4", "[0]: unexpected U+000A in a string: write it as an escape"],
    ['"a\tb"', "1:3", "unexpected U+0009 in a string: write it as an escape"],
    ['"\\x41"', "1:2", 'unexpected escape "\\x" in a string'],
    ['"ab\\u12g4"', "1:4", 'unexpected escape "\\u12g4" in a string'],
    ['"\\\n"', "1:2", "unexpected escape \\U+000A in a string"],
    ["01", "1:1", '"01" is not a JSON number'],
    ["[1.]", "1:2", '[0]: "1." is not a JSON number'],
    ["-", "1:1", '"-" is not a JSON number'],
    ["+1", "1:1", '"+1" is not a JSON number'],
    [".5", "1:1", '".5" is not a JSON number'],
    ["1e", "1:1", '"1e" is not a JSON number'],
    ["0x10", "1:1", '"0x10" is not a JSON number'],
    ["True", "1:1", '"True" is not a JSON value'],
    ["nullx", "1:1", '"nullx" is not a JSON value'],
    ["NaN", "1:1", '"NaN" is not a JSON value'],
    ["\u00a0{}", "1:1", "unexpected U+00A0: expected a value"],
    ["9".repeat(50) + "x", "1:1", `"${"9".repeat(40)}..." is not a JSON number`],
  ];
  for (const [text, at, msg, hint] of cases) {
    const expected = { kind: "config", code: 6, at, msg, ...(hint === undefined ? {} : { hint }) };
    assertEquals(faultOf(() => parseJson(text)), expected, JSON.stringify(text));
  }
});

Deno.test("columns count characters, and lines end as in editors", () => {
  assertEquals(faultOf(() => parseJson('{"é😀": x}')).at, "1:8");
  assertEquals(faultOf(() => parseJson("[\r\n1,\r2,\n\nx]")).at, "5:1");
});

Deno.test("A20 an error names the file", () => {
  const error = faultOf(() => parseJson("{", { file: "/etc/cni/net.d/10-x.conf" }));
  assertEquals({ file: error.file, at: error.at }, { file: "/etc/cni/net.d/10-x.conf", at: "1:2" });
});

Deno.test("the source decides the kind of the error", () => {
  assertEquals(faultOf(() => parseJson("{", { kind: "plugin-output" })).kind, "plugin-output");
});

Deno.test("A20 an error has the path, and for a very long one its beginning and its end", () => {
  const context = (text: string) => assertThrows(() => parseJson(text), CniError).context;
  assertEquals(context('{"plugins":[{"ipam":{}},{"ipam":{"type":host}}]}').path, "plugins[1].ipam.type");
  assertEquals(context('{"a":{"b":1},}').path, "");
  assertEquals(context('{"a":[{"b":1}}').path, "a");
  const { msg } = faultOf(() => parseJson("[".repeat(1e5)));
  assertEquals(msg, `${"[0]".repeat(20)}...${"[0]".repeat(20)}: nested deeper than 1024 levels`);
});

Deno.test("refuses nesting that is too deep without running out of stack", () => {
  const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  parseJson(nested(2 * MAX_DEPTH));
  for (const text of [nested(2 * MAX_DEPTH + 1), "[".repeat(1e5), '{"a":'.repeat(1e5)]) {
    assertEquals(faultOf(() => parseJson(text)).msg.endsWith(": nested deeper than 1024 levels"), true);
  }
  parseJson(`[${Array(1000).fill("[[]]").join(",")}]`);
  assertEquals(
    faultOf(() => parseJson("[[[]]]", { maxDepth: 2 })).msg,
    "[0][0]: nested deeper than 2 levels",
  );
});

Deno.test("reads a megabyte of any JSON in linear time", () => {
  const size = 1 << 20;
  const texts = [
    `"${"a".repeat(size)}"`,
    `"${"\\n".repeat(size / 2)}"`,
    "1".repeat(size),
    `[${"1,".repeat(size / 2)}1]`,
    " ".repeat(size),
    `"${"a".repeat(size)}`,
    `[${"1,".repeat(size / 2)}`,
    `${"\n".repeat(size)}x`,
    `[1${" ".repeat(size)}2]`,
    `{${Array.from({ length: size / 16 }, (_, index) => `"key${index}":1.0`).join(",")}}`,
  ];
  const start = performance.now();
  for (const text of texts) {
    try {
      parseJson(text);
    } catch {
      // Errors must come fast, too.
    }
  }
  // About 1 s in total if linear; quadratic time for a mebibyte takes minutes.
  assert(performance.now() - start < 120_000);
});

Deno.test("positionOf finds values by their path", () => {
  const text = '{\n  "name": "web",\n  "é": 1, "plugins": [\n    {"type": "a"}, {"type":\n 7}\n  ]\n}';
  const cases: [JsonPath, string | undefined][] = [
    [[], "1:1"],
    [["name"], "2:11"],
    [["é"], "3:8"],
    [["plugins"], "3:22"],
    [["plugins", 1], "4:20"],
    [["plugins", 1, "type"], "5:2"],
    [["plugins", 2], undefined],
    [["plugins", "1"], undefined],
    [["name", 0], undefined],
    [["none", "type"], undefined],
  ];
  for (const [path, expected] of cases) {
    const position = positionOf(text, path);
    const found = position === undefined ? undefined : `${position.line}:${position.column}`;
    assertEquals(found, expected, formatPath(path));
  }
});

Deno.test("positionOf follows the last of equal keys, as the value does", () => {
  const text = '{"a":{"b":1},"a":{"c":2, "c":3}}';
  assertEquals(positionOf(text, ["a", "c"]), { line: 1, column: 30 });
  assertEquals(positionOf(text, ["a", "b"]), undefined);
});

Deno.test("formatPath prints paths as people write them", () => {
  const cases: [JsonPath, string][] = [
    [[], ""],
    [["plugins", 1, "type"], "plugins[1].type"],
    [["cni.dev/valid-attachments", 0], '["cni.dev/valid-attachments"][0]'],
    [["a-b", "c d"], 'a-b["c d"]'],
  ];
  for (const [path, text] of cases) assertEquals(formatPath(path), text);
});

Deno.test("a value is readonly to the compiler and plain to everything else", () => {
  const json: Json = parseJson('{"a":[1,{"b":null}]}');
  assertEquals(structuredClone(json), { a: [1, { b: null }] });
});
