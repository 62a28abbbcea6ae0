import { assertEquals } from "@std/assert";
import { oomKills } from "../../lib/host/cgroup.ts";
import "../open_libc.ts";

/** As the kernel writes them. */
const V2 = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n";
const V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";

Deno.test("the number of OOM kills is read in both versions of control groups", async () => {
  const root = await Deno.makeTempDir({ prefix: "pwt-cgroup-" });
  try {
    const write = async (dir: string, file: string, text: string) => {
      await Deno.mkdir(`${root}/${dir}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${dir}/${file}`, text);
    };
    await write("two", "memory.events", V2);
    await write("memory/one", "memory.oom_control", V1);
    // Kernels before 4.13 do not count them.
    await write("memory/old", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
    assertEquals(
      await Promise.all(["two", "one", "old", "none"].map((group) => oomKills(`/${group}`, { root }))),
      [2, 1, 0, 0],
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
