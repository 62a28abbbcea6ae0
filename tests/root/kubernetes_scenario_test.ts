// The commands of "On a node that you know" in docs/kubernetes.md, in their order, on a machine with the real systemd.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { needClients, requireClient } from "../cri/clients.ts";
import { need } from "./need.ts";
import { commandsOf, runShown } from "./scenario.ts";
import { needMachine, SystemdMachine } from "./systemd_machine.ts";

const DOCUMENT = Deno.readTextFileSync(fromFileUrl(new URL("../../docs/kubernetes.md", import.meta.url)));

const machineTest = needMachine(
  "the scenario of docs/kubernetes.md runs line by line, and prints what stands there",
);

Deno.test({
  name: machineTest.name,
  ignore: [machineTest, need("root", "systemd", "binary"), needClients("crictl")].some(({ ignore }) =>
    ignore
  ),
  fn: async () => {
    const steps = commandsOf(DOCUMENT, "On a node that you know");
    assert(steps.length > 10, "the commands were found");
    await using machine = await SystemdMachine.boot([[requireClient("crictl"), "usr/local/bin/crictl"]]);
    await runShown(machine, steps);
    assertEquals(await machine.done("ls /run/netns; podwire attachments --json"), "[]\n", "nothing is left");
  },
});
