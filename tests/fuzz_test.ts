import { assert, assertEquals } from "@std/assert";
import { randomOf, SEED_VARIABLE, seedFromEnvironment } from "./cni/random.ts";
import { fuzz, readCorpus } from "./fuzz.ts";
import { mutate } from "./fuzz/mutation.ts";
import { SHAPES } from "./fuzz/shapes.ts";
import { exercise } from "./fuzz/target.ts";

Deno.test("every random document gives a value or a CniError, and nothing else", async () => {
  const seed = seedFromEnvironment() ?? Date.now() % 1_000_000_000;
  const { cases, values, errors, findings } = await fuzz(seed, 2_000);
  assertEquals(findings, [], `${SEED_VARIABLE}=${seed}`);
  // A run in which everything is refused, or nothing, would prove little.
  assert(cases > 50 && values > cases / 10 && errors > cases / 10, `${cases} ${values} ${errors}`);
});

Deno.test("a large document of every shape gives a value or a CniError", () => {
  const tally = { values: 0, errors: 0 };
  for (const { kind, make } of SHAPES) exercise(kind, make(4 * 1024), tally, ["1.1.0"]);
  assert(tally.values > 0 && tally.errors > 0);
});

Deno.test("the same seed makes the same documents", async () => {
  const [text = "", other = ""] = (await readCorpus()).get("config") ?? [];
  const documents = (seed: number) =>
    Array.from({ length: 20 }, (_, at) => mutate(text, other, randomOf(seed + at)));
  assertEquals(documents(1), documents(1));
  assert(new Set(documents(1)).size > 15);
});
