// A process enters the namespace that is held open, or none.
import { assertEquals } from "@std/assert";
import { createNetns, netnsId, pinNetns, removeNetns, runInside } from "../../lib/host/netns.ts";
import { holdNetns } from "../../lib/host/netns_handle.ts";
import { need } from "./need.ts";

Deno.test({
  name: "a namespace that is held open is the one that is entered, wherever its path leads by then",
  ...need("root", "ip"),
  fn: async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-handle-" });
    const path = `${dir}/web`;
    try {
      await createNetns(path);
      const id = await netnsId(path) ?? "";
      using handle = await holdNetns(path, id);
      await removeNetns(path);
      await pinNetns("/proc/self/ns/net", path);
      const inside = await runInside(handle?.path ?? "", {
        program: "stat",
        args: ["-Lc", "%d:%i", "/proc/self/ns/net"],
      });
      assertEquals({ stdout: inside.stdout.trim(), stderr: inside.stderr }, { stdout: id, stderr: "" });
      // The path leads to another namespace now, and then to none.
      assertEquals(await holdNetns(path, id), undefined);
      await removeNetns(path);
      assertEquals(await holdNetns(path, id), undefined);
      await Deno.writeTextFile(path, "");
      assertEquals(await holdNetns(path, id), undefined);
      // Opening a FIFO or a socket without a peer does not block.
      const socket = `${dir}/socket`;
      using _listener = Deno.listen({ transport: "unix", path: socket });
      await new Deno.Command("mkfifo", { args: [`${dir}/fifo`] }).output();
      for (const other of [`${dir}/fifo`, socket, dir]) assertEquals(await holdNetns(other, id), undefined);
    } finally {
      await removeNetns(path).catch(() => {});
      await new Deno.Command("umount", { args: ["-l", dir], stderr: "null" }).output();
      await Deno.remove(dir, { recursive: true });
    }
  },
});
