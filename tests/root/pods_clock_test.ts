// The time of day is set back while pods are open: nothing waits until the clock catches up. A time on disk
// that is in the future was written before, by this process or by another one.
import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { podsTest } from "./pods_world.ts";
import { DEL_REFUSAL, until } from "./sandbox_world.ts";

const HOURS_6 = 6 * 3_600_000;

/** The time of day of this process alone: the machine's clock is shared. */
class SetClock implements Disposable {
  readonly #date = globalThis.Date;
  /** How far ahead of the machine's it is, in milliseconds. */
  ahead: number;

  constructor(ahead: number) {
    this.ahead = ahead;
    const own = this.#date;
    const now = () => own.now() + this.ahead;
    globalThis.Date = new Proxy(own, {
      construct: (target, args, self) => Reflect.construct(target, args.length > 0 ? args : [now()], self),
      get: (target, key, self) => key === "now" ? now : Reflect.get(target, key, self),
    });
  }

  [Symbol.dispose](): void {
    globalThis.Date = this.#date;
  }
}

const isPast = (iso: string | undefined) => Date.parse(iso ?? "") <= Date.now();

podsTest(
  "F79 F97 what could not be detached before the clock was set back is retried within seconds",
  async (world) => {
    using clock = new SetClock(HOURS_6);
    const plugin = await world.sandbox.network("a", { DEL: DEL_REFUSAL });
    await using pods = await world.open();
    const pod = await world.pod("web");
    await pods.setUp(pod);
    assertEquals((await pods.tearDown(pod.containerId)).length, 1);
    await plugin.answer("DEL", {});
    clock.ahead = 0;
    await until(async () => (await pods.attachments()).length === 0);
  },
);

podsTest(
  "F79 F97 what another process could not detach, whose clock was hours ahead, is retried at once",
  async (world) => {
    using clock = new SetClock(HOURS_6);
    const plugin = await world.sandbox.network("a", { DEL: DEL_REFUSAL });
    const pod = await world.pod("web");
    {
      await using pods = await world.open();
      await pods.setUp(pod);
      assertEquals((await pods.tearDown(pod.containerId)).length, 1);
    }
    clock.ahead = 0;
    const [record] = await world.sandbox.store.all();
    assertEquals([record?.state, isPast(record?.since), isPast(record?.nextTry)], ["failed", false, false]);
    await plugin.answer("DEL", {});
    await using others = await world.open();
    await until(async () => (await others.attachments()).length === 0);
  },
);

podsTest(
  "F49 F91 pods and records with a time in the future are neither swept nor settled, and those that are gone are removed",
  async (world) => {
    using clock = new SetClock(HOURS_6);
    await world.sandbox.network("a");
    await using pods = await world.open();
    const [stays, goes] = [await world.pod("stays"), await world.pod("goes")];
    await pods.setUp(stays);
    await pods.setUp(goes);
    clock.ahead = 0;
    assertEquals((await pods.recover()).removed, []);
    assertEquals((await pods.gc()).removed, []);
    assertEquals((await pods.podStatus(stays.containerId)).ready, true);
    const { removed, failed } = await pods.gc({ validPods: [stays.containerId] });
    assertEquals(failed, []);
    assertEquals(
      removed.map(({ kind, containerId }) => `${kind} ${world.sandbox.plain(containerId ?? "")}`).sort(),
      ["attachment goes", "sandbox goes"],
    );
    // It returns at once, with a clock that is behind the records of the others.
    await pods.setUp(goes);
    const order = (await pods.attachments()).map(({ containerId, since }) => [
      world.sandbox.plain(containerId),
      isPast(since),
    ]);
    assertEquals(order.sort(), [["goes", true], ["stays", false]]);
    for (const pod of [stays, goes]) assertEquals(await pods.tearDown(pod.containerId), []);
    assertEquals(await world.sandbox.left(), ["netns/goes", "netns/stays"]);
  },
);

podsTest(
  "F110 no network is ready or unready since a time in the future, and its grace is as long as ever",
  async (world) => {
    using clock = new SetClock(HOURS_6);
    const plugin = await world.sandbox.network("a");
    const options = { graceMs: 6_000 };
    await using pods = await world.open(options);
    assertEquals((await pods.status({ fresh: true })).map(({ ready }) => ready), [true]);
    clock.ahead = 0;
    const [ready] = await pods.status({ fresh: true });
    assertEquals({ ready: ready?.ready, isPast: isPast(ready?.since) }, { ready: true, isPast: true });

    clock.ahead = HOURS_6;
    await plugin.answer("STATUS", { stdout: '{"code": 50, "msg": "agent down"}', code: 1 });
    const [graced] = await pods.status({ fresh: true });
    assertEquals({ ready: graced?.ready, reason: graced?.reason }, {
      ready: true,
      reason: "plugin-not-ready",
    });
    clock.ahead = 0;
    await until(async () => (await pods.status())[0]?.ready === false);
    const [unready] = await pods.status({ fresh: true });
    assertEquals({ ready: unready?.ready, isPast: isPast(unready?.since) }, { ready: false, isPast: true });

    // Its memory has no time in the future either.
    await pods[Symbol.asyncDispose]();
    await using others = await world.open(options);
    const [remembered] = await others.status({ fresh: true });
    assertEquals({ ready: remembered?.ready, since: remembered?.since }, {
      ready: false,
      since: unready?.since,
    });
  },
);

podsTest(
  "F47 F52 while the clock is set back locks are waited for, waits end, and plugins that hang run into their timeout",
  async (world) => {
    using clock = new SetClock(HOURS_6);
    const plugin = await world.sandbox.network("a", { ADD: { hang: true } });
    await using pods = await world.open({ timeouts: { ADD: 10_000 } });
    const web = await world.pod("web");
    const hanging = assertRejects(() => pods.setUp(web), CniError);
    await until(async () => (await world.sandbox.calls()).includes("a ADD web eth0"));
    clock.ahead = 0;
    const impatient = await assertRejects(
      () => pods.tearDown(web.containerId, { signal: AbortSignal.timeout(100) }),
      CniError,
    );
    assertEquals(impatient.kind, "timeout");
    const patient = pods.tearDown(web.containerId);
    assertEquals((await hanging).kind, "timeout");
    assertEquals(await patient, []);
    await plugin.answer("ADD", {});
    await pods.setUp(web);
    assertEquals(await pods.tearDown(web.containerId), []);
  },
);

podsTest(
  "F36 a file that is written after the clock was set back is read, although it looks older than what was read before",
  async (world) => {
    const file = `${world.sandbox.confDir}/net.conflist`;
    const write = async (name: string, date: number) => {
      const list = { cniVersion: "1.1.0", name, plugins: [{ type: "a" }] };
      await Deno.writeTextFile(file, JSON.stringify(list));
      await Deno.utime(file, new Date(date), new Date(date));
    };
    const now = Date.now();
    await using pods = await world.open();
    const names = async () => (await pods.networks()).map(({ name }) => name);
    for (const [name, date] of [["a1", now + HOURS_6], ["a2", now], ["a3", now - HOURS_6]] as const) {
      await write(name, date);
      assertEquals(await names(), [name]);
    }
    // Not even the date distinguishes these two.
    await write("a4", now + HOURS_6);
    assertEquals(await names(), ["a4"]);
    await write("a5", now + HOURS_6);
    assertEquals(await names(), ["a5"]);
  },
);
