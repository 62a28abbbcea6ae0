import { assertEquals, assertThrows } from "@std/assert";
import { parseJson } from "../../lib/cni/json.ts";
import { ValidationError } from "../../lib/cni/shape.ts";
import { GC_BODY, RUN_BODY } from "../../lib/daemon/run_body.ts";

const run = (text: string) => RUN_BODY.read(parseJson(text), []);
const refusal = (text: string) => assertThrows(() => run(text), ValidationError).message;

Deno.test("the body of a run can ask for all that the command line can", () => {
  assertEquals(
    run(`{
      "name": "web", "namespace": "shop", "uid": "u", "id": "i", "replace": true,
      "labels": {"app": "web", "canary": ""}, "sysctls": {"net.core.somaxconn": "512"},
      "networks": [{"name": "a", "ifName": "eth0", "ips": ["10.0.0.5"]}, {"name": "b", "mac": "02:00:00:00:00:01"}],
      "publish": ["18080:80/tcp", {"hostPort": 53, "containerPort": 5353, "protocol": "udp", "hostIP": "::1"}],
      "bandwidth": {"ingressRate": 1e6}, "ipRanges": [[{"subnet": "10.0.0.0/24"}]],
      "dns": {"servers": ["10.0.0.1"], "searches": ["x"], "options": ["ndots:2"]},
      "aliases": ["db"], "deviceID": "0", "cgroupPath": "/c", "annotations": {"a/b": ""},
      "args": {"K": "V"}, "capabilities": {"x": {"y": [1.0]}}
    }`),
    {
      name: "web",
      namespace: "shop",
      uid: "u",
      id: "i",
      replace: true,
      labels: { app: "web", canary: "" },
      sysctls: { "net.core.somaxconn": "512" },
      networks: [{ name: "a", ifName: "eth0", ips: ["10.0.0.5"] }, { name: "b", mac: "02:00:00:00:00:01" }],
      publish: [
        { hostIP: "", hostPort: 18080, containerPort: 80, protocol: "tcp" },
        { hostIP: "::1", hostPort: 53, containerPort: 5353, protocol: "udp" },
      ],
      bandwidth: { ingressRate: 1_000_000 },
      ipRanges: [[{ subnet: "10.0.0.0/24" }]],
      dns: { servers: ["10.0.0.1"], searches: ["x"], options: ["ndots:2"] },
      aliases: ["db"],
      deviceID: "0",
      cgroupPath: "/c",
      annotations: { "a/b": "" },
      args: [["K", "V"]],
      // It keeps its spelling.
      capabilities: parseJson('{"x": {"y": [1.0]}}') as never,
      source: { kind: "new" },
    },
  );
});

Deno.test("the namespace of a sandbox comes from one source", () => {
  const source = (text: string) => run(text).source;
  assertEquals(source("{}"), { kind: "new" });
  assertEquals(source('{"netns": "/run/netns/a"}'), { kind: "path", path: "/run/netns/a" });
  assertEquals(source('{"pid": 7}'), { kind: "pid", pid: 7 });
  assertEquals(source('{"infra": true}'), { kind: "infra" });
  assertEquals(source('{"infra": true, "runtime": "crun"}'), { kind: "infra", runtime: "crun" });
  assertEquals(source('{"hostNetwork": true}'), { kind: "host" });
  assertEquals(source('{"infra": false, "hostNetwork": false}'), { kind: "new" });
  assertEquals(refusal('{"netns": "/a", "infra": true}'), "infra cannot be given beside netns");
  assertEquals(refusal('{"pid": 7, "hostNetwork": true}'), "hostNetwork cannot be given beside pid");
  assertEquals(refusal('{"runtime": "crun"}'), "runtime goes with infra");
  assertEquals(refusal('{"netns": "a"}'), "netns must be an absolute path");
});

Deno.test("a wrong member of a body is named by its path", () => {
  assertEquals(refusal("[]"), "it must be an object, not an array");
  assertEquals(refusal('{"name": 1}'), "name must be a string, not a number");
  assertEquals(refusal('{"name": ""}'), "name must not be empty");
  assertEquals(refusal('{"networks": [{"name": "a"}, {"ifName": "b"}]}'), "networks[1].name is missing");
  assertEquals(refusal('{"networks": "all"}'), 'networks must be "none", not "all"');
  assertEquals(refusal('{"networks": {}}'), "networks must be an array, not an object");
  assertEquals(refusal('{"publish": ["80"]}'), 'publish[0] "80" is not [HOSTIP:][HOSTPORT]:PORT[/PROTO]');
  assertEquals(
    refusal('{"publish": [{"hostPort": 0, "containerPort": 1}]}').split(" ")[0],
    "publish[0].hostPort",
  );
  assertEquals(refusal('{"pid": 1.5}'), "pid must be a whole number from 1 to 4194304, not 1.5");
  assertEquals(refusal('{"replace": "yes"}'), "replace must be true or false, not a string");
  assertEquals(refusal('{"dns": {"server": []}}').split(";")[0], "dns.server is unknown");
  assertEquals(refusal('{"labels": {"a b": 1}}'), 'labels["a b"] must be a string, not a number');
  assertEquals(refusal('{"__proto__": {}}').split(";")[0], "__proto__ is unknown");
  assertThrows(
    () => GC_BODY.read({ valid: [{ containerId: "a" }] }, []),
    ValidationError,
    "valid[0].ifName is missing",
  );
});
