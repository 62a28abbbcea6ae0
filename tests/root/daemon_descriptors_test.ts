// The daemon with few descriptors and many idle connections.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { requestOverUnix } from "../../lib/host/http_over_unix.ts";
import { until } from "../until.ts";
import { binaryTest } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";

const DESCRIPTORS = 256;
const IDLE = 300;

binaryTest(
  "with 256 descriptors and 300 idle connections the daemon answers, makes sandboxes, and lives",
  [],
  async (world) => {
    await world.list([world.bridgePlugin()]);
    const socket = `${world.dir}/run/p.sock`;
    const script = `ulimit -n ${DESCRIPTORS}; exec "$0" "$@"`;
    await using daemon = new Deno.Command("sh", {
      args: ["-c", script, PODWIRE_BINARY, ...world.dirs, "serve", `--socket=${socket}`, "--log-format=json"],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const log = new Response(daemon.stderr).text();
    const ask = (method: string, target: string, body = "") =>
      requestOverUnix(socket, { method, target, body });
    await until(async () => (await ask("GET", "/healthz").catch(() => undefined))?.status === 200);
    const idle: Deno.Conn[] = [];
    try {
      for (let index = 0; index < IDLE; index++) {
        idle.push(await Deno.connect({ transport: "unix", path: socket }));
        // Every other connection has begun a request.
        if (index % 2 === 0) await idle[index]!.write(new TextEncoder().encode("GET / HTTP/1.1\r\n"));
      }
      assertEquals((await ask("GET", "/v1/sandboxes")).status, 200);
      const id = world.id("few");
      const made = await ask("POST", "/v1/sandboxes", JSON.stringify({ id, name: id }));
      assertEquals({ status: made.status, state: JSON.parse(made.text).state }, {
        status: 201,
        state: "ready",
      }, made.text);
      assertEquals((await ask("DELETE", `/v1/sandboxes/${id}`)).status, 204);
      assertMatch((await ask("GET", "/metrics")).text, /^podwire_uncaught_errors_total 0$/m);
      // As many files as it may have open, and a few connections more, which wait in the kernel.
      const open =
        (await runCommand({ program: "ls", args: [`/proc/${daemon.pid}/fd`] })).stdout.split("\n").length;
      assert(open < DESCRIPTORS / 2, `${open} files are open`);
    } finally {
      for (const connection of idle) connection.close();
      daemon.kill("SIGTERM");
    }
    assertEquals((await daemon.status).code, 0, await log);
  },
);
