// The commands under "The daemon" in the README, in their order, on a machine with the real systemd.
import { assert, assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { need } from "./need.ts";
import { commandsOf, runShown } from "./scenario.ts";
import { needMachine, SystemdMachine } from "./systemd_machine.ts";

const README = Deno.readTextFileSync(fromFileUrl(new URL("../../README.md", import.meta.url)));

Deno.test({
  ...need(
    ...[
      "root",
      "systemd",
      "binary",
      "cni-1.1.1",
      "runc",
      "catatonit",
      "busybox",
      "iptables",
      "curl",
    ] as const,
  ),
  ...needMachine("the scenario of the README runs line by line, and prints what stands there"),
  fn: async () => {
    const shown = commandsOf(README, "The daemon");
    assertEquals(shown[0]?.command.startsWith("apt install "), true, "what the machine has without it");
    const steps = shown.slice(1);
    assert(steps.length > 10, "the commands were found");
    await using machine = await SystemdMachine.boot();
    await runShown(machine, steps);
    assertEquals(await machine.done("ls /run/netns; podwire attachments --json"), "[]\n", "nothing is left");
  },
});
