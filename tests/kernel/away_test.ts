import { assertEquals } from "@std/assert";
import { printedBy } from "./denow_process.ts";
import { KERNELS } from "./kernels.ts";
import { worldTest } from "./world.ts";

const FLAGS = ["--allow-read", "--allow-write", "--allow-run", "--allow-ffi"];

for (const tested of KERNELS.filter(({ name }) => name === "NetlinkKernel")) {
  worldTest(
    tested,
    "looks at the own namespace see it, however often this process is away",
    async ({ dir, pod }) => {
      const link = `${dir}/link`;
      await Deno.symlink("/proc/self/ns/net", link);
      assertEquals(JSON.parse(await printedBy("away_process.ts", FLAGS, [pod, link])), {
        path: 0,
        numbered: 0,
        link: 0,
        process: 0,
        same: 0,
        inside: 0,
      });
    },
  );
}
