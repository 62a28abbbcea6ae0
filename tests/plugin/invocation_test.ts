import { assertEquals, assertThrows } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import {
  decodeEnvironment,
  encodeEnvironment,
  type Invocation,
  parseCniArgs,
  refuseUnknownArgs,
  VERBS,
} from "../../lib/plugin/invocation.ts";

const FULL: Readonly<Record<string, string>> = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/run/netns/c1",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "IgnoreUnknown=1;IP=10.1.0.5",
  CNI_PATH: "/opt/cni/bin:/usr/lib/cni",
};

function decode(env: Readonly<Record<string, string>>): Invocation {
  return decodeEnvironment((name) => env[name]);
}

function refusal(env: Readonly<Record<string, string>>): { code: number; msg: string } {
  const { code, msg } = assertThrows(() => decode(env), CniError);
  return { code, msg };
}

function without(...names: string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(FULL).filter(([name]) => !names.includes(name)));
}

Deno.test("B13 all six variables are always set", () => {
  const nothing = { containerId: "", netns: "", ifName: "", args: [], path: [] };
  for (const verb of VERBS) {
    assertEquals(encodeEnvironment({ verb, ...nothing }), {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: "",
      CNI_NETNS: "",
      CNI_IFNAME: "",
      CNI_ARGS: "",
      CNI_PATH: "",
    });
  }
});

Deno.test("B16-B18 an encoded invocation is decoded to the same values", () => {
  const invocation = decode(FULL);
  assertEquals(invocation, {
    verb: "ADD",
    containerId: "c1",
    netns: "/run/netns/c1",
    ifName: "eth0",
    args: [["IgnoreUnknown", "1"], ["IP", "10.1.0.5"]],
    path: ["/opt/cni/bin", "/usr/lib/cni"],
  });
  assertEquals(encodeEnvironment(invocation), { ...FULL });
});

Deno.test("B19 an argument that would change the meaning of the others is refused", () => {
  const encode = (key: string, value: string) => () =>
    encodeEnvironment({ ...decode(FULL), args: [[key, value]] });
  assertThrows(encode("A", "x;B=y"), CniError);
  assertThrows(encode("A;B", "x"), CniError);
  assertThrows(encode("A=B", "x"), CniError);
});

Deno.test("B74 missing variables are named together", () => {
  const required = "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH";
  for (const verb of ["ADD", "CHECK"]) {
    assertEquals(refusal({ CNI_COMMAND: verb }), {
      code: 4,
      msg: `required env variables [${required}] missing`,
    });
  }
  assertEquals(refusal({ CNI_COMMAND: "DEL" }), {
    code: 4,
    msg: "required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_PATH] missing",
  });
  for (const verb of ["GC", "STATUS"]) {
    assertEquals(refusal({ CNI_COMMAND: verb }), {
      code: 4,
      msg: "required env variables [CNI_PATH] missing",
    });
  }
  assertEquals(refusal({}), { code: 4, msg: "required env variables [CNI_COMMAND] missing" });
});

Deno.test("B74 an empty variable counts as missing", () => {
  assertEquals(refusal({ ...FULL, CNI_NETNS: "" }).msg, "required env variables [CNI_NETNS] missing");
});

Deno.test("B74 DEL needs no namespace, VERSION needs no variable", () => {
  assertEquals(decode({ ...without("CNI_NETNS"), CNI_COMMAND: "DEL" }).netns, "");
  assertEquals(decode({ CNI_COMMAND: "VERSION", CNI_ARGS: "rubbish" }).args, []);
});

Deno.test("B75 container ID and interface name are validated where they are required", () => {
  assertEquals(refusal({ ...FULL, CNI_CONTAINERID: "a/b" }), {
    code: 4,
    msg: "invalid characters in containerID",
  });
  assertEquals(refusal({ ...FULL, CNI_IFNAME: "a:b" }).code, 4);
  assertEquals(decode({ ...FULL, CNI_COMMAND: "STATUS", CNI_CONTAINERID: "a/b" }).verb, "STATUS");
});

Deno.test("B79 an unknown command is refused", () => {
  for (const verb of ["add", "UPDATE", "toString"]) {
    assertEquals(refusal({ ...FULL, CNI_COMMAND: verb }), { code: 4, msg: `unknown CNI_COMMAND: ${verb}` });
  }
});

Deno.test("B84 a pair has exactly one equals sign", () => {
  assertEquals(parseCniArgs(""), []);
  assertEquals(parseCniArgs("A=;B=2"), [["A", ""], ["B", "2"]]);
  for (const [text, pair] of [["A", "A"], ["A=1=2", "A=1=2"], ["A=1;", ""], ["=1", "=1"]] as const) {
    const { code, msg } = assertThrows(() => parseCniArgs(text), CniError);
    assertEquals({ code, msg }, { code: 4, msg: `ARGS: invalid pair ${JSON.stringify(pair)}` });
  }
});

Deno.test("B84 unknown arguments are refused unless IgnoreUnknown is set", () => {
  const check = (text: string) => refuseUnknownArgs(new Map(parseCniArgs(text)), ["IP"]);
  check("IP=10.0.0.1");
  check("IgnoreUnknown=True;K8S_POD_NAME=web");
  check("K8S_POD_NAME=web;IgnoreUnknown=1");
  const { code, msg } = assertThrows(() => check("A=1;IP=2;B=3;IgnoreUnknown=0"), CniError);
  assertEquals({ code, msg }, { code: 4, msg: 'ARGS: unknown args ["A=1" "B=3"]' });
  assertThrows(() => check("IgnoreUnknown=maybe"), CniError);
});

Deno.test("an empty entry of CNI_PATH is not the working directory", () => {
  assertEquals(decode({ ...FULL, CNI_PATH: ":/opt/cni/bin::" }).path, ["/opt/cni/bin"]);
});
