// Host ports on which a program listens, on the real kernel with the real ss.
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { runCommand } from "../../lib/host/command.ts";
import { sandboxTest } from "./sandbox_world.ts";

const failing = (act: () => Promise<unknown>): Promise<CniError> => assertRejects(act, CniError);

sandboxTest(
  "U25 a port on which a program listens is refused before anything runs, with the program's name",
  async (world) => {
    await world.network("a");
    const list = JSON.parse(await Deno.readTextFile(`${world.confDir}/a.conflist`));
    list.plugins[0].capabilities = { portMappings: true };
    await Deno.writeTextFile(`${world.confDir}/a.conflist`, JSON.stringify(list));
    using socket = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port: hostPort } = socket.addr as Deno.NetAddr;
    const publish = (hostIP: string, protocol: "tcp" | "udp" = "tcp") => [
      { hostPort, containerPort: 80, hostIP, protocol },
    ];
    const { sandboxes } = world.podwire();
    for (const hostIP of ["", "0.0.0.0", "127.0.0.1"]) {
      const error = await failing(() => sandboxes.run({ name: "web", publish: publish(hostIP) }));
      assertEquals(error.kind, "conflict");
      assertStringIncludes(error.msg, `listens on 127.0.0.1:${hostPort}/tcp`);
      assertStringIncludes(error.msg, `(process ${Deno.pid})`);
    }
    assertEquals({ calls: await world.calls(), left: await world.left() }, { calls: [], left: [] });
    await sandboxes.run({ name: "other", publish: publish("", "udp") });
    await sandboxes.run({ name: "six", publish: publish("::1") });
    for (const name of ["other", "six"]) await sandboxes.remove(name);
    // Without ss, nothing is refused.
    const run: typeof runCommand = (request) =>
      request.program === "ss" ? Promise.reject(new Deno.errors.NotFound("ss")) : runCommand(request);
    await world.podwire({ run }).sandboxes.run({ name: "web", publish: publish("") });
    await sandboxes.remove("web");
  },
);
