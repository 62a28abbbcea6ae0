import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { Podwire } from "../../lib/runtime/podwire.ts";
import { printChecksummed } from "../../lib/state/checksummed.ts";
import { StateFormat } from "../../lib/state/state_format.ts";
import { Lines } from "../attachment/world.ts";
import { inTempDir } from "../temp_dir.ts";
import { storesIn } from "../stores.ts";

/** Defines a test with a state directory of its own. */
function formatTest(name: string, fn: (stateDir: string, log: Lines) => Promise<void>): void {
  Deno.test(name, () => inTempDir((dir) => fn(`${dir}/state`, new Lines())));
}

const newer = () => printChecksummed("podwire.format.v1", { format: 4, hint: "moved" });

formatTest(
  "the layout is written once, and a directory without the file counts as of the first version",
  async (stateDir, log) => {
    const file = `${stateDir}/format`;
    const before = new StateFormat(stateDir, log);
    await before.requireKnown();
    await before.warnIfNewer();
    await assertRejects(() => Deno.stat(stateDir), Deno.errors.NotFound);
    await before.note();
    const { ino, mode } = await Deno.stat(file);
    assertEquals((mode ?? 0) & 0o777, 0o600);
    const after = new StateFormat(stateDir, log);
    await after.requireKnown();
    await after.note();
    assertEquals((await Deno.stat(file)).ino, ino);
    assertEquals(log.all, []);
  },
);

formatTest(
  "a newer layout is refused before a write, logged before a read, and never overwritten",
  async (stateDir, log) => {
    for (
      const text of [
        await newer(),
        await printChecksummed("podwire.format.v2", {}),
        '{"kind":"podwire.format.v3"}',
      ]
    ) {
      await Deno.mkdir(stateDir, { recursive: true });
      await Deno.writeTextFile(`${stateDir}/format`, text);
      const format = new StateFormat(stateDir, log);
      for (const act of [() => format.requireKnown(), () => format.note()]) {
        const error = await assertRejects(act, CniError);
        assertEquals(error.kind, "conflict");
        assertStringIncludes(error.context.hint ?? "", "upgrade podwire");
      }
      log.all.length = 0;
      await storesIn(stateDir, { format }).store.scanAll();
      await format.warnIfNewer();
      assertEquals(log.all.length, 1);
      assertStringIncludes(log.all[0] ?? "", "upgrade podwire");
      assertEquals(await Deno.readTextFile(`${stateDir}/format`), text);
    }
  },
);

formatTest(
  "a damaged layout file blocks nothing: the next write moves it aside and writes a new one",
  async (stateDir, log) => {
    const file = `${stateDir}/format`;
    await new StateFormat(stateDir, log).note();
    const whole = await Deno.readTextFile(file);
    for (const damaged of ["", "{", "[]", whole.replace('"format":3', '"format":4'), "\0".repeat(80)]) {
      assert(damaged !== whole);
      await Deno.writeTextFile(file, damaged);
      const format = new StateFormat(stateDir, log);
      await format.requireKnown();
      await format.warnIfNewer();
      assertEquals(await Deno.readTextFile(file), damaged);
      await format.note();
      assertEquals(await Deno.readTextFile(file), whole);
    }
    assert(log.all.every((line) => line.includes("moved aside")), log.all.join("\n"));
  },
);

formatTest(
  "with a newer layout every command that writes is refused before it does anything, and commands that read work",
  async (stateDir, log) => {
    await Deno.mkdir(stateDir, { recursive: true });
    await Deno.writeTextFile(`${stateDir}/format`, await newer());
    const dir = (name: string) => `${stateDir}/../${name}`;
    const podwire = new Podwire({
      ...{ stateDir, log, runDir: dir("run"), cacheDir: dir("cache"), netnsDir: dir("netns") },
      embeddedOnly: true,
    });
    const target = { containerId: "c", netns: "/proc/self/ns/net", ifName: "eth0", owner: "cli" };
    const request = { ...target, args: [], capabilityArgs: {} };
    for (
      const act of [
        () => podwire.sandboxes.run({ name: "web", networks: [] }),
        () => podwire.add("podwire", request),
        () => podwire.del("podwire", request),
        () => podwire.forget({ containerId: "c", reason: "it is gone" }),
        () => podwire.recover(),
        () => podwire.gc(),
      ]
    ) {
      const error = await assertRejects(act, CniError, undefined, String(act));
      assertEquals({ kind: error.kind, file: error.context.file }, {
        kind: "conflict",
        file: `${stateDir}/format`,
      }, String(act));
    }
    assertEquals(await podwire.sandboxes.list(), []);
    assertEquals(await podwire.attachments(), []);
    await podwire.networks();
    await podwire.gc({ dryRun: true });
    const left = await Array.fromAsync(Deno.readDir(dir("")), ({ name }) => name);
    assertEquals(left, ["state"]);
    assertEquals(await Array.fromAsync(Deno.readDir(stateDir), ({ name }) => name), ["format"]);
    assertEquals(log.all.filter((line) => line.includes("newer version")).length, 1);
  },
);
