import { assertEquals, assertRejects } from "@std/assert";
import { statOf } from "../../lib/host/file.ts";
import { tryContainerLock } from "../../lib/state/container_locks.ts";
import { Locks } from "../../lib/state/locks.ts";
import { FakeRun } from "../fake_run.ts";
import { leaveNote } from "../processes.ts";
import { until } from "../until.ts";

async function inLocks(fn: (locks: Locks, dir: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "podwire-locks-" });
  try {
    await fn(new Locks(`${dir}/run`), `${dir}/run`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("D80 operations on one container wait for each other, those on different containers do not", () =>
  inLocks(async (locks) => {
    const events: string[] = [];
    const moment = () => new Promise<void>((resolve) => setTimeout(resolve, 30));
    const operate = async (id: string, name: string, work = moment) => {
      await using _lock = await locks.containers.hold(id);
      events.push(`${name} begins`);
      await work();
      events.push(`${name} ends`);
    };
    await Promise.all([operate("c1", "one"), operate("c1", "two")]);
    assertEquals(events[1]?.split(" ")[0], events[0]?.split(" ")[0]);
    assertEquals(events.length, 4);
    events.length = 0;
    const bothBegan = () => until(() => events.length >= 2);
    await Promise.all([operate("c1", "one", bothBegan), operate("c2", "two", bothBegan)]);
    assertEquals(events.slice(0, 2).sort(), ["one begins", "two begins"]);
  }));

Deno.test("a lock file exists exactly while an operation is in progress, even one that fails", () =>
  inLocks(async (locks) => {
    assertEquals(await locks.containers.list(), []);
    {
      await using _lock = await locks.containers.hold("c1");
      assertEquals(await locks.containers.list(), ["c1"]);
      assertEquals(await locks.containers.tryLock("c1"), undefined);
    }
    assertEquals(await locks.containers.list(), []);
    const failing = async () => {
      await using _lock = await locks.containers.hold("c1");
      throw new Error("oh");
    };
    await assertRejects(failing, Error, "oh");
    assertEquals(await locks.containers.list(), []);
  }));

Deno.test("the lock file of a killed process is listed, and free", () =>
  inLocks(async (locks, dir) => {
    await Deno.mkdir(`${dir}/containers`, { recursive: true });
    await Deno.writeTextFile(`${dir}/containers/c1.lock`, "");
    await Deno.writeTextFile(`${dir}/containers/README`, "");
    assertEquals(await locks.containers.list(), ["c1"]);
    using lock = await locks.containers.tryLock("c1");
    assertEquals(lock === undefined, false);
  }));

Deno.test("F52 the signal ends a wait for a lock", () =>
  inLocks(async (locks) => {
    using _held = await locks.containers.lock("c1");
    const signal = AbortSignal.abort("stop");
    const error = await locks.containers.lock("c1", signal).catch((error) => error);
    assertEquals(error, "stop");
    const later = new AbortController();
    const waiting = locks.containers.hold("c1", later.signal);
    setTimeout(() => later.abort("enough"), 20);
    assertEquals(await waiting.catch((error) => error), "enough");
  }));

Deno.test("F49 the GC verb of a network waits for every ADD and DEL of that network, these wait for it, and other networks wait for neither", () =>
  inLocks(async (locks) => {
    const first = await locks.networks.share("web");
    const second = await locks.networks.share("web");
    const exclusive = locks.networks.exclude("web");
    let swept = false;
    const done = exclusive.then((lock) => {
      swept = true;
      return lock;
    });
    first[Symbol.dispose]();
    await new Promise((resolve) => setTimeout(resolve, 60));
    assertEquals(swept, false);
    second[Symbol.dispose]();
    using _sweep = await done;
    using _other = await locks.networks.share("other", AbortSignal.timeout(60_000));
    const late = locks.networks.share("web", AbortSignal.timeout(30));
    await assertRejects(() => late, DOMException);
  }));

Deno.test("a mark of the sweep is removed by the next ADD or DEL, and not before", () =>
  inLocks(async (locks) => {
    const exclusive = async <T>(body: () => Promise<T>) => {
      using _sweep = await locks.networks.exclude("web");
      return await body();
    };
    await exclusive(() => locks.networks.mark("web", "mark"));
    assertEquals(await exclusive(() => locks.networks.isMarked("web", "mark")), true);
    assertEquals(await exclusive(() => locks.networks.isMarked("web", "another")), false);
    (await locks.networks.share("other"))[Symbol.dispose]();
    assertEquals(await exclusive(() => locks.networks.isMarked("web", "mark")), true);
    (await locks.networks.share("web"))[Symbol.dispose]();
    assertEquals(await exclusive(() => locks.networks.isMarked("web", "mark")), false);
  }));

Deno.test("an abandoned lock file is distinguished from one that is held, and probing creates no file", () =>
  inLocks(async (locks, dir) => {
    using _held = await locks.containers.lock("held");
    await Deno.writeTextFile(`${dir}/containers/left.lock`, "");
    assertEquals({
      listAbandoned: await locks.containers.listAbandoned(),
      list: await locks.containers.list(),
    }, {
      listAbandoned: ["left"],
      list: [
        "held",
        "left",
      ],
    });
    const busy = ["held", "left", "none"].map((id) => locks.containers.isBusy(id));
    assertEquals(await Promise.all(busy), [true, false, false]);
    // Several probes at once do not take each other for an operation.
    const looks = await Promise.all(Array.from({ length: 20 }, () => locks.containers.listAbandoned()));
    assertEquals(new Set(looks.flat()), new Set(["left"]));
    assertEquals(looks.flat().length, 20);
    assertEquals(await locks.containers.list(), ["held", "left"]);
  }));

Deno.test("tryContainerLock() keeps others out, and keeps the lock file of a crash", () =>
  inLocks(async (locks, dir) => {
    const outcome = await tryContainerLock(locks, "c1", async () => {
      assertEquals(await tryContainerLock(locks, "c1", () => Promise.resolve("never")), { isBusy: true });
      return "done";
    });
    assertEquals({ outcome, list: await locks.containers.list() }, {
      outcome: { isBusy: false, value: "done" },
      list: [],
    });
    await Deno.writeTextFile(`${dir}/containers/c1.lock`, "");
    await assertRejects(
      () => tryContainerLock(locks, "c1", () => Promise.reject(new Error("oh"))),
      Error,
      "oh",
    );
    assertEquals(await locks.containers.listAbandoned(), ["c1"]);
  }));

Deno.test("the lock file of an operation that is just ending is not taken for an abandoned one", () =>
  inLocks(async (locks) => {
    for (let ms = 0; ms < 30; ms++) {
      const lock = await locks.containers.lock("c1");
      const trying = tryContainerLock(locks, "c1", () => Promise.resolve("done"));
      await new Promise((resolve) => setTimeout(resolve, ms % 10));
      await lock.remove();
      lock[Symbol.dispose]();
      await trying;
      assertEquals(await locks.containers.list(), [], `after ${ms % 10} ms`);
    }
  }));

Deno.test("D66 F49 the next holder of the gc lock ends the plugins of a holder that was killed during GC, later holders run nothing", async () => {
  const dir = await Deno.makeTempDir({ prefix: "podwire-locks-" });
  try {
    const marker = `${dir}/gc/web.collecting`;
    const isThere = async () => await statOf(marker) !== undefined;
    const host = new FakeRun();
    const locks = new Locks(dir, { run: host.run });
    {
      using _lock = await locks.networks.exclude("web");
      assertEquals(await locks.networks.collecting("web", isThere), true);
      await assertRejects(
        () => locks.networks.collecting("web", () => Promise.reject(new Error("oh"))),
        Error,
        "oh",
      );
    }
    (await locks.networks.share("web"))[Symbol.dispose]();
    assertEquals({ isThere: await isThere(), requestsCount: host.requests.length }, {
      isThere: false,
      requestsCount: 0,
    });
    for (const shared of [true, false]) {
      await Deno.writeTextFile(marker, "");
      await leaveNote(dir, { subject: "", task: "GC" });
      const count = shared ? 3 : 1;
      const taken = await Promise.all(
        Array.from(
          { length: count },
          () => shared ? locks.networks.share("web") : locks.networks.exclude("web"),
        ),
      );
      assertEquals([await isThere(), host.requests.splice(0).length >= 1], [false, true]);
      for (const lock of taken) lock[Symbol.dispose]();
    }
    // A holder that cannot look for processes leaves the marker, and releases the lock.
    await Deno.writeTextFile(marker, "");
    await leaveNote(dir, { subject: "", task: "GC" });
    const blind = new Locks(dir, { run: new FakeRun([new Error("no sh")]).run });
    await assertRejects(() => blind.networks.share("web"), Error, "no sh");
    assertEquals(await isThere(), true);
    using _free = await locks.networks.exclude("web", AbortSignal.timeout(60_000));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
