import { assertEquals, assertStrictEquals } from "@std/assert";
import { CniError, ERROR_CODES, isCniError } from "../../lib/cni/error.ts";

Deno.test("the message begins with what was tried and with which plugin, then says what went wrong", () => {
  const plugin = (place: { index?: number; count?: number }) =>
    new CniError("plugin", "no address left", {
      verb: "ADD",
      network: "web",
      plugin: { type: "bridge", ...place },
    });
  const messages: [CniError, string][] = [
    [new CniError("io", "the disk is full"), "the disk is full"],
    [new CniError("io", "x", { verb: "DEL" }), 'Cannot DEL network "?": x'],
    [new CniError("io", "x", { network: "web", details: "y" }), 'Cannot use network "web": x; y'],
    [plugin({}), 'Cannot ADD network "web", plugin "bridge": no address left'],
    [plugin({ index: 0 }), 'Cannot ADD network "web", plugin "bridge" (1): no address left'],
    [plugin({ index: 0, count: 2 }), 'Cannot ADD network "web", plugin "bridge" (1 of 2): no address left'],
  ];
  for (const [error, message] of messages) assertEquals(error.message, message);
});

Deno.test("A20 the message has the position in a file, as far as it is known", () => {
  const at = (place: { file?: string; line?: number; column?: number }) =>
    new CniError("config", "bad", place).message;
  assertEquals(at({ file: "/a.conf" }), "/a.conf: bad");
  assertEquals(at({ file: "/a.conf", line: 3 }), "/a.conf:3: bad");
  assertEquals(at({ file: "/a.conf", line: 3, column: 7 }), "/a.conf:3:7: bad");
  assertEquals(at({ line: 3, column: 7 }), "line 3, column 7: bad");
  assertEquals(at({ line: 3 }), "line 3: bad");
});

Deno.test("within() adds the context of the caller, and changes no member that the error has", () => {
  const cause = new Error("below");
  const inner = new CniError("plugin", "no", { code: 11, verb: "ADD", cause });
  const outer = inner.within({ verb: "DEL", network: "web", containerId: "c" });
  assertEquals({ kind: outer.kind, code: outer.code, message: outer.message }, {
    kind: "plugin",
    code: 11,
    message: 'Cannot ADD network "web": no',
  });
  assertStrictEquals(outer.cause, cause);
  const other = new Error("other");
  assertStrictEquals(inner.within({ cause: other }).cause, other);
  assertEquals(new CniError("io", "no").within({}).cause, undefined);
});

Deno.test("the JSON object of an error is flat", () => {
  const plugin = { type: "bridge", index: 1, count: 3 };
  const error = new CniError("plugin", "no", {
    code: 7,
    verb: "ADD",
    network: "web",
    plugin,
    path: "ips[0]",
  });
  assertEquals(JSON.parse(JSON.stringify(error)), {
    code: 7,
    kind: "plugin",
    msg: "no",
    verb: "ADD",
    network: "web",
    path: "ips[0]",
    plugin: "bridge",
    pluginIndex: 1,
    pluginCount: 3,
  });
  assertEquals(new CniError("io", "no").toJSON(), { code: ERROR_CODES.unknown, kind: "io", msg: "no" });
});

Deno.test("isCniError() recognises errors of podwire and their kind", () => {
  const error = new CniError("timeout", "no");
  assertEquals([isCniError(error), isCniError(error, "timeout"), isCniError(error, "io")], [
    true,
    true,
    false,
  ]);
  for (const other of [new Error("no"), { name: "CniError", kind: "io" }, undefined, "no"]) {
    assertEquals(isCniError(other), false);
  }
});

Deno.test("an option that is undefined is left out: it hides nothing that `within` adds", () => {
  const error = new CniError("config", "bad", { file: undefined, details: undefined, hint: undefined });
  assertEquals(error.context, {});
  assertEquals(error.within({ file: "/x", details: "why" }).context, { file: "/x", details: "why" });
});
