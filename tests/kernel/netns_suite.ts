import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { HostError } from "../../lib/host/command.ts";
import { netnsId, nsProblem, runInside } from "../../lib/host/netns.ts";
import { unmountBelow } from "../root/unmount.ts";
import type { TestedKernel } from "./kernels.ts";
import { ipJson, linkByIp, sh, type World, worldTest } from "./world.ts";

const OWN = "/proc/self/ns/net";

/** How often something is mounted at a path. */
async function mounts(path: string): Promise<number> {
  const text = await sh("cat /proc/self/mountinfo");
  return text.split("\n").filter((line) => line.split(" ")[4] === path).length;
}

/** The tests of the names of namespaces. */
export function netnsSuite(tested: TestedKernel): void {
  const test = (sentence: string, fn: (world: World) => Promise<void>) => worldTest(tested, sentence, fn);

  test("a new namespace is another one, with `lo` up, until it is removed", async ({ kernel, dir, host }) => {
    const path = `${dir}/a`;
    await kernel.createNetns(path);
    assertEquals({ problem: await nsProblem(path), mounts: await mounts(path) }, {
      problem: undefined,
      mounts: 1,
    });
    assertNotEquals(await netnsId(path), await netnsId(OWN));
    const [links, others] = [await ipJson(path, "link", "show"), await ipJson(host, "link", "show")];
    assertEquals(links, others);
    assertEquals((await linkByIp(path, "lo")).isUp, true);
    assertEquals(await kernel.removeNetns(path), true);
    assertEquals({ mounts: await mounts(path), removed: await kernel.removeNetns(path) }, {
      mounts: 0,
      removed: false,
    });
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound);
  });

  test("the alias of `lo` in a new namespace is the one that is asked for", async ({ kernel, dir }) => {
    await kernel.createNetns(`${dir}/a`, { alias: "podwire web 1" });
    const { alias, isUp } = await linkByIp(`${dir}/a`, "lo");
    assertEquals({ alias, isUp }, { alias: "podwire web 1", isUp: true });
  });

  test("a directory of namespaces is a mount point, shared, once", async ({ kernel, dir }) => {
    // Not below the other one: what is mounted below a shared mount is mounted wherever that is.
    const other = `${dir}-2`;
    const numbers = Array.from({ length: 8 }, (_, n) => n);
    const isShared = async () => {
      const text = await sh("cat /proc/self/mountinfo");
      return text.split("\n").find((line) => line.split(" ")[4] === other)?.includes(" shared:");
    };
    try {
      await Promise.all(numbers.map((n) => kernel.createNetns(`${other}/${n}`)));
      assertEquals({ mounts: await mounts(other), isShared: await isShared() }, {
        mounts: 1,
        isShared: true,
      });
      for (const n of numbers) assertEquals(await mounts(`${other}/${n}`), 1);
      assertEquals(new Set(await Promise.all(numbers.map((n) => netnsId(`${other}/${n}`)))).size, 8);
      for (const n of numbers) await kernel.removeNetns(`${other}/${n}`);
      // What was unmounted meanwhile is mounted again.
      await sh('umount "$0"', other);
      await kernel.createNetns(`${other}/again`);
      assertEquals({ mounts: await mounts(other), isShared: await isShared() }, {
        mounts: 1,
        isShared: true,
      });
    } finally {
      await unmountBelow(other);
    }
  });

  test("a namespace is removed in other mount namespaces too", async ({ kernel, dir }) => {
    await kernel.createNetns(`${dir}/a`);
    const other = new Deno.Command("unshare", {
      args: ["--mount", "--propagation", "unchanged", "sh", "-c", "echo up; exec sleep 300"],
      stdout: "piped",
    }).spawn();
    try {
      const output = other.stdout.getReader();
      await output.read();
      await output.cancel();
      assertEquals(await kernel.removeNetns(`${dir}/a`), true);
      const text = await sh(`cat /proc/${other.pid}/mountinfo`);
      assert(!text.includes(`${dir}/a `));
    } finally {
      other.kill("SIGKILL");
      await other.status;
    }
  });

  test("a path that exists is left alone", async ({ kernel, dir, host }) => {
    const id = await netnsId(host);
    const again = await assertRejects(() => kernel.createNetns(host), HostError);
    assertEquals({ reason: again.reason, message: again.message }, {
      reason: "exists",
      message: `Cannot create network namespace "${host}": exists`,
    });
    assertEquals({ id: await netnsId(host), mounts: await mounts(host) }, { id, mounts: 1 });
    await Deno.writeTextFile(`${dir}/file`, "");
    const error = await assertRejects(() => kernel.createNetns(`${dir}/file`), HostError);
    assertEquals(error.reason, "exists");
    assertStringIncludes(error.message, "plain file");
    await assertRejects(() => kernel.createNetns("relative"), TypeError);
    await assertRejects(() => kernel.removeNetns("relative"), TypeError);
  });

  test("of many that create one namespace one wins", async ({ kernel, dir }) => {
    const calls = Array.from({ length: 6 }, () => kernel.createNetns(`${dir}/a`));
    const results = await Promise.allSettled(calls);
    assertEquals(results.filter(({ status }) => status === "fulfilled").length, 1);
    assertEquals(await mounts(`${dir}/a`), 1);
  });

  test("all mounts on a path are removed, and what a crash left", async ({ kernel, dir }) => {
    await Deno.writeTextFile(`${dir}/left`, "");
    assertEquals(await kernel.removeNetns(`${dir}/left`), true);
    await kernel.createNetns(`${dir}/a`);
    for (let n = 0; n < 3; n++) await sh('unshare --net="$0" true', `${dir}/a`);
    assertEquals(await mounts(`${dir}/a`), 4);
    assertEquals(await kernel.removeNetns(`${dir}/a`), true);
    assertEquals(await mounts(`${dir}/a`), 0);
  });

  test("nothing but namespaces and empty files is removed", async ({ kernel, dir, host }) => {
    await Deno.writeTextFile(`${dir}/file`, "precious");
    await Deno.mkdir(`${dir}/folder`);
    await Deno.symlink("host", `${dir}/link`);
    await Deno.symlink("nowhere", `${dir}/dangling`);
    for (const name of ["file", "folder", "link", "dangling"]) {
      const error = await assertRejects(() => kernel.removeNetns(`${dir}/${name}`), HostError);
      assertEquals(error.reason, "not-a-netns");
      await Deno.lstat(`${dir}/${name}`);
    }
    await assertRejects(() => kernel.removeNetns(OWN), HostError);
    assertEquals(await nsProblem(host), undefined);
  });

  test("several removals at once end with nothing there", async ({ kernel, dir }) => {
    await kernel.createNetns(`${dir}/a`);
    const calls = Array.from({ length: 5 }, () => kernel.removeNetns(`${dir}/a`));
    assert((await Promise.all(calls)).includes(true));
    assertEquals(await nsProblem(`${dir}/a`), "does not exist");
  });

  test("a namespace with a second name outlives its process and its first name", async ({ kernel, dir }) => {
    const child = new Deno.Command("unshare", {
      args: ["--net", "sh", "-c", "echo up; exec sleep 300"],
      stdout: "piped",
    }).spawn();
    try {
      const output = child.stdout.getReader();
      await output.read();
      await output.cancel();
      const id = await netnsId(`/proc/${child.pid}/ns/net`);
      await kernel.pinNetns(child.pid, `${dir}/a`);
      await kernel.pinNetns(`${dir}/a`, `${dir}/b`);
      await kernel.pinNetns(OWN, `${dir}/own`);
      assertEquals(await netnsId(`${dir}/own`), await netnsId(OWN));
      child.kill("SIGKILL");
      await child.status;
      assertEquals([await netnsId(`${dir}/a`), await netnsId(`${dir}/b`)], [id, id]);
      assertEquals(await kernel.removeNetns(`${dir}/a`), true);
      assertEquals(
        (await runInside(`${dir}/b`, { program: "ip", args: ["link", "show", "lo"] })).code,
        0,
      );
    } finally {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended above.
      }
      await child.status;
    }
  });

  test("only network namespaces get a second name, and nothing else is left", async ({ kernel, dir, host }) => {
    await Deno.writeTextFile(`${dir}/file`, "");
    const uts = `${dir}/uts`;
    await sh('touch "$0" && unshare --uts="$0" true', uts);
    for (
      const [source, words] of [
        [`${dir}/absent`, "does not exist"],
        [`${dir}/file`, "plain file"],
        [dir, "directory"],
        ["/proc/self/ns/uts", "namespace of another kind (uts)"],
        [uts, "is a namespace of another kind"],
        [4_194_305, "does not exist"],
      ] as const
    ) {
      const error = await assertRejects(() => kernel.pinNetns(source, `${dir}/b`), HostError);
      assertEquals(error.reason, "not-a-netns");
      assertStringIncludes(error.message, words);
      assertEquals(await nsProblem(`${dir}/b`), "does not exist");
    }
    assertEquals((await assertRejects(() => kernel.pinNetns(OWN, host), HostError)).reason, "exists");
  });
}
