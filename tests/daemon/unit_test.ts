import { assertEquals, assertStringIncludes } from "@std/assert";
import { unitFile } from "../../lib/daemon/unit.ts";
import { podwire } from "../cli/fake_io.ts";

const unit = (args: readonly string[], drainMs = 30_000) =>
  unitFile({ program: "/usr/local/bin/podwire", args, drainMs });

Deno.test("systemd is notified when the daemon serves, reloads and hangs, and its directories stay", () => {
  const text = unit(["serve"]);
  for (
    const line of [
      "Type=notify",
      "NotifyAccess=all",
      "ExecStart=/usr/local/bin/podwire serve",
      "ExecReload=/bin/kill -HUP $MAINPID",
      "Restart=on-failure",
      "WatchdogSec=30s",
      "KillMode=mixed",
      "TimeoutStopSec=90s",
      "RuntimeDirectory=podwire",
      "RuntimeDirectoryPreserve=yes",
      "TasksMax=infinity",
      "OOMPolicy=continue",
    ]
  ) assertStringIncludes(text, `\n${line}\n`);
});

Deno.test("the unit does not hide mounts from other processes", () => {
  const hiding =
    /^(Protect|Private|ReadOnly|ReadWrite|Inaccessible|Temporary|Bind|Root|Mount|Exec(Paths)|NoExec)\w*=/m;
  assertEquals(hiding.exec(unit(["serve"])), null);
});

Deno.test("plugins get the usual umask: they make files for other programs", () => {
  assertEquals(unit(["serve"]).includes("UMask="), false);
});

Deno.test("arguments are quoted for systemd", () => {
  assertStringIncludes(
    unit(["serve", "--socket=/run/a b/p.sock", "--default-network", "50%$x"]),
    'ExecStart=/usr/local/bin/podwire serve "--socket=/run/a b/p.sock" --default-network 50%%$$x\n',
  );
});

Deno.test("serve --print-unit prints the unit for the other options, without root", async () => {
  const args = ["serve", "--print-unit", "--gc-interval", "10m", "--drain-timeout=5s"];
  const { code, stdout, stderr } = await podwire(args, { uid: 1000 });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertStringIncludes(stdout, "/podwire serve --gc-interval 10m --drain-timeout=5s\n");
  assertStringIncludes(stdout, "TimeoutStopSec=65s\n");
  const cri = await podwire(["serve", "--cri", "--print-unit"]);
  assertStringIncludes(cri.stdout, "/podwire serve --cri\n");
});

Deno.test("serve refuses invalid options before it begins", async () => {
  const refused = async (args: readonly string[], uid = 0) => {
    const { code, stderr } = await podwire(["serve", ...args], { uid });
    return [code, stderr.split("\n")[0]];
  };
  assertEquals(await refused([], 1000), [
    4,
    "podwire: serve needs root: it changes network namespaces",
  ]);
  assertEquals(await refused(["--grace=soon"]).then(([code]) => code), 2);
  assertEquals(await refused(["--max-requests=0"]).then(([code]) => code), 2);
  assertEquals(await refused([`--cri=/${"x".repeat(120)}`]).then(([code]) => code), 2);
  assertEquals(await refused(["operand"]).then(([code]) => code), 2);
});
