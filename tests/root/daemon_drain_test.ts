// How the daemon ends, with the compiled program and a slow plugin.
import { assertEquals } from "@std/assert";
import { binaryTest, type BinaryWorld, sh, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";

/** A plugin whose ADD waits until {@linkcode goOn}. */
async function slowNetwork(world: BinaryWorld): Promise<void> {
  const script = `#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) until [ -e ${world.dir}/go ]; do sleep 0.05; done; echo '{"cniVersion":"1.0.0"}' ;;
esac
`;
  await world.plugin("slow", script);
  await world.list([{ type: "slow" }]);
}

const goOn = (world: BinaryWorld) => Deno.writeTextFile(`${world.dir}/go`, "");

/** Its socket is gone as soon as it drains. */
const drains = (daemon: DaemonProcess) => () =>
  daemon.connect().then((one) => (one.close(), false), () => true);

const runs = (id: string) => async () =>
  (await sh(`grep -lsz CNI_CONTAINERID=${id} /proc/[0-9]*/environ || :`)) !== "";

binaryTest("SIGTERM lets requests in progress end", [], async (world) => {
  await slowNetwork(world);
  await using daemon = await DaemonProcess.start(world);
  const id = world.id("one");
  const made = daemon.call("POST", "/v1/sandboxes", { name: "web", id });
  await until("the plugin runs", runs(id));
  const ended = daemon.end();
  await until("it drains", drains(daemon));
  await goOn(world);
  await ended;
  const { status, json, text } = await made;
  assertEquals({ status, state: json?.state }, { status: 201, state: "ready" }, text);
  assertEquals((await world.json(["inspect", "web"])).state, "ready");
  await world.done(["rm", "web"]);
  assertEquals(await leftIn(world), []);
});

binaryTest(
  "a request that does not end in time is undone, and the client gets a retry answer",
  [],
  async (world) => {
    await slowNetwork(world);
    await using daemon = await DaemonProcess.start(world, ["--drain-timeout=1s"]);
    const id = world.id("one");
    const made = daemon.call("POST", "/v1/sandboxes", { name: "web", id });
    await until("the plugin runs", runs(id));
    await daemon.end("SIGINT");
    const { status, json, text } = await made;
    assertEquals({ status, msg: json?.error.msg }, { status: 503, msg: "podwire is shutting down" }, text);
    assertEquals(await leftIn(world), []);
  },
);

binaryTest(
  "at a second signal the daemon ends at once, and the next one settles what it left",
  [],
  async (world) => {
    await slowNetwork(world);
    const id = world.id("one");
    {
      await using daemon = await DaemonProcess.start(world);
      const made = daemon.call("POST", "/v1/sandboxes", { name: "web", id }).catch(() => undefined);
      await until("the plugin runs", runs(id));
      daemon.child.kill("SIGTERM");
      await until("it drains", drains(daemon));
      daemon.child.kill("SIGTERM");
      assertEquals((await daemon.child.status).signal, "SIGTERM");
      await made;
    }
    await using next = await DaemonProcess.start(world);
    await until("all is undone", async () => (await leftIn(world)).length === 0);
    await next.end();
  },
);
