// Full and read-only disks, real ones: the error comes before the first plugin, or everything is undone.
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { listOf, type NetworkWorld } from "../attachment/world.ts";
import { binaryTest, sh } from "./binary_world.ts";
import {
  diskTest,
  empty,
  fill,
  filling,
  NO_SPACE,
  READ_ONLY,
  readOnly,
  withDisk,
  writable,
} from "./small_disk.ts";

const failing = (act: () => unknown): Promise<CniError> => assertRejects(async () => await act(), CniError);
const recordsOf = async (world: NetworkWorld) => (await world.store.all()).map(({ state }) => state);

diskTest(
  "D29 no plugin runs when the record cannot be written: disk full",
  "stateDir",
  async (world, dir) => {
    await fill(dir);
    const error = await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
    assertMatch(error.msg, NO_SPACE);
    assertEquals({ verbs: await world.plugins.verbs(), files: await world.files() }, {
      verbs: [],
      files: [],
    });
    await empty(dir);
    await world.attachments().add(listOf(["a", "b"]), world.request());
  },
);

diskTest(
  "D29 no plugin runs when the record cannot be written: read-only",
  "stateDir",
  async (world, dir) => {
    await readOnly(dir);
    const error = await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
    assertMatch(error.msg, READ_ONLY);
    assertEquals({ verbs: await world.plugins.verbs(), files: await world.files() }, {
      verbs: [],
      files: [],
    });
  },
);

for (
  const [what, spoil, words] of [["full", fill, NO_SPACE], ["read-only", readOnly, READ_ONLY]] as const
) {
  diskTest(
    `D10 D29 an ADD whose cache entry cannot be written is undone: ${what}`,
    "cacheDir",
    async (world, dir) => {
      await spoil(dir);
      const error = await failing(() => world.attachments().add(listOf(["a", "b"]), world.request()));
      assertMatch(error.msg, words);
      assertEquals({ verb: error.context.verb, network: error.context.network, hint: error.context.hint }, {
        verb: "ADD",
        network: "web",
        hint: undefined,
      });
      assertEquals(await world.plugins.verbs(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
      assertEquals({ recordsOf: await recordsOf(world), all: world.log.all }, { recordsOf: [], all: [] });
    },
  );
}

/** The last block of a file has no room for a record with this. */
const LARGE = { capabilityArgs: { large: "x".repeat(5_000) } };

diskTest(
  "D29 an ADD whose plugin leaves no space for its outcome is undone",
  "stateDir",
  async (world, dir) => {
    await world.plugins.install("full", { ADD: { script: filling(dir) } });
    const request = world.request(LARGE);
    const error = await failing(() => world.attachments().add(listOf(["a", "full"]), request));
    assertMatch(error.msg, NO_SPACE);
    assertEquals(await world.plugins.verbs(), ["a ADD", "full ADD", "full DEL", "a DEL"]);
    assertEquals(await world.files(), []);
  },
);

diskTest(
  "D28 an undo that fails on a full disk hides no cause and keeps the record",
  "stateDir",
  async (world, dir) => {
    const refusal = { stdout: '{"code": 107, "msg": "no room"}', code: 1, script: filling(dir) };
    const b = await world.plugins.install("c", { ADD: refusal, DEL: { code: 1 } });
    const request = world.request(LARGE);
    const error = await failing(() => world.attachments().add(listOf(["a", "c"]), request));
    assertEquals({ code: error.code, msg: error.msg, type: error.context.plugin?.type }, {
      code: 107,
      msg: "no room",
      type: "c",
    });
    assertMatch(error.context.hint ?? "", /podwire recover/);
    assertEquals(await recordsOf(world), ["adding"]);
    assertMatch(world.log.all[0] ?? "", NO_SPACE);
    await empty(dir);
    await b.answer("DEL", {});
    await world.attachments().remove((await world.store.all())[0]!);
    assertEquals(await recordsOf(world), []);
  },
);

diskTest("D38 DEL needs no space on the disk", "stateDir", async (world, dir) => {
  await world.attachments().add(listOf(["a", "b"]), world.request());
  await fill(dir);
  await world.attachments().del(listOf(["a", "b"]), world.request());
  assertEquals((await world.plugins.verbs()).slice(2), ["b DEL", "a DEL"]);
  assertEquals(await recordsOf(world), []);
});

diskTest(
  "D38 DEL on a read-only disk detaches, reports the record that it could not remove, and can be repeated",
  "stateDir",
  async (world, dir) => {
    await world.attachments().add(listOf(["a", "b"]), world.request());
    await readOnly(dir);
    const error = await failing(() => world.attachments().del(listOf(["a", "b"]), world.request()));
    assertMatch(error.msg, READ_ONLY);
    assertEquals(error.context.verb, "DEL");
    assertEquals((await world.plugins.verbs()).slice(2), ["b DEL", "a DEL"]);
    assertEquals(await recordsOf(world), ["attached"]);
    await writable(dir);
    await world.attachments().del(listOf(["a", "b"]), world.request());
    assertEquals({ recordsOf: await recordsOf(world), verbsCount: (await world.plugins.verbs()).length }, {
      recordsOf: [],
      verbsCount: 6,
    });
  },
);

binaryTest(
  "D29 with the state on a disk that is full or read-only run makes nothing, and rm still removes",
  [],
  async (world) => {
    const ran = `${world.dir}/ran`;
    await world.plugin(
      "net",
      `#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>${ran}\n[ $CNI_COMMAND != ADD ] || echo '{"dns": {}}'\n`,
    );
    await world.list([{ type: "net" }]);
    await withDisk(world.stateDir, async () => {
      await world.done(["run", "before", "--id", world.id("before")]);
      await Deno.remove(ran);
      for (
        const [spoil, mend, words] of [[fill, empty, NO_SPACE], [readOnly, writable, READ_ONLY]] as const
      ) {
        await spoil(world.stateDir);
        const error = await world.refused(1, ["run", "web", "--id", world.id("web")]);
        assertMatch(error.msg, words);
        assert(!(await sh(`cat ${ran} 2>/dev/null || :`)).includes("ADD"));
        const traces = (await world.traces()).filter((trace) => trace.includes(world.id("web")));
        assertEquals(traces, []);
        await mend(world.stateDir);
      }
      await fill(world.stateDir);
      const { code, stderr } = await world.podwire(["rm", "-f", "before"]);
      assertEquals(code, 0, stderr);
      assertEquals((await sh(`cat ${ran}`)).trim(), "DEL");
    });
  },
);
