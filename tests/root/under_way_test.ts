// How a sandbox is shown while it is being made, and when that was interrupted.
import { assertEquals, assertMatch } from "@std/assert";
import { parseExposition, valueOf } from "../daemon/prometheus_text.ts";
import { binaryTest, isThere, sh, until } from "./binary_world.ts";
import { DaemonProcess, leftIn } from "./daemon_world.ts";

binaryTest(
  "a sandbox that is being made is shown so, and as interrupted once its maker is dead",
  [],
  async (world) => {
    const begun = `${world.dir}/begun`;
    await world.plugin(
      "slow",
      `#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" != VERSION ] || echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
[ "$CNI_COMMAND" = ADD ] || exit 0
touch ${begun}
exec sleep 600
`,
    );
    await world.list([{ type: "slow" }]);
    await using daemon = await DaemonProcess.start(world);
    const id = world.id("web");
    const made = daemon.call("POST", "/v1/sandboxes", { name: "web", id }).catch(() => "cut short");
    await until("the plugin works", () => isThere(begun));

    const { status, json } = await daemon.call("GET", "/v1/sandboxes/web");
    assertEquals(
      { status, state: json.state, reason: json.reason, underWay: json.underWay },
      { status: 200, state: "broken", reason: "it is being created, or undone", underWay: true },
    );
    assertEquals((await daemon.call("GET", "/v1/sandboxes")).json, [json]);
    assertEquals(await world.json(["inspect", "web"]), json);
    assertMatch(await world.done(["ps"]), /web +under way/);
    const families = parseExposition((await daemon.call("GET", "/metrics")).text);
    const inState = (state: string) => valueOf(families, "podwire_sandboxes", { state });
    assertEquals([inState("under_way"), inState("broken")], [1, 0]);

    daemon.child.kill("SIGKILL");
    await daemon.child.status;
    await made;
    const left = await world.json(["inspect", "web"]);
    assertEquals(
      { state: left.state, reason: left.reason, underWay: left.underWay },
      {
        state: "broken",
        reason: "it was interrupted while it was being created: `podwire recover` cleans it up",
        underWay: undefined,
      },
    );
    assertMatch(await world.done(["ps"]), /web +broken/);
    assertEquals((await world.json(["recover"])).failed, []);
    assertEquals(await leftIn(world), []);
    await until(
      "the plugin is ended",
      async () => await sh(`grep -ls ${id} /proc/[0-9]*/environ || :`) === "",
    );
  },
);
