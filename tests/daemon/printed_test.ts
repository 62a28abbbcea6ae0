// Large values are read and printed piece by piece, so that other requests are answered in between.
import { assert, assertEquals } from "@std/assert";
import { delay } from "../../lib/async/wait.ts";
import { anyText, openObjectOf } from "../../lib/cni/shape.ts";
import { printed } from "../../lib/daemon/printed.ts";
import { decodeChecksummed, printChecksummed } from "../../lib/state/checksummed.ts";

/** Returns how often other work had its turn while `body` ran. */
async function turnsDuring<T>(
  body: () => Promise<T>,
): Promise<{ readonly turns: number; readonly value: T }> {
  let isOver = false;
  let turns = 0;
  const others = (async () => {
    for (; !isOver; turns++) await delay(0);
  })();
  try {
    return { value: await body(), turns };
  } finally {
    isOver = true;
    await others;
  }
}

const MANY = 20;
/** A large result, as a plugin may return it. */
const LARGE = "x".repeat(1024 * 1024);

Deno.test("a list of sandboxes with results of 1 MiB is printed piece by piece, with the same bytes as at once", async () => {
  const list = Array.from({ length: MANY }, (_, n) => ({ n, note: `${LARGE}\u00e9`, left: undefined }));
  const { value, turns } = await turnsDuring(() => printed(list));
  assertEquals(await new Blob([...value]).text(), `${JSON.stringify(list)}\n`);
  assert(turns >= MANY, `${turns} turns`);
});

Deno.test("any JSON is printed with the same bytes as at once", async () => {
  for (const json of [[], {}, [undefined, 1, [2]], "a", null, [{ toJSON: () => "b" }], new Array(2), 7]) {
    assertEquals(await new Blob([...await printed(json)]).text(), `${JSON.stringify(json)}\n`);
  }
});

Deno.test("records with results of 1 MiB are read one by one, and other work runs in between", async () => {
  const text = await printChecksummed("podwire.port.v1", { note: LARGE });
  const read = () => decodeChecksummed("podwire.port.v1", text, openObjectOf({ note: anyText }, {}));
  const { value, turns } = await turnsDuring(() => Promise.all(Array.from({ length: MANY }, read)));
  assertEquals(value.every(({ note }) => note === LARGE), true);
  assert(turns >= MANY, `${turns} turns`);
});
