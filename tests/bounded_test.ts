import { assertRejects } from "@std/assert";
import { bounded } from "./bounded.ts";

Deno.test("a test that hangs fails after the time that the runner allows", async () => {
  await assertRejects(() => bounded(() => new Promise(() => {}), 0.001), Error, "longer than 0.001 minutes");
  await assertRejects(() => bounded(() => Promise.reject(new Error("its own")), 10), Error, "its own");
  await bounded(() => Promise.resolve(), 10);
  await bounded(() => Promise.resolve(), 0);
});
