import { assertEquals } from "@std/assert";
import { netnsId, netnsOf, netnsProcesses, sameNetns } from "../../lib/host/netns.ts";
import { openLibc } from "../../lib/kernel/libc.ts";
import { NetnsFile } from "../../lib/kernel/netns_file.ts";
import { KERNELS } from "./kernels.ts";
import { worldTest } from "./world.ts";

const OWN = "/proc/self/ns/net";
/** So many calls take longer than another thread needs for a look. */
const CALLS_AWAY = 200;
const LOOKS = 40;

/** Enters a namespace, and stays there for a while. */
function stayIn(path: string): void {
  const libc = openLibc();
  using file = new NetnsFile(libc, path);
  file.inside(() => {
    for (let call = 0; call < CALLS_AWAY; call++) new NetnsFile(libc, path)[Symbol.dispose]();
  });
}

for (const tested of KERNELS.filter(({ name }) => name === "NetlinkKernel")) {
  worldTest(
    tested,
    "looks at the own namespace see it, however often this process is away",
    async ({ dir, pod }) => {
      const own = await netnsId(OWN);
      await Deno.symlink(OWN, `${dir}/link`);
      const looks = [
        () => netnsId(OWN),
        () => netnsId(`/proc/${Deno.pid}/ns/net`),
        () => netnsId(`${dir}/link`),
        () => netnsOf(Deno.pid),
      ];
      for (let n = 0; n < LOOKS; n++) {
        for (const look of looks) {
          const seen = look();
          stayIn(pod);
          assertEquals(await seen, own);
        }
      }
      const [isPod, processes] = [sameNetns(OWN, pod), netnsProcesses(pod)];
      stayIn(pod);
      assertEquals([await isPod, await processes], [false, []]);
    },
  );
}
