import { assertEquals, assertRejects } from "@std/assert";
import { once } from "../../lib/async/once.ts";

Deno.test("once() calls its function once for all callers, and again only after a failure", async () => {
  let made = 0;
  const gate = Promise.withResolvers<void>();
  const get = once(async () => {
    made++;
    await gate.promise;
    if (made === 1) throw new Error("not yet");
    return made;
  });
  const first = [get(), get(), get()].map((each) => assertRejects(() => each, Error, "not yet"));
  gate.resolve();
  await Promise.all(first);
  assertEquals(await Promise.all([get(), get()]), [2, 2]);
  assertEquals({ value: await get(), made }, { value: 2, made: 2 });
});
