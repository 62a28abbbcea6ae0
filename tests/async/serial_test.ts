import { assertEquals, assertRejects } from "@std/assert";
import { Serial } from "../../lib/async/serial.ts";

Deno.test("bodies with the same key run one after another, in the order of the calls; others run at once", async () => {
  const serial = new Serial();
  const seen: string[] = [];
  const gates = new Map(["a1", "a2", "b1"].map((name) => [name, Promise.withResolvers<void>()]));
  const run = (name: string) =>
    serial.run(name[0] ?? "", async () => {
      seen.push(`${name} begins`);
      await gates.get(name)?.promise;
      seen.push(`${name} ends`);
      return name;
    });
  const runs = ["a1", "a2", "b1"].map(run);
  gates.get("b1")?.resolve();
  assertEquals(await runs[2], "b1");
  assertEquals(seen, ["a1 begins", "b1 begins", "b1 ends"]);
  gates.get("a2")?.resolve();
  gates.get("a1")?.resolve();
  assertEquals(await Promise.all(runs), ["a1", "a2", "b1"]);
  assertEquals(seen.slice(3), ["a1 ends", "a2 begins", "a2 ends"]);
});

Deno.test("a body that throws does not keep the next one from running", async () => {
  const serial = new Serial();
  const failed = serial.run("a", () => Promise.reject(new Error("no")));
  const next = serial.run("a", () => Promise.resolve(1));
  await assertRejects(() => failed, Error, "no");
  assertEquals(await next, 1);
});
