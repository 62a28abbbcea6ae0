import { assertEquals, assertRejects } from "@std/assert";
import { leaveHome, lookAtHome, untilMayLeave } from "../../lib/host/home.ts";

Deno.test("a look that no departure crosses is made once", async () => {
  let looks = 0;
  leaveHome(() => {});
  assertEquals(await lookAtHome(() => Promise.resolve(++looks)), 1);
  assertEquals(looks, 1);
});

Deno.test("a look that a departure crosses is repeated, whether it found something or failed", async () => {
  for (const crossed of [() => "away", () => Promise.reject(new Error("away"))]) {
    let looks = 0;
    const look = async () => {
      if (looks++ > 0) return "home";
      leaveHome(() => {});
      return await crossed();
    };
    assertEquals({ seen: await lookAtHome(look), looks }, { seen: "home", looks: 2 });
  }
});

Deno.test("an answer that does not depend on where the process is counts at once", async () => {
  let looks = 0;
  const look = () => {
    looks++;
    leaveHome(() => {});
    return Promise.resolve("elsewhere");
  };
  assertEquals(await lookAtHome(look, (seen) => seen !== "elsewhere"), "elsewhere");
  assertEquals(looks, 1);
});

Deno.test("the failure of a look that no departure crossed is thrown", async () => {
  const failure = new Error("no");
  assertEquals(await assertRejects(() => lookAtHome(() => Promise.reject(failure))), failure);
});

Deno.test("departures that can wait do so while a look is crossed again and again", async () => {
  const events: string[] = [];
  let looks = 0;
  const seen = lookAtHome(async () => {
    events.push("look");
    // A departure that is ready whenever a look begins.
    const departure = untilMayLeave().then(() => leaveHome(() => events.push("leave")));
    if (++looks < 4) await departure;
    else for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    return looks;
  });
  assertEquals(await seen, 4);
  await untilMayLeave();
  const crossed = ["look", "leave", "look", "leave", "look", "leave", "look"];
  assertEquals(events.slice(0, crossed.length), crossed);
});
