import { assertEquals, assertRejects } from "@std/assert";
import { HostError, runCommand } from "../../lib/host/command.ts";
import { ServiceManager } from "../../lib/host/service_manager.ts";
import { FakeRun } from "../fake_run.ts";
import { need } from "../root/need.ts";
import { Datagrams } from "./datagrams.ts";

Deno.test({
  name: "a service manager is notified through its socket, at a path or with an abstract name",
  ...need("perl", "systemd-notify"),
  fn: async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-" });
    try {
      for (const notifySocket of [`${dir}/notify`, `@podwire-test-${crypto.randomUUID()}`]) {
        await using socket = await Datagrams.open(notifySocket);
        const manager = new ServiceManager({ notifySocket, pid: Deno.pid, run: runCommand });
        await manager.notify("READY=1", "STATUS=serving at /run/p.sock");
        await manager.notify("STOPPING=1");
        const lines = await socket.until("STOPPING=1");
        assertEquals(lines.filter((line) => /^(READY|STATUS)=/.test(line)), [
          "READY=1",
          "STATUS=serving at /run/p.sock",
        ]);
      }
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

Deno.test("without a service manager, nothing is run", async () => {
  const { run, requests } = new FakeRun();
  for (const notifySocket of [undefined, ""]) {
    await new ServiceManager({ notifySocket, pid: 1, run }).notify("READY=1");
  }
  assertEquals(requests.length, 0);
});

Deno.test({
  name: "a service manager that cannot be notified is an error, not the end",
  ...need("systemd-notify"),
  fn: async () => {
    const manager = new ServiceManager({ notifySocket: "/nowhere/notify", pid: Deno.pid, run: runCommand });
    await assertRejects(() => manager.notify("READY=1"), HostError, "systemd-notify");
  },
});

Deno.test("the watchdog expects reports of the process that it names, and only if it can be notified", () => {
  const { run } = new FakeRun();
  const ms = (watchdogUsec?: string, watchdogPid?: string, notifySocket: string | undefined = "/n") =>
    new ServiceManager({ notifySocket, watchdogUsec, watchdogPid, pid: 7, run }).watchdogMs;
  assertEquals(ms("30000000"), 30_000);
  assertEquals(ms("30000000", "7"), 30_000);
  assertEquals(ms("30000000", "8"), undefined);
  assertEquals(ms("30000000", "7", ""), undefined);
  for (const bad of [undefined, "", "0", "-1", "soon", "Infinity"]) assertEquals(ms(bad), undefined, bad);
});
