import { assert, assertEquals } from "@std/assert";
import { breathe, turnIfDue } from "../../lib/async/breathe.ts";

/** Takes as long as a small file takes to read and to parse. */
function step(): void {
  const end = performance.now() + 0.2;
  while (performance.now() < end) { /* works */ }
}

Deno.test("many short steps let other work of the process run, long before they are done", async () => {
  let turns = 0;
  const counting = setInterval(() => turns++, 0);
  try {
    for (let done = 0; done < 1_000; done++) {
      await breathe();
      step();
    }
  } finally {
    clearInterval(counting);
  }
  assert(turns >= 5, `${turns} turns`);
});

Deno.test("while one of many workers waits for other work of the process, no other one takes a step", async () => {
  let isWaiting = false;
  const work = async () => {
    for (let done = 0; done < 100; done++) {
      const turn = turnIfDue();
      if (turn === undefined) {
        assertEquals(isWaiting, false);
        step();
        continue;
      }
      isWaiting = true;
      await turn;
      isWaiting = false;
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
});
