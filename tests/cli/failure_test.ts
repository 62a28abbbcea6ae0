import { assert, assertEquals } from "@std/assert";
import { reportFailure } from "../../lib/cli/failure.ts";
import { CniError, ERROR_KINDS, type ErrorKind } from "../../lib/cni/error.ts";
import { HostError } from "../../lib/host/command.ts";

const CODES: Readonly<Record<ErrorKind, number>> = {
  usage: 2,
  config: 1,
  "not-found": 3,
  conflict: 1,
  permission: 4,
  timeout: 5,
  cancelled: 130,
  "not-ready": 6,
  exhausted: 1,
  "plugin-missing": 1,
  "plugin-start": 1,
  "plugin-crash": 1,
  "plugin-output": 1,
  plugin: 1,
  io: 1,
  internal: 1,
};

const FULL = new CniError("plugin", "no address left", {
  code: 11,
  details: "10.0.0.0/30 is full",
  verb: "ADD",
  network: "web",
  plugin: { type: "host-local", index: 1, count: 3 },
  containerId: "c1",
  ifName: "eth0",
  exitCode: 1,
  stderr: "first\nsecond",
  elapsedMs: 1_234,
  hint: "free one",
});

Deno.test("reportFailure() returns the exit code of each kind, and one object with --json", () => {
  for (const kind of ERROR_KINDS) {
    const error = new CniError(kind, "it is so");
    assertEquals(reportFailure(error, { json: false }), { text: "podwire: it is so\n", code: CODES[kind] });
    const { text, code } = reportFailure(error, { json: true });
    assertEquals([JSON.parse(text), code], [{ code: 0, kind, msg: "it is so" }, CODES[kind]]);
  }
});

Deno.test("reportFailure() says what was tried, where, the plugin's message and what to do", () => {
  assertEquals(
    reportFailure(FULL, { json: false }).text,
    'podwire: Cannot ADD network "web", plugin "host-local" (2 of 3): no address left; 10.0.0.0/30 is full ' +
      "(code 11, after 1.2s, container c1, interface eth0)\n" +
      "  stderr: first\n" +
      "  stderr: second\n" +
      "  hint: free one\n",
  );
});

Deno.test("reportFailure() returns everything as one line of JSON", () => {
  const { text } = reportFailure(FULL, { json: true });
  assertEquals(text.indexOf("\n"), text.length - 1);
  assertEquals(JSON.parse(text), {
    code: 11,
    kind: "plugin",
    msg: "no address left",
    details: "10.0.0.0/30 is full",
    verb: "ADD",
    network: "web",
    plugin: "host-local",
    pluginIndex: 1,
    pluginCount: 3,
    containerId: "c1",
    ifName: "eth0",
    exitCode: 1,
    stderr: "first\nsecond",
    elapsedMs: 1_234,
    hint: "free one",
  });
});

Deno.test("reportFailure() names the place in a file", () => {
  const error = new CniError("config", 'unexpected "}"', {
    file: "/etc/cni/net.d/a.conflist",
    line: 3,
    column: 7,
  });
  assertEquals(
    reportFailure(error, { json: false }).text,
    'podwire: /etc/cni/net.d/a.conflist:3:7: unexpected "}"\n',
  );
});

Deno.test("reportFailure() does not repeat standard error that is in the message", () => {
  const stderr = "panic";
  const details = `it wrote to standard error: ${JSON.stringify(stderr)}`;
  const { text } = reportFailure(new CniError("plugin-crash", "it died", { details, stderr }), {
    json: false,
  });
  assertEquals(text.split("panic").length, 2);
  const command = new HostError('Cannot run "x": exit code 1: one; two', { stderr: "one\n  two\n" });
  assertEquals(
    reportFailure(command, { json: false }).text,
    'podwire: Cannot run "x": exit code 1: one; two (code 5)\n',
  );
});

Deno.test("reportFailure() escapes colours and line breaks in a plugin's message", () => {
  const error = new CniError("plugin", "red \x1b[31mred\x07\nroot# ", { stderr: "\x1b]0;title\x07x\r\ny" });
  const { text } = reportFailure(error, { json: false });
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(text), JSON.stringify(text));
  for (const line of text.trimEnd().split("\n")) assert(/^(podwire: | {2}stderr: )/.test(line), line);
  assertEquals(JSON.parse(reportFailure(error, { json: true }).text).msg, "red \x1b[31mred\x07\nroot# ");
});

Deno.test("reportFailure() turns any thrown value into an error with a kind", () => {
  const kinds: readonly [unknown, ErrorKind][] = [
    [
      new Deno.errors.NotCapable('Requires read access to "/x", run again with the --allow-read flag'),
      "permission",
    ],
    [new Deno.errors.PermissionDenied("Permission denied (os error 13)"), "permission"],
    [new DOMException("over", "AbortError"), "cancelled"],
    [new Deno.errors.NotFound("no such file"), "io"],
    [new TypeError("x is not a function"), "internal"],
    ["a string", "io"],
    [undefined, "io"],
  ];
  for (const [error, kind] of kinds) {
    const { text, code } = reportFailure(error, { json: true });
    assertEquals({ kind: JSON.parse(text).kind, code }, { kind, code: CODES[kind] });
  }
});

Deno.test("reportFailure() says on one line which permission is missing", () => {
  const refused = new Deno.errors.PermissionDenied("Permission denied (os error 13): readdir '/x'");
  assertEquals(
    reportFailure(refused, { json: false }).text,
    "podwire: Permission denied (os error 13): readdir '/x' (code 5): run as root\n",
  );
});
