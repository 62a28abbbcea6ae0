import { assertEquals } from "@std/assert";
import { sandboxRequest } from "../../lib/cli/sandbox_request.ts";
import { CniError, ERROR_KINDS } from "../../lib/cni/error.ts";
import { isObject, parseJson, printJson } from "../../lib/cni/json.ts";
import { bodyOf } from "../../lib/daemon/client.ts";
import { failureOf } from "../../lib/daemon/daemon_connection.ts";
import { RUN_BODY } from "../../lib/daemon/run_body.ts";
import type { SandboxRequest } from "../../lib/sandbox/request.ts";
import { inputOf } from "../cli/fake_io.ts";

const arrived = (request: SandboxRequest) => RUN_BODY.read(parseJson(printJson(bodyOf(request))), []);

Deno.test("a request of the command line reaches the daemon unchanged", () => {
  const lines = [
    [],
    ["web", "--namespace=shop", "--uid=u", "--id=i", "--mac=02:00:00:00:00:01", "--replace"],
    ["--netns=/run/netns/x"],
    ["--pid=42", "--network=none"],
    ["--infra", "--runtime=crun", "--sysctl", "net.core.somaxconn=512", "--label", "a=", "--label", "b=c"],
    ["--host-network", "--network=none"],
    [
      "--network",
      'a:net1,ip=10.0.0.5,arg=A=1,arg=A=2,cap=x={"y": 1.0},publish=1:2',
      "--network=b,mac=02:00:00:00:00:01",
    ],
    ["--publish=18080:80/tcp", "--publish", "[::1]:53:5353/udp", "--ip=10.0.0.5", "--ip=fd00::5"],
    [
      "--bandwidth=ingress=10M,egress=1G",
      "--ip-range=10.0.0.0/24",
      "--dns=10.0.0.1",
      "--dns-search=x",
      "--dns-option=ndots:2",
    ],
    [
      "--alias=db",
      "--device=0",
      "--cgroup-path=/c",
      "--annotation=a/b=",
      "--arg=K=V",
      "--arg=K=",
      "--arg=1=x:y",
    ],
    ["--cap", 'x={"y": [1.0, 9007199254740993]}'],
  ];
  for (const args of lines) {
    const request = sandboxRequest(inputOf("run", args, { env: { CNI_ARGS: "FROM=env" } }));
    assertEquals({ replace: false, ...arrived(request) }, request, args.join(" "));
    // Numbers keep their spelling, too.
    const { capabilities = {} } = request;
    assertEquals(printJson(arrived(request).capabilities as never ?? {}), printJson(capabilities as never));
  }
});

Deno.test("an error in a response is the error that the daemon threw", () => {
  const errors = [
    ...ERROR_KINDS.map((kind) => new CniError(kind, `of kind ${kind}`)),
    new CniError("plugin", "no address left", {
      code: 11,
      details: "full",
      verb: "ADD",
      network: "web",
      plugin: { type: "host-local", index: 1, count: 3 },
      containerId: "c1",
      ifName: "eth0",
      exitCode: 1,
      stderr: "first\nsecond",
      elapsedMs: 1_234.5,
      hint: "free one",
    }),
    new CniError("timeout", "late", { plugin: { type: "slow" }, signal: "SIGKILL" }),
    new CniError("config", "odd", { code: 7, file: "/c/a.conf", line: 3, column: 4, path: "plugins[0]" }),
  ];
  for (const error of errors) {
    const json = parseJson(JSON.stringify({ error }));
    const again = failureOf(isObject(json) && isObject(json.error) ? json.error : {});
    assertEquals({
      kind: again.kind,
      code: again.code,
      msg: again.msg,
      message: again.message,
      context: again.context,
    }, {
      kind: error.kind,
      code: error.code,
      msg: error.msg,
      message: error.message,
      context: error.context,
    });
  }
});

Deno.test("an error of an unknown kind from a newer daemon is still an error", () => {
  const error = failureOf({ kind: "of tomorrow", msg: "no", code: "x", plugin: 1, line: "2" });
  assertEquals({ kind: error.kind, code: error.code, message: error.message, context: error.context }, {
    kind: "internal",
    code: 0,
    message: "no",
    context: {},
  });
});
