import { assertEquals } from "@std/assert";
import { cgroupUsage } from "../../lib/host/cgroup_usage.ts";
import "../open_libc.ts";

Deno.test("the usage of a group is read in both versions of control groups", async () => {
  const root = await Deno.makeTempDir({ prefix: "pwt-cgroup-" });
  try {
    const write = async (path: string, text: string) => {
      await Deno.mkdir(`${root}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${path}`, text);
    };
    await write("two/memory.current", "5000\n");
    await write("two/memory.stat", "anon 1000\nfile 4000\ninactive_file 3000\npgfault 7\npgmajfault 2\n");
    await write("two/cpu.stat", "usage_usec 12\nuser_usec 8\nsystem_usec 4\n");
    await write("two/pids.current", "3\n");
    await write("memory/one/memory.usage_in_bytes", "5000\n");
    await write(
      "memory/one/memory.stat",
      "cache 1\nrss 2\npgfault 1\ninactive_file 1\ntotal_rss 1000\ntotal_pgfault 7\ntotal_pgmajfault 2\ntotal_inactive_file 3000\n",
    );
    await write("cpuacct/one/cpuacct.usage", "12000\n");
    await write("pids/one/pids.current", "3\n");
    await write("pids/few/pids.current", "1\n");
    const usage = {
      cpuNanoseconds: 12_000,
      memoryBytes: 5_000,
      workingSetBytes: 2_000,
      rssBytes: 1_000,
      pageFaults: 7,
      majorPageFaults: 2,
      processes: 3,
    };
    assertEquals(await cgroupUsage("/two", { root }), usage);
    assertEquals(await cgroupUsage("/one", { root }), usage);
    const nothing = Object.fromEntries(Object.keys(usage).map((name) => [name, undefined]));
    assertEquals<unknown>(await cgroupUsage("/few", { root }), { ...nothing, processes: 1 });
    assertEquals(await cgroupUsage("/none", { root }), undefined);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
