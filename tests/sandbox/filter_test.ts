import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import { isInState, mayMatch, type SandboxFilter } from "../../lib/sandbox/filter.ts";
import type { SandboxRecord } from "../../lib/sandbox/record.ts";
import { validateSysctls } from "../../lib/sandbox/sysctl.ts";
import { validateLabels } from "../../lib/sandbox/validate_labels.ts";
import type { Sandbox } from "../../lib/sandbox/view.ts";

const RECORD: SandboxRecord = {
  id: "abcd1234",
  name: "web",
  namespace: "prod",
  uid: "u1",
  phase: "ready",
  createdAt: "2026-01-01T00:00:00.000Z",
  bootId: "b1",
  netns: { path: "/run/netns/x", owned: true, id: undefined },
  pid: undefined,
  infra: undefined,
  annotations: {},
  labels: { app: "web", empty: "" },
};

Deno.test("a sandbox matches if it matches every member of every filter", () => {
  const cases: readonly (readonly [SandboxFilter[], boolean])[] = [
    [[], true],
    [[{}], true],
    [[{ id: "abcd" }], true],
    [[{ id: "bcd" }], false],
    [[{ name: "web" }], true],
    [[{ name: "we" }], false],
    [[{ namespace: "prod" }], true],
    [[{ namespace: "default" }], false],
    [[{ labels: { app: undefined } }], true],
    [[{ labels: { app: "web", empty: "" } }], true],
    [[{ labels: { app: "" } }], false],
    [[{ labels: { empty: undefined } }], true],
    [[{ labels: { toString: undefined } }], false],
    [[{ name: "web" }, { name: "db" }], false],
    [[{ name: "web" }, { id: "ab" }, { labels: { app: "web" } }], true],
  ];
  for (const [filters, isMatch] of cases) {
    assertEquals(mayMatch(RECORD, filters), isMatch, JSON.stringify(filters));
  }
  const { labels: _, ...earlier } = RECORD;
  assertEquals(mayMatch(earlier, [{ labels: { app: undefined } }]), false);
  const sandbox = { state: "ready" } as Sandbox;
  assertEquals(
    [{}, { state: "ready" as const }, { state: "broken" as const }].map((f) => isInState(sandbox, [f])),
    [
      true,
      true,
      false,
    ],
  );
});

const refused = (act: () => void): string => {
  const error = assertThrows(act, CniError);
  assertEquals(error.kind, "usage");
  return error.msg;
};

Deno.test("labels with ambiguous or too long keys and values are refused", () => {
  validateLabels({ app: "web", "example.com/x-y_z": "", ü: "a=b c" });
  for (const key of ["", "a b", "a=b", "a\n", "x".repeat(318)]) {
    assertStringIncludes(refused(() => validateLabels({ [key]: "" })), `the label "${key}"`);
  }
  for (const value of ["a\nb", "x".repeat(4097)]) refused(() => validateLabels({ a: value }));
});

Deno.test("only sysctls of the network namespace are accepted, and none whose path leads out of it", () => {
  validateSysctls({
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.eth0/100.rp_filter": "2",
    "net.ipv4.ip_local_port_range": "1024\t65535",
  });
  const bad = [
    "kernel.hostname",
    "net",
    "net.",
    "net..x",
    "net/ipv4/ip_forward",
    "net./.kernel",
    "net.//.kernel.x",
  ];
  for (const name of [...bad, "net.a b", "net.a=b", "-p", "net.a\n", "NET.ipv4.x", "net.ipv4.*"]) {
    assertStringIncludes(refused(() => validateSysctls({ [name]: "1" })), `the sysctl "${name}"`);
  }
  for (const value of ["", " ", "1\n2", "x".repeat(4097)]) {
    assertStringIncludes(refused(() => validateSysctls({ "net.a": value })), "net.a");
  }
});
