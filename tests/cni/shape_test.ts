import { assertEquals, assertThrows } from "@std/assert";
import { parseJson } from "../../lib/cni/json.ts";
import {
  anyNumber,
  anyObject,
  anyText,
  anything,
  extensibleObjectOf,
  flag,
  integer,
  lenient,
  listOf,
  mapOf,
  mapped,
  objectOf,
  oneOf,
  openObjectOf,
  orNull,
  readShape,
  type Shape,
  text,
  trueOnly,
  ValidationError,
} from "../../lib/cni/shape.ts";

const read = <T>(shape: Shape<T>, json: string) => shape.read(parseJson(json), []);
const problem = (shape: Shape<unknown>, json: string) =>
  assertThrows(() => read(shape, json), ValidationError).describe("the value");

Deno.test("a value that does not have its shape gives an error that says what was found", () => {
  assertEquals(problem(text(), "1"), "the value must be a string, not a number");
  assertEquals(problem(text(), '""'), "the value must not be empty");
  assertEquals(problem(anyText, "null"), "the value must be a string, not null");
  assertEquals(problem(oneOf(["a", "b"]), '"c"'), 'the value must be one of a, b, not "c"');
  assertEquals(problem(oneOf(["a"]), "[1]"), 'the value must be "a", not [1]');
  assertEquals(problem(flag, '"true"'), "the value must be true or false, not a string");
  assertEquals(problem(trueOnly, "false"), "the value must be true or left out");
  assertEquals(problem(integer(1, 9), "1.5"), "the value must be a whole number from 1 to 9, not 1.5");
  assertEquals(problem(integer(1, 9), "1e400"), "the value must be a whole number from 1 to 9, not 1e400");
  assertEquals(problem(anyNumber, '"1"'), "the value must be a number, not a string");
  assertEquals(problem(anyObject, "[]"), "the value must be an object, not an array");
  assertEquals(problem(listOf(flag), "{}"), "the value must be an array, not an object");
  assertEquals(problem(mapOf(flag), "[]"), "the value must be an object, not an array");
  const long = problem(oneOf(["a"]), JSON.stringify("x".repeat(1_000)));
  assertEquals(long, `the value must be "a", not "${"x".repeat(79)}...`);
});

Deno.test("the error names the member by its path", () => {
  const shape = objectOf({ a: listOf(mapOf(flag)) }, { "b c": flag });
  assertEquals(problem(shape, '{"a": [{}, {"x": 1}]}'), "a[1].x must be true or false, not a number");
  assertEquals(problem(shape, '{"a": [], "b c": 1}'), '["b c"] must be true or false, not a number');
  assertEquals(problem(shape, "{}"), "a is missing");
  assertEquals(problem(shape, '{"c": 1}'), "c is unknown; there are a, b c");
  assertEquals(problem(objectOf({}, {}), '{"c": 1}'), "c is unknown; there are none");
});

Deno.test("an open object ignores members that it does not define, an extensible one keeps them", () => {
  const json = '{"a": true, "later": [1.0], "__proto__": {"a": false}}';
  assertEquals(read(openObjectOf({ a: flag }, {}), json), { a: true });
  const kept = read(extensibleObjectOf({ a: flag }, {}), json);
  assertEquals(kept.a, true);
  assertEquals(JSON.stringify(kept.unknownMembers), '{"later":[1.0],"__proto__":{"a":false}}');
  assertEquals(read(extensibleObjectOf({ a: flag }, {}), '{"a": true}'), { a: true });
  assertEquals(problem(openObjectOf({ a: flag }, {}), '{"__proto__": {"a": true}}'), "a is missing");
});

Deno.test("null and a member that is damaged can be read as missing", () => {
  const shape = openObjectOf({ a: orNull(anyText) }, { b: orNull(flag), c: lenient(integer(0, 9)) });
  assertEquals(read(shape, '{"a": null, "b": null, "c": "x"}'), { a: undefined });
  assertEquals(read(shape, '{"a": "", "b": false, "c": 9}'), { a: "", b: false, c: 9 });
  assertEquals(problem(shape, '{"a": 1}'), "a must be a string, not a number");
});

Deno.test("a mapped value can be changed or refused, and `anything` keeps a value as written", () => {
  const even = mapped(anyNumber, (value, path) => {
    if (value % 2 !== 0) throw new ValidationError(path, "must be even");
    return value / 2;
  });
  assertEquals(read(listOf(even), "[4, 6.0]"), [2, 3]);
  assertEquals(problem(listOf(even), "[4, 5]"), "[1] must be even");
  assertEquals(JSON.stringify(read(anything, "[1.0, 1e400]")), "[1.0,1e400]");
});

Deno.test("readShape() throws the error that the caller makes, and no other error changes", () => {
  const fail = (error: ValidationError) => new RangeError(error.describe("the file"));
  assertThrows(() => readShape(flag, 1, fail), RangeError, "the file must be true or false, not a number");
  assertThrows(() => readShape(flag, 1, fail, ["a", 0]), RangeError, "a[0] must be true or false");
  const broken = mapped(anything, () => {
    throw new TypeError("broken");
  });
  assertThrows(() => readShape(broken, 1, fail), TypeError, "broken");
  assertThrows(() => read(lenient(broken), "1"), TypeError, "broken");
});

Deno.test("a shape describes itself as a JSON Schema", () => {
  assertEquals(objectOf({ a: integer(0, 9) }, { b: orNull(oneOf(["x"])) }).schema, {
    type: "object",
    properties: {
      a: { type: "integer", minimum: 0, maximum: 9 },
      b: { anyOf: [{ enum: ["x"] }, { type: "null" }] },
    },
    required: ["a"],
    additionalProperties: false,
  });
  assertEquals("additionalProperties" in openObjectOf({}, {}).schema, false);
});
