import { assertEquals } from "@std/assert";
import { HostError } from "../../lib/host/command.ts";
import { asCniError } from "../../lib/errors/to_cni_error.ts";
import { CniError } from "../../lib/cni/error.ts";

Deno.test("a CniError stays what it is and learns what was tried", () => {
  const inner = new CniError("plugin", "no", { code: 107, verb: "DEL" });
  const error = asCniError(inner, { verb: "ADD", network: "web" });
  assertEquals([error.kind, error.code, error.context.verb, error.context.network], [
    "plugin",
    107,
    "DEL",
    "web",
  ]);
});

Deno.test("a missing Deno permission names the flag", () => {
  const refused = new Deno.errors.NotCapable(
    'Requires run access to "/opt/cni/bin/bridge", run again with the --allow-run flag',
  );
  const error = asCniError(refused);
  assertEquals([error.kind, error.context.hint], [
    "permission",
    "run again with --allow-run=/opt/cni/bin/bridge",
  ]);
});

Deno.test("what the kernel refuses is of kind permission and says to be root", () => {
  const denied = new HostError("Cannot run", {
    code: 1,
    stderr: "RTNETLINK answers: Operation not permitted",
  });
  for (const thrown of [denied, new Deno.errors.PermissionDenied("Permission denied (os error 13)")]) {
    const error = asCniError(thrown);
    assertEquals([error.kind, error.context.hint], ["permission", "run as root"]);
    assertEquals(error.cause, thrown);
  }
});

Deno.test("an abort is a cancellation, a timer that fired is a timeout", async () => {
  assertEquals(asCniError(AbortSignal.abort().reason).kind, "cancelled");
  const signal = AbortSignal.timeout(1);
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
  assertEquals(asCniError(signal.reason).kind, "timeout");
  assertEquals(asCniError(new CniError("timeout", "late")).kind, "timeout");
});

Deno.test("a failed command of the host tells its exit code and words", () => {
  const error = asCniError(new HostError('Cannot run "ip"', { code: 2, stderr: "Cannot find device" }));
  assertEquals([error.kind, error.code, error.context.exitCode, error.context.stderr], [
    "io",
    5,
    2,
    "Cannot find device",
  ]);
});

Deno.test("misuse of the language is a defect of podwire, everything else is io", () => {
  assertEquals([asCniError(new TypeError("x")).kind, asCniError(new TypeError("x")).code], ["internal", 999]);
  assertEquals(asCniError(new Error("disk on fire")).kind, "io");
  assertEquals(asCniError("just text").msg, "just text");
});
