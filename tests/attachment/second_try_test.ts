// A DEL whose configuration is refused, and an ADD that did nothing.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Leftovers, LeftoverSource } from "../../lib/attachment/leftovers.ts";
import { CniError } from "../../lib/cni/error.ts";
import type { Answer } from "../recording_plugin.ts";
import { listOf, NetworkWorld, resultWith } from "./world.ts";

const failing = (act: () => Promise<unknown>): Promise<CniError> => assertRejects(act, CniError);
const refusing = (code: number, msg: string): Answer => ({ stdout: JSON.stringify({ code, msg }), code: 1 });
const ADDED: Answer = { stdout: resultWith("10.1.0.2/24") };
/** Errors with which a plugin refuses its input. */
const OF_INPUT: readonly [number, string][] = [
  [2, "no such field"],
  [6, "cannot decode"],
  [7, "bad subnet"],
  [999, "invalid CIDR address: 10.0.0.0/33"],
  [
    999,
    "failed to load netconf: json: cannot unmarshal number into Go struct field NetConf.bridge of type string",
  ],
  [999, "Link not found"],
];
/** Other errors. */
const OF_THE_MOMENT: readonly [number, string][] = [
  [3, "invalid CIDR address"],
  [5, "invalid CIDR address"],
  [107, "will not"],
  [999, "dial unix /run/dhcp.sock: i/o timeout"],
  [50, "the daemon is down"],
];

Deno.test("an ADD that the first plugin refuses, as it does its DEL, leaves no record", async () => {
  for (const [code, msg] of OF_INPUT) {
    await using world = await NetworkWorld.make();
    const answer = refusing(code, msg);
    await world.plugins.install("a", { ADD: answer, DEL: answer });
    await world.plugins.install("b");
    const error = await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
    assertEquals({ code: error.code, msg: error.msg, verb: error.context.verb, hint: error.context.hint }, {
      code,
      msg,
      verb: "ADD",
      hint: undefined,
    });
    assertEquals(await world.files(), [], msg);
    assertEquals(await world.failed.containers(), []);
  }
});

Deno.test("an ADD that failed for another reason, with another message or at a later plugin stays on record", async () => {
  const cases: readonly (readonly [ReadonlyMap<string, readonly Answer[]>, string])[] = [
    ...OF_THE_MOMENT.filter(([code]) => code !== 3).map(([code, msg]) =>
      [new Map([["a", [refusing(code, msg), refusing(code, msg)]]]), msg] as const
    ),
    [new Map([["a", [refusing(7, "bad subnet"), refusing(7, "bad bridge")]]]), "bad bridge"],
    [new Map([["a", [refusing(7, "bad subnet"), refusing(107, "bad subnet")]]]), "bad subnet"],
    [new Map([["a", [ADDED, refusing(7, "no")]], ["b", [refusing(7, "no"), {}]]]), "no"],
  ];
  for (const [plugins, said] of cases) {
    await using world = await NetworkWorld.make();
    for (const [type, [ADD = {}, DEL = {}]] of plugins) await world.plugins.install(type, { ADD, DEL });
    await failing(() => world.attachments().add(listOf([...plugins.keys()]), world.request()));
    const [record] = await world.store.ofContainer("c1");
    assertEquals({ state: record?.state, msg: record?.error?.msg }, { state: "failed", msg: said });
  }
});

Deno.test("an interface in the namespace keeps the record of a refused ADD until it is gone", async () => {
  await using world = await NetworkWorld.make();
  const answer = refusing(7, "bad subnet");
  await world.plugins.install("a", { ADD: answer, DEL: answer });
  const shown = { stdout: '[{"ifname": "lo"}, {"ifname": "eth0"}]' };
  const run: typeof world.host.run = (request) =>
    request.program === "nsenter" ? Promise.resolve({ ...EMPTY, ...shown }) : world.host.run(request);
  const attachments = world.attachments({}, { run });
  await failing(() => attachments.add(listOf(["a"]), world.request()));
  const [record] = await world.store.ofContainer("c1");
  assertEquals({ state: record?.state, refusal: record?.refusal }, {
    state: "failed",
    refusal: { code: 7, msg: "bad subnet" },
  });
  shown.stdout = '[{"ifname": "lo"}]';
  await attachments.remove(record!);
  assertEquals(await world.files(), []);
});

Deno.test("a DEL whose recorded configuration is refused is tried with the current one, and logs that", async () => {
  for (const [code, msg] of OF_INPUT) {
    await using world = await NetworkWorld.make();
    const a = await world.plugins.install("a", { ADD: ADDED });
    const freed: LeftoverSource[] = [];
    const freeLeftovers = (owner: LeftoverSource): Promise<Leftovers> => {
      freed.push(owner);
      return Promise.resolve({ freed: ["the address"], remaining: ["a link"] });
    };
    const old = listOf(["a"], { subnet: "old" });
    const mended = listOf(["a"], { subnet: "new" });
    const attachments = world.attachments({}, { currentList: () => Promise.resolve(mended), freeLeftovers });
    await attachments.add(old, world.request());
    await a.answer("DEL", refusing(code, msg), 1);
    await attachments.del(mended, world.request());
    const dels = (await a.calls()).filter(({ verb }) => verb === "DEL");
    assertEquals(dels.map(({ config }) => config.prevResult.ips[0].address), ["10.1.0.2/24", "10.1.0.2/24"]);
    assertEquals(await world.files(), []);
    assertEquals(freed.map(({ config }) => config), [old.text]);
    assertEquals(freed.map(({ addresses }) => addresses), [["10.1.0.2/24"]]);
    const [warned = "", ...others] = world.log.all;
    assertStringIncludes(warned, msg);
    assertStringIncludes(warned, "the configuration that the network has now");
    assertEquals(others, ["info freed the address", "warn left behind: a link"]);
  }
});

Deno.test("a DEL that failed for another reason is never tried with another configuration", async () => {
  for (const [code, msg] of OF_THE_MOMENT.filter(([code]) => code !== 3)) {
    await using world = await NetworkWorld.make();
    const a = await world.plugins.install("a", { ADD: ADDED });
    const b = await world.plugins.install("b");
    const currentList = () => Promise.resolve(listOf(["b"]));
    const attachments = world.attachments({}, { currentList });
    await attachments.add(listOf(["a"]), world.request());
    await a.answer("DEL", refusing(code, msg));
    const error = await failing(() => attachments.del(listOf(["b"]), world.request()));
    assertEquals(error.msg, msg);
    assertEquals((await b.calls()).length, 0);
  }
});

Deno.test("instead of a plugin that was uninstalled, those that its network has now are used", async () => {
  await using world = await NetworkWorld.make();
  await world.plugins.install("a", { ADD: ADDED });
  const b = await world.plugins.install("b");
  const files: ReturnType<typeof listOf>[] = [];
  const attachments = world.attachments({}, { currentList: () => Promise.resolve(files[0]) });
  await attachments.add(listOf(["a"]), world.request());
  await Deno.remove(`${world.plugins.dir}/a`);
  assertEquals((await failing(() => attachments.del(listOf(["a"]), world.request()))).kind, "plugin-missing");
  files.push(listOf(["b"]));
  const [record] = await world.store.ofContainer("c1");
  await b.answer("DEL", refusing(7, "what is that"), 1);
  const both = await failing(() => attachments.remove(record!));
  assertEquals(both.kind, "plugin-missing");
  assertStringIncludes(both.context.details ?? "", "what is that");
  await attachments.remove(record!);
  assertEquals(await world.files(), []);
});

const EMPTY = { code: 0, signal: null, stdout: "", stderr: "", elapsedMs: 0, ended: "exit" } as const;
