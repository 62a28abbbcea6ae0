import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { decodeFailure, decodeOutput, failureDespiteSuccess } from "../../lib/plugin/output.ts";
import { Random } from "../cni/random.ts";
import { outcome } from "../fake_run.ts";

const calm = new AbortController().signal;

function failure(partial: Parameters<typeof outcome>[0], signal: AbortSignal = calm): CniError {
  return decodeFailure(outcome({ code: 1, ...partial }), signal);
}

Deno.test("B42 the error of a failing exit without output has the exit status", () => {
  const error = failure({ code: 3 });
  assertEquals(error.kind, "plugin-crash");
  assertEquals(error.msg, "the plugin ended with exit status 3 without a message");
  assertEquals(error.context.exitCode, 3);
  assertEquals(error.context.stderr, undefined);
});

Deno.test("B44 the error of a failing exit with standard error only quotes it and has the exit status", () => {
  const error = failure({ stderr: "some stderr message\n" });
  assertEquals(error.kind, "plugin-crash");
  assertEquals(error.msg, "the plugin ended with exit status 1");
  assertEquals(error.context.details, 'it wrote to standard error: "some stderr message"');
  assertEquals(error.context.stderr, "some stderr message");
});

Deno.test("B45 an error object gives its code, message and details, whatever is on standard error", () => {
  const error = failure({
    stdout: '{"cniVersion": "1.0.0", "code": 107, "msg": "no room", "details": "10.1.0.0/24 is full"}',
    stderr: "debug line\n",
  });
  assertEquals({ kind: error.kind, code: error.code, msg: error.msg }, {
    kind: "plugin",
    code: 107,
    msg: "no room",
  });
  assertEquals(error.message, "no room; 10.1.0.0/24 is full");
  assertEquals(error.context.stderr, "debug line");
  assertEquals(error.context.exitCode, 1);
});

Deno.test("B46 details are optional, other keys are ignored, a missing code is 0", () => {
  const error = failure({ stdout: '{"msg": "no", "details": "", "more": [1]}' });
  assertEquals({ kind: error.kind, code: error.code, msg: error.msg }, {
    kind: "plugin",
    code: 0,
    msg: "no",
  });
  assertEquals("details" in error.context, false);
});

Deno.test("B47 output that is not an error object is quoted, and the code is 0", () => {
  for (const stdout of ["panic: oh", '["a"]', '"text"', "null", '{"code": "7", "msg": "x"}']) {
    const error = failure({ stdout });
    assertEquals({ kind: error.kind, code: error.code }, { kind: "plugin-output", code: 0 }, stdout);
    assertStringIncludes(error.msg, JSON.stringify(stdout));
    assertStringIncludes(error.msg, "exit status 1");
  }
  assertEquals(failure({ stdout: '{"code": -1, "msg": "x"}' }).kind, "plugin-output");
  assertEquals(failure({ stdout: '{"code": 1.5, "msg": "x"}' }).kind, "plugin-output");
  const tooLarge = failure({ stdout: '{"code": 99999999999999999999, "msg": "x"}' });
  assertEquals({ kind: tooLarge.kind, code: tooLarge.code }, { kind: "plugin-output", code: 0 });
});

Deno.test("B48 the error of an object without a message has exit status, standard error and the output", () => {
  for (const stdout of ['{"code": 7}', '{"cniVersion": "1.0.0", "ips": []}', "{}"]) {
    const error = failure({ stdout, stderr: "why it failed\n" });
    assertEquals(error.kind, "plugin-crash");
    assertStringIncludes(error.msg, "exit status 1");
    assertStringIncludes(error.msg, "why it failed");
    assertStringIncludes(error.context.details ?? "", JSON.stringify(stdout));
  }
  assertEquals(failure({ stdout: '{"code": 7}' }).code, 7);
});

Deno.test("B50 the error of an end by a signal names the signal, also with output", () => {
  const silent = failure({ code: 137, signal: "SIGKILL" });
  assertEquals(silent.msg, "the plugin was ended by signal SIGKILL without a message");
  assertEquals({ signal: silent.context.signal, exitCode: silent.context.exitCode }, {
    signal: "SIGKILL",
    exitCode: undefined,
  });
  assertStringIncludes(failure({ signal: "SIGSEGV", stderr: "boom" }).msg, "SIGSEGV");
  assertStringIncludes(failure({ signal: "SIGSEGV", stdout: "half a re" }).msg, "SIGSEGV");
});

Deno.test("B51 the codes of readiness have kind not-ready, the others have kind plugin", () => {
  const kinds = [1, 3, 7, 11, 50, 51, 100, 999].map((code) => {
    const { kind } = failure({ stdout: JSON.stringify({ code, msg: "no" }) });
    return `${code} ${kind}`;
  });
  assertEquals(kinds, [
    "1 plugin",
    "3 plugin",
    "7 plugin",
    "11 plugin",
    "50 not-ready",
    "51 not-ready",
    "100 plugin",
    "999 plugin",
  ]);
});

Deno.test("an exhausted network is a kind of its own, for each host-local", () => {
  const range = "no IP addresses available in range set: 10.1.2.1-10.1.2.254";
  for (const [code, msg] of [[999, `failed to allocate for range 0: ${range}`], [999, range]] as const) {
    assertEquals(failure({ stdout: JSON.stringify({ code, msg }) }).kind, "exhausted");
  }
  assertEquals(failure({ stdout: JSON.stringify({ code: 50, msg: range }) }).kind, "not-ready");
  assertEquals(failure({ stdout: '{"code": 999, "msg": "no IP"}' }).kind, "plugin");
});

Deno.test("a well-known code has a hint", () => {
  assertStringIncludes(failure({ stdout: '{"code": 1, "msg": "no"}' }).context.hint ?? "", "cniVersion");
  assertEquals(failure({ stdout: '{"code": 107, "msg": "no"}' }).context.hint, undefined);
});

Deno.test("B40 too much output is an error that names the stream", () => {
  const out = failure({ ended: "stdout-overflow", stdout: "{".repeat(50) });
  assertEquals({ kind: out.kind, code: out.code }, { kind: "plugin-output", code: 6 });
  assertStringIncludes(out.msg, "standard output");
  assertStringIncludes(failure({ ended: "stderr-overflow", stderr: "x" }).msg, "standard error");
});

Deno.test("the error of an aborted run has the reason of the abort, the elapsed time and the end of standard error", () => {
  const timeout = new CniError("timeout", "no answer within 5s");
  const error = failure(
    { ended: "aborted", elapsedMs: 5021, stderr: "waiting for dhcp\n" },
    AbortSignal.abort(timeout),
  );
  assertEquals({ kind: error.kind, msg: error.msg }, { kind: "timeout", msg: "no answer within 5s" });
  assertEquals({ elapsedMs: error.context.elapsedMs, stderr: error.context.stderr }, {
    elapsedMs: 5021,
    stderr: "waiting for dhcp",
  });
  assertEquals(failure({ ended: "aborted" }, AbortSignal.abort()).kind, "cancelled");
});

Deno.test("B53 the error of a success without a document, or with more than one, quotes the output", () => {
  for (const stdout of ["", " \n"]) {
    const error = assertThrows(() => decodeOutput(stdout), CniError);
    assertEquals({ kind: error.kind, msg: error.msg }, {
      kind: "plugin-output",
      msg: "the plugin succeeded, but did not print a result",
    });
  }
  for (const stdout of ["hello", "{} {}", '{"ips": ', "{'a': 1}"]) {
    const error = assertThrows(() => decodeOutput(stdout), CniError);
    assertEquals({ kind: error.kind, code: error.code }, { kind: "plugin-output", code: 6 });
    assertStringIncludes(error.msg, JSON.stringify(stdout));
  }
});

Deno.test("B54 null, and an object without version and members of a result, are not results", () => {
  for (const stdout of [" null\n", "{}", '{"cniVersion": ""}', '{"more": 1}', '{"ips": null, "dns": null}']) {
    const error = assertThrows(() => decodeOutput(stdout), CniError);
    assertEquals({ kind: error.kind, code: error.code }, { kind: "plugin-output", code: 6 }, stdout);
    assertStringIncludes(error.msg, JSON.stringify(stdout));
  }
});

Deno.test("B55 a result needs no address, and no version if it has a member of a result", () => {
  for (
    const stdout of ['{"cniVersion":"1.0.0"}', '{"dns":{}}', '{"ips":[]}', '{"ip4":{"ip":"10.1.0.2/24"}}']
  ) {
    assertEquals(JSON.stringify(decodeOutput(stdout)), stdout);
  }
});

Deno.test("an error object before exit status 0 is a failure, and an object that only resembles one is not", () => {
  const failureOf = (stdout: string) => failureDespiteSuccess(outcome({ code: 0, stdout }));
  const error = failureOf(
    '{"cniVersion": "1.0.0", "code": 7, "msg": "bad subnet", "details": "10.0.0.0/33"}',
  );
  assertEquals({ kind: error?.kind, code: error?.code, message: error?.message }, {
    kind: "plugin",
    code: 7,
    message: "bad subnet; 10.0.0.0/33",
  });
  assertEquals(error?.context.exitCode, 0);
  assertEquals(failureOf('{"code": 0, "msg": "no"}')?.kind, "plugin");
  assertEquals(failureOf('{"code": 50, "msg": "no daemon"}')?.kind, "not-ready");
  const harmless = [
    "",
    'done, "code" and "msg"',
    '{"cniVersion": "1.0.0", "vendor": {"code": 7, "msg": "x"}}',
    '{"code": "7", "msg": "x"}',
    '{"code": 7, "msg": ""}',
  ];
  for (const stdout of harmless) assertEquals(failureOf(stdout), undefined, stdout);
});

Deno.test("only the beginning of a long output is quoted", () => {
  const error = assertThrows(() => decodeOutput("x".repeat(100_000)), CniError);
  assertEquals(error.msg.length < 400, true);
  assertEquals(failure({ stderr: "y".repeat(100_000) }).context.stderr?.length, 4000);
});

Deno.test("property: whatever a plugin prints before a failing exit, the error has a message and says how the plugin ended", () => {
  const random = new Random(11);
  const pieces = ["{", "}", '"msg"', '"code"', ":", ",", "7", '"no"', "null", "[", " ", "\u{1f600}", "-1"];
  for (let round = 0; round < 500; round++) {
    const text = () => random.list(8, () => random.one(pieces)).join("");
    const error = failure({ stdout: text(), stderr: text(), code: 1 + random.below(254) });
    assertEquals(error instanceof CniError && error.msg.length > 0, true);
    if (error.kind !== "plugin" && error.kind !== "not-ready") assertStringIncludes(error.msg, "exit status");
  }
});
