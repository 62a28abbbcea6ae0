import { assertEquals, assertStringIncludes } from "@std/assert";
import { portmap } from "../../lib/builtin/portmap.ts";
import { servePlugin } from "../../lib/plugin/serve.ts";
import { ScriptedRun } from "./scripted_run.ts";

const CONFIG = {
  ...{ cniVersion: "1.1.0", name: "web", type: "portmap", snat: false },
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
  prevResult: {
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
    ips: [{ address: "10.1.0.2/24", interface: 0 }],
  },
};

/** Publishes a port on a machine whose firewalld has this setting; undefined if it does not run. */
async function publish(strict: "yes" | "no" | undefined) {
  const scripted = new ScriptedRun(({ command }) => {
    if (command.includes("NameHasOwner")) return { stdout: `b ${strict !== undefined}\n` };
    if (command.includes("StrictForwardPorts")) return { stdout: `v s "${strict}"\n` };
    // Whatever makes rules is missing: how far an ADD comes is all that matters.
    return new Deno.errors.NotFound("no such program");
  });
  const env: Readonly<Record<string, string>> = {
    ...{ CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/x", CNI_IFNAME: "eth0" },
    ...{ CNI_ARGS: "", CNI_PATH: "/nowhere" },
  };
  const { stdout } = await servePlugin(portmap, {
    env: (name) => env[name],
    stdin: () => Promise.resolve(JSON.stringify(CONFIG)),
    run: scripted.run,
  });
  const { msg, details = "" } = JSON.parse(stdout);
  return { msg, details, others: scripted.commands.filter((command) => !command.startsWith("busctl")) };
}

Deno.test("U42 a port that firewalld would not let through is refused before any rule is read, with the command for it", async () => {
  const { msg, details, others } = await publish("yes");
  assertStringIncludes(msg, "firewalld has StrictForwardPorts=yes");
  assertStringIncludes(details, "firewall-cmd --add-forward-port=");
  assertEquals(others, []);
  for (const setting of ["no", undefined] as const) {
    const allowed = await publish(setting);
    assertEquals(allowed.msg.includes("StrictForwardPorts"), false, allowed.msg);
    assertEquals(allowed.others.length > 0, true);
  }
});
