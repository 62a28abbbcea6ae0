import { assertEquals } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { HostError } from "../../lib/host/command.ts";

Deno.test("a CniError stays the same and gets the context", () => {
  const inner = new CniError("plugin", "no", { code: 107, verb: "DEL" });
  const error = asCniError(inner, { verb: "ADD", network: "web" });
  assertEquals({
    kind: error.kind,
    code: error.code,
    verb: error.context.verb,
    network: error.context.network,
  }, { kind: "plugin", code: 107, verb: "DEL", network: "web" });
});

Deno.test("a missing Deno permission names the flag", () => {
  const refused = new Deno.errors.NotCapable(
    'Requires run access to "/opt/cni/bin/bridge", run again with the --allow-run flag',
  );
  const error = asCniError(refused);
  assertEquals({ kind: error.kind, hint: error.context.hint }, {
    kind: "permission",
    hint: "run again with --allow-run=/opt/cni/bin/bridge",
  });
});

Deno.test("a refusal of the kernel has kind permission and the hint to run as root", () => {
  const denied = new HostError("Cannot run", {
    code: 1,
    stderr: "RTNETLINK answers: Operation not permitted",
  });
  for (const thrown of [denied, new Deno.errors.PermissionDenied("Permission denied (os error 13)")]) {
    const error = asCniError(thrown);
    assertEquals({ kind: error.kind, hint: error.context.hint }, { kind: "permission", hint: "run as root" });
    assertEquals(error.cause, thrown);
  }
});

Deno.test("an abort becomes kind cancelled, an expired timer becomes kind timeout", async () => {
  assertEquals(asCniError(AbortSignal.abort().reason).kind, "cancelled");
  const signal = AbortSignal.timeout(1);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  assertEquals(asCniError(signal.reason).kind, "timeout");
  assertEquals(asCniError(new CniError("timeout", "late")).kind, "timeout");
});

Deno.test("a failed command of the host keeps its exit code and message", () => {
  const error = asCniError(new HostError('Cannot run "ip"', { code: 2, stderr: "Cannot find device" }));
  assertEquals({
    kind: error.kind,
    code: error.code,
    exitCode: error.context.exitCode,
    stderr: error.context.stderr,
  }, { kind: "io", code: 5, exitCode: 2, stderr: "Cannot find device" });
});

Deno.test("an error of the language is a defect of podwire, every other error is io", () => {
  assertEquals([asCniError(new TypeError("x")).kind, asCniError(new TypeError("x")).code], ["internal", 999]);
  assertEquals(asCniError(new Error("disk on fire")).kind, "io");
  assertEquals(asCniError("just text").msg, "just text");
});
