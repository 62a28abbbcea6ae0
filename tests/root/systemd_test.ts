// The unit that podwire prints, run by the real systemd.
import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { need } from "./need.ts";
import { needMachine, SystemdMachine } from "./systemd_machine.ts";

const NET = {
  cniVersion: "1.0.0",
  name: "net",
  plugins: [
    {
      type: "bridge",
      bridge: "net0",
      isGateway: true,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.97.0.0/24" }]] },
    },
  ],
};

/** Its ADD lasts until a file exists. */
const SLOW = `#!/bin/sh
echo "$CNI_COMMAND" >>/run/slow.log
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) until [ -e /run/go ]; do sleep 0.1; done && echo '{"cniVersion":"1.0.0"}' ;;
esac
`;

const CURL = "curl -sS --max-time 120 --unix-socket /run/podwire/podwire.sock";

/** Installs the unit as the manual says, and a network whose plugin waits beside one that works. */
async function install(machine: SystemdMachine): Promise<void> {
  await machine.write("/etc/cni/net.d/10-net.conflist", JSON.stringify(NET));
  await machine.write("/opt/slow/bin/slow", SLOW, 0o755);
  const slow = { cniVersion: "1.0.0", name: "slow", plugins: [{ type: "slow" }] };
  await machine.write("/etc/cni/net.d/20-slow.conflist", JSON.stringify(slow));
  await machine.done("podwire serve --print-unit --gc-interval 10m >/etc/systemd/system/podwire.service");
  const { code, stderr } = await machine.sh("systemd-analyze verify /etc/systemd/system/podwire.service");
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
}

async function run(machine: SystemdMachine, request: unknown) {
  return JSON.parse(
    await machine.done(`${CURL} http://podwire/v1/sandboxes -d '${JSON.stringify(request)}'`),
  );
}

async function states(machine: SystemdMachine): Promise<Record<string, string>> {
  const sandboxes: { name: string; state: string }[] = JSON.parse(await machine.done("podwire ps --json"));
  return Object.fromEntries(sandboxes.map(({ name, state }) => [name, state]));
}

function systemdTest(name: string, fn: (machine: SystemdMachine) => Promise<void>): void {
  Deno.test({
    ...need("root", "systemd", "binary", "cni-1.1.1", "runc", "catatonit", "busybox", "ip", "curl"),
    ...needMachine(name),
    fn: async () => {
      await using machine = await SystemdMachine.boot();
      await fn(machine);
    },
  });
}

systemdTest(
  "under systemd the daemon counts as started when it serves, and what it made outlives its restart",
  async (machine) => {
    await install(machine);
    await machine.done("systemctl enable --now podwire");
    assertEquals(await machine.done(`${CURL} http://podwire/healthz`), "ok\n", "no client has to wait");
    assertEquals(await machine.property("StatusText"), "serving at /run/podwire/podwire.sock");

    const web = await run(machine, { name: "web", infra: true });
    await run(machine, { name: "db" });
    const group = () => machine.done(`grep ^0:: /proc/${web.pid}/cgroup`);
    const [before, daemon] = [await group(), await machine.property("MainPID")];
    assert(!before.includes("podwire.service"), `the infra container is none of the unit's: ${before}`);
    // All processes must see what the daemon mounts.
    assertStringIncludes(await machine.done(`ip netns exec podwire-${web.id} ip addr`), web.ips[0]);

    await machine.done("systemctl restart podwire");
    assertNotEquals(await machine.property("MainPID"), daemon);
    assertEquals(await group(), before, "it runs on");
    await machine.done(`podwire exec db -- busybox ping -c 1 -W 20 ${web.ips[0]}`);

    const restarted = await machine.property("MainPID");
    await machine.done("systemctl reload podwire");
    await machine.until("journalctl -u podwire | grep 'the configuration was read'");
    await machine.until("systemctl show podwire -p SubState | grep running");
    assertEquals(await machine.property("MainPID"), restarted);

    await machine.done("systemctl stop podwire");
    assertEquals({ property: await machine.property("Result"), group: await group() }, {
      property: "success",
      group: before,
    });
    assertEquals(await states(machine), { web: "ready", db: "ready" });
    assertEquals(await machine.done("stat -c %a /run/podwire /var/lib/podwire"), "700\n700\n");
    await machine.done("podwire rm web db");
    assertEquals(await machine.done("ls /run/netns"), "");
  },
);

systemdTest(
  "a daemon that hangs is started again by systemd, and its unfinished work is undone",
  async (machine) => {
    await install(machine);
    await machine.done("systemctl start podwire");
    const web = await run(machine, { name: "web", infra: true });
    // From here on a machine that is too busy for this does no harm: it does what the test does.
    await machine.write("/etc/systemd/system/podwire.service.d/watchdog.conf", "[Service]\nWatchdogSec=5s\n");
    await machine.done("systemctl daemon-reload && systemctl restart podwire");
    const late = run(machine, { name: "late", networks: [{ name: "slow" }] }).catch((error: Error) => error);
    await machine.until("grep ADD /run/slow.log");
    const hung = Number(await machine.property("MainPID"));
    if (hung > 0) await machine.sh(`kill -STOP ${hung}`);
    await machine.until(`[ "$(systemctl show podwire --value -p MainPID)" -gt 0 ] && [ ! -e /proc/${hung} ]`);
    assertMatch(await machine.done("journalctl -u podwire.service -u init.scope"), /Watchdog timeout/);
    assertMatch(String(await late), /curl/, "the client sees that it has gone");
    await machine.until("grep DEL /run/slow.log");
    await machine.until("podwire attachments --json | grep -q slow && exit 1 || exit 0");
    assertEquals(await states(machine), { web: "ready" });
    assertStringIncludes(await machine.done(`cat /proc/${web.pid}/cmdline`), "catatonit");
    await machine.done("podwire rm web");
  },
);

systemdTest("while systemd stops the daemon, earlier requests are answered", async (machine) => {
  await install(machine);
  await machine.done("systemctl start podwire");
  const late = run(machine, { name: "late", networks: [{ name: "slow" }] });
  await machine.until("grep ADD /run/slow.log");
  await machine.done("systemctl stop --no-block podwire");
  await machine.until("systemctl show podwire -p StatusText | grep draining");
  await machine.done("touch /run/go");
  assertEquals((await late).state, "ready");
  await machine.until("systemctl show podwire -p ActiveState | grep inactive");
  assertEquals({ property: await machine.property("Result"), states: await states(machine) }, {
    property: "success",
    states: { late: "ready" },
  });
});
