import { assertEquals } from "@std/assert";
import { inTempDir } from "../temp_dir.ts";
import { sh } from "./binary_world.ts";
import { need } from "./need.ts";
import { unmountBelow } from "./unmount.ts";

Deno.test({
  name: "what a test has mounted is unmounted, and not the targets of its links",
  ...need("root"),
  fn: () =>
    inTempDir(async (dir) => {
      const mounts = async () => (await sh(`grep -o ' ${dir}[^ ]*' /proc/self/mounts || :`)).trim();
      for (const name of ["own", "own/below", "own-too"]) {
        await Deno.mkdir(`${dir}/${name}`);
        await sh(`mount -t tmpfs podwire-test ${dir}/${name}`);
      }
      await sh(`mount -t tmpfs podwire-test ${dir}/own/below && ln -s ../own-too ${dir}/own/link`);
      try {
        await unmountBelow(`${dir}/own`);
        assertEquals(await mounts(), `${dir}/own-too`);
        await unmountBelow(`${dir}/own`);
        assertEquals(await mounts(), `${dir}/own-too`);
      } finally {
        await unmountBelow(dir);
      }
      assertEquals(await mounts(), "");
    }),
});
