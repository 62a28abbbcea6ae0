// Ports of the host on which programs of the host listen.
import { assertEquals, assertRejects } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { HostPorts } from "../../lib/state/host_ports.ts";
import { findListenersWith, listenerIn } from "../../lib/state/listeners.ts";
import { NetworkWorld } from "../attachment/world.ts";
import { FakeRun } from "../fake_run.ts";

const SSHD = 'users:(("worker",pid=32,fd=3),("sshd",pid=31,fd=3))';
const LINES = [
  `tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* ${SSHD}`,
  "tcp   LISTEN 0      4096  127.0.0.53%lo:53  0.0.0.0:*",
  "udp   UNCONN 0      0     [2001:db8::1]:53  [::]:*",
  'tcp   LISTEN 0      511   *:8080            *:* users:(("a \\"b\\"",pid=7,fd=6))',
  "sctp  LISTEN 0      5     [::]:9000         [::]:*",
];

Deno.test("a line of ss has the protocol, the address, the port and, if visible, the program that opened it", () => {
  const none = { program: undefined, pid: undefined };
  assertEquals(LINES.flatMap(listenerIn), [
    { family: 4, address: "", port: 22, protocol: "tcp", program: "sshd", pid: 31 },
    { family: 4, address: "127.0.0.53", port: 53, protocol: "tcp", ...none },
    { family: 6, address: "2001:db8::1", port: 53, protocol: "udp", ...none },
    { family: undefined, address: "", port: 8080, protocol: "tcp", program: 'a \\"b\\"', pid: 7 },
    { family: 6, address: "", port: 9000, protocol: "sctp", ...none },
  ]);
  const strange = [
    "",
    "tcp",
    "raw UNCONN 0 0 *:1 *:*",
    "tcp LISTEN 0 0 *:* *:*",
    "u_str LISTEN 0 0 /run/x 1 * 0",
  ];
  assertEquals(strange.flatMap(listenerIn), []);
});

Deno.test("a port on which a program of the host listens is refused, and the error names the program", async () => {
  await using world = await NetworkWorld.make();
  const { stateDir, store, locks } = world;
  const run = new FakeRun([{ stdout: LINES.join("\n") }]);
  const ports = new HostPorts({ stateDir, store, locks, findListeners: findListenersWith(run.run) });
  const key = { containerId: "c1", network: "web", ifName: "eth0" };
  const wanted = (hostPort: number, protocol = "tcp", hostIP = "") => ({
    portMappings: [{ hostPort, containerPort: 80, protocol, hostIP }],
  });
  const taken: readonly [ReturnType<typeof wanted>, string][] = [
    [wanted(22), 'the host port 22/tcp is taken: "sshd" (process 31) listens on 0.0.0.0:22/tcp'],
    [
      wanted(53, "tcp", "0.0.0.0"),
      "the host port 0.0.0.0:53/tcp is taken: a program of the host listens on 127.0.0.53:53/tcp",
    ],
    [
      wanted(53, "udp"),
      "the host port 53/udp is taken: a program of the host listens on [2001:db8::1]:53/udp",
    ],
    [
      wanted(8080, "tcp", "::1"),
      'the host port [::1]:8080/tcp is taken: "a \\"b\\"" (process 7) listens on 8080/tcp',
    ],
    [
      wanted(9000, "sctp"),
      "the host port 9000/sctp is taken: a program of the host listens on [::]:9000/sctp",
    ],
  ];
  for (const [capabilityArgs, msg] of taken) {
    for (
      const act of [
        () => ports.requireFree([{ key, capabilityArgs }]),
        () => ports.claim(key, capabilityArgs),
      ]
    ) {
      const error = await assertRejects(act, CniError);
      assertEquals({ kind: error.kind, msg: error.msg }, { kind: "conflict", msg });
    }
  }
  const free = [
    wanted(22, "udp"),
    wanted(22, "tcp", "2001:db8::1"),
    wanted(53, "tcp", "10.1.0.1"),
    wanted(53, "udp", "10.1.0.1"),
    wanted(23),
  ];
  for (const capabilityArgs of free) await ports.requireFree([{ key, capabilityArgs }]);
});

Deno.test("without ss, or if it fails, no port is refused; without ports it is not run", async () => {
  await using world = await NetworkWorld.make();
  const { stateDir, store, locks } = world;
  const args = { portMappings: [{ hostPort: 22, containerPort: 80 }] };
  const failing = new FakeRun([{ code: 1, stdout: LINES.join("\n") }]);
  const ports = new HostPorts({ stateDir, store, locks, findListeners: findListenersWith(failing.run) });
  await ports.requireFree([{ capabilityArgs: {} }]);
  assertEquals(failing.requests.length, 0);
  await ports.requireFree([{ capabilityArgs: args }]);
  assertEquals(failing.requests.map(({ program }) => program), ["ss"]);
  const missing = findListenersWith(() => Promise.reject(new Deno.errors.NotFound("ss")));
  assertEquals(await missing(undefined), []);
});
