import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { bootId } from "../../lib/host/boot.ts";
import { HostError } from "../../lib/host/command.ts";
import { FakeRun } from "../fake_run.ts";
import "../open_libc.ts";

Deno.test("the identity of a boot is the same for every call", async () => {
  const id = await bootId();
  assertMatch(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assertEquals(await bootId(), id);
});

Deno.test("an identity that cannot be read is an error, not another boot", async () => {
  const run = new FakeRun();
  const refused = (request: Parameters<typeof run.run>[0]) =>
    run.run(request).then((outcome) => ({ ...outcome, code: 1, stdout: "" }));
  await assertRejects(() => bootId(refused), HostError);
});
