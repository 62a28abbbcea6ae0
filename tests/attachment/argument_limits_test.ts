// Long arguments: those that the kernel accepts arrive complete, longer ones are refused before anything runs.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);
/** MAX_ARG_STRLEN, minus the name of the variable and the zero byte. */
const ROOM = 131_072 - "CNI_ARGS=".length - 1;
const NAME = "K8S_POD_NAME";
const FITTING = "x".repeat(ROOM - `${NAME}=`.length);

Deno.test("F65 arguments that just fit into the variable arrive complete at ADD and DEL", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  await world.attachments().add(listOf(["a"]), world.request({ args: [[NAME, FITTING]] }));
  await world.attachments().del(listOf(["a"]), world.request());
  const lengths = (await a.calls()).map(({ verb, env }) => [verb, env.CNI_ARGS?.length]);
  assertEquals(lengths, [["ADD", ROOM], ["DEL", ROOM]]);
});

Deno.test("F65 F70 arguments that are one byte too long are refused before anything is done, for one network and for all", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const list = listOf(["a"]);
  for (const value of [`${FITTING}x`, `${FITTING.slice(1)}ä`]) {
    const args = [[NAME, value]] as const;
    const error = await failing(() => world.attachments().add(list, world.request({ args })));
    assertEquals({ kind: error.kind, code: error.code }, { kind: "usage", code: 4 });
    assertMatch(
      error.message,
      /together are too long for the variable CNI_ARGS; .* 131073 bytes, of at most 131072$/,
    );
    assertMatch(error.context.hint ?? "", /capability argument/);
    const wanted = { list, capabilityArgs: {} };
    const all = [{ ...wanted, ifName: "eth0", args: [] }, { ...wanted, ifName: "eth1", args }];
    assertEquals((await failing(() => world.attachments().requirePossible("c1", all))).msg, error.msg);
  }
  assertEquals({ verbs: await world.plugins.verbs(), files: await world.files() }, { verbs: [], files: [] });
});

Deno.test("F67 F76 64 kB of annotations go to ADD and, from the record, to DEL", async () => {
  await using world = await NetworkWorld.make();
  const a = await world.plugins.install("a", { ADD: { stdout: resultWith("10.1.0.2/24") } });
  const name = "io.kubernetes.cri.pod-annotations";
  const list = listOf([], { plugins: [{ type: "a", capabilities: { [name]: true } }] });
  const annotations = Object.fromEntries(
    Array.from({ length: 64 }, (_, index) => [`example.net/${index}`, '\u00e4"\n'.repeat(256)]),
  );
  await world.attachments().add(list, world.request({ capabilityArgs: { [name]: annotations } }));
  await world.attachments().del(list, world.request());
  const seen = (await a.calls()).map(({ verb, config }) => [verb, config.runtimeConfig[name]]);
  assertEquals(seen, [["ADD", annotations], ["DEL", annotations]]);
});
