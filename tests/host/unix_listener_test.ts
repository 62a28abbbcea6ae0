import { assertEquals } from "@std/assert";
import { hasListener, openConnection, removeDeadSocket } from "../../lib/host/unix_listener.ts";
import { leaveDeadSocket } from "../dead_socket.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

const isThere = (path: string) => Deno.lstat(path).then(() => true, () => false);

Deno.test("only a process that listens counts as a listener, and only a dead socket is removed", () =>
  inTempDir(async (dir) => {
    const [missing, file, dead, live] = ["missing", "file", "dead", "live"].map((name) => `${dir}/${name}`);
    await Deno.writeTextFile(file!, "text");
    await leaveDeadSocket(dead!);
    const listener = Deno.listen({ transport: "unix", path: live! });
    try {
      // A child process that another test starts now holds the closed listener for a moment.
      await until(async () => !await hasListener(dead!), "no process listens");
      for (const path of [missing!, file!, `${file}/below`]) {
        assertEquals([await hasListener(path), await removeDeadSocket(path)], [false, false], path);
      }
      assertEquals([await hasListener(live!), await removeDeadSocket(live!)], [true, false]);
      assertEquals(await removeDeadSocket(dead!), true);
      assertEquals(await isThere(dead!), false);
      assertEquals([await isThere(live!), await Deno.readTextFile(file!)], [true, "text"]);
    } finally {
      listener.close();
    }
  }));

Deno.test("a connection that is only open sees the end of the other side, and its own", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/s`;
    using listener = Deno.listen({ transport: "unix", path });
    const [accepted, connection] = await Promise.all([listener.accept(), openConnection(path)]);
    if (connection === undefined) throw new Error("no process listens");
    let isClosed = false;
    const closed = connection.closed.then(() => isClosed = true);
    await accepted.write(new TextEncoder().encode("what it says does not matter"));
    assertEquals(isClosed, false);
    accepted.close();
    await closed;
    connection[Symbol.dispose]();
    const [other, own] = await Promise.all([listener.accept(), openConnection(path)]);
    own?.[Symbol.dispose]();
    await own?.closed;
    assertEquals(await other.read(new Uint8Array(1)), null);
    other.close();
  }));
