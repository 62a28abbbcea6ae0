import { assert } from "@std/assert";
import { breathe } from "../../lib/async/breathe.ts";

Deno.test("many short steps let other work of the process run, long before they are done", async () => {
  let turns = 0;
  const counting = setInterval(() => turns++, 0);
  try {
    for (let step = 0; step < 1_000; step++) await breathe();
  } finally {
    clearInterval(counting);
  }
  assert(turns >= 5, `${turns} turns`);
});
