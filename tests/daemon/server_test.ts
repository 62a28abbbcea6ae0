import { assertEquals, assertRejects } from "@std/assert";
import type { HttpRequest } from "../../lib/daemon/http_message.ts";
import { openSocketServer } from "../../lib/daemon/server.ts";
import { requestOverUnix } from "../../lib/host/http_over_unix.ts";
import { silentLogger } from "../../lib/host/log.ts";
import { inTempDir } from "../temp_dir.ts";
import { until } from "../until.ts";

const NEVER_MS = 120_000;

const atSocket = (fn: (path: string) => Promise<void>) => inTempDir((dir) => fn(`${dir}/p.sock`));

const ask = (path: string, target: string) => requestOverUnix(path, { method: "GET", target, body: "" });
const names = (path: string) =>
  Array.from(Deno.readDirSync(path.slice(0, path.lastIndexOf("/"))), ({ name }) => name).sort();

Deno.test("a removed socket is made again, and requests over the previous one are answered", () =>
  atSocket(async (path) => {
    const go = Promise.withResolvers<void>();
    let asked = 0;
    const handle = async (request: HttpRequest) => {
      asked++;
      if (request.url.endsWith("/slow")) await go.promise;
      return new Response("ok");
    };
    const server = await openSocketServer({ path, handle, log: silentLogger });
    const slow = ask(path, "/slow");
    await until(() => asked === 1);
    await Deno.remove(path);
    await server.keep();
    assertEquals((await ask(path, "/")).text, "ok");
    go.resolve();
    assertEquals((await slow).text, "ok");
    await server.close(NEVER_MS);
    assertEquals(names(path), ["p.sock.lock"]);
  }));

Deno.test("a server that is being closed does not make its socket again", () =>
  atSocket(async (path) => {
    const go = Promise.withResolvers<void>();
    let asked = 0;
    const handle = async () => {
      asked++;
      await go.promise;
      return new Response("ok");
    };
    const server = await openSocketServer({ path, handle, log: silentLogger });
    const slow = ask(path, "/");
    await until(() => asked === 1);
    const closed = server.close(NEVER_MS);
    await until(() => !names(path).includes("p.sock"));
    await server.keep();
    assertEquals(names(path), ["p.sock.lock"]);
    await assertRejects(() => ask(path, "/"));
    go.resolve();
    assertEquals((await slow).text, "ok");
    await closed;
    await server.keep();
    assertEquals(names(path), ["p.sock.lock"]);
  }));

Deno.test("a server that is closed while it makes its socket again closes the new socket", () =>
  atSocket(async (path) => {
    const handle = () => Promise.resolve(new Response("ok"));
    for (let round = 0; round < 20; round++) {
      const server = await openSocketServer({ path, handle, log: silentLogger });
      await Deno.remove(path);
      const keeping = server.keep();
      if (round % 2 === 1) await new Promise((resolve) => setTimeout(resolve, round / 4));
      await server.close(NEVER_MS);
      await keeping;
      assertEquals(names(path), ["p.sock.lock"]);
    }
  }));
