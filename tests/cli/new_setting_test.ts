// A network setting is one row of the table in lib/pod/settings.ts: everything else is made from the table.
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseCommandLine } from "../../lib/cli/command.ts";
import { completion } from "../../lib/cli/completion.ts";
import { wantedNetwork } from "../../lib/cli/network_flag.ts";
import { networkHelp } from "../../lib/cli/network_help.ts";
import { sandboxOfContainer } from "../../lib/cli/oci_annotations.ts";
import { ociHookCommand } from "../../lib/cli/oci_hook_help.ts";
import { hookRules, requireAllowed } from "../../lib/cli/oci_rules.ts";
import { sandboxRequest } from "../../lib/cli/sandbox_request.ts";
import { runOptions } from "../../lib/cli/run_options.ts";
import { CniError } from "../../lib/cni/error.ts";
import { isObject, type JsonObject, parseJson } from "../../lib/cni/json.ts";
import { integer } from "../../lib/cni/shape.ts";
import { bodyOf } from "../../lib/daemon/client.ts";
import { openApiOf } from "../../lib/daemon/openapi.ts";
import { withBody } from "../../lib/daemon/route.ts";
import { runBody } from "../../lib/daemon/run_body.ts";
import { planAttachments, type WantedNetworks } from "../../lib/pod/request.ts";
import { type RefuseText, type Setting, type SettingTable, valueOf } from "../../lib/pod/setting.ts";
import { SETTINGS } from "../../lib/pod/settings.ts";
import { networks, POD } from "../pod/plan.ts";
import { FakeIo } from "./fake_io.ts";

/** The one reader of the new setting. */
function vlanId(text: string, refuse: RefuseText): number {
  const id = Number(text);
  if (Number.isInteger(id) && id >= 1 && id <= 4094) return id;
  throw refuse(`"${text}" is not a VLAN ID`);
}

/** The one row of the new setting. */
const VLAN: Setting<number> = {
  scope: "first",
  texts: [{
    flag: { name: "vlan", help: "the VLAN of the first network" },
    key: "vlan",
    annotation: "vlan",
    placeholder: "VLANID",
    once: true,
    read: vlanId,
  }],
  shape: integer(1, 4094),
  capability: { name: "io.example.free", toJson: (id) => ({ vlan: id }) },
  cniArg: { key: "VLAN", of: String },
  permission: { word: "vlan" },
};

const TABLE: SettingTable = { ...SETTINGS, vlan: VLAN };

const COMMAND = {
  name: "run",
  summary: "Make a sandbox",
  operands: "[NAME]",
  count: [0, 1],
  options: runOptions(TABLE),
  needsRoot: true,
  load: () => Promise.reject(new Error("not called")),
} as const;

function requestOf(...args: string[]) {
  return sandboxRequest({ ...parseCommandLine(args, runOptions(TABLE)), io: new FakeIo([]) }, TABLE);
}

const STATE = { id: "c1", status: "creating", pid: 4711, bundle: "/b/c1" } as const;
const hooked = (annotations: Record<string, string>) =>
  sandboxOfContainer({ ...STATE, annotations }, undefined, TABLE) ?? {};

Deno.test("adding a network setting is one row of one table and its reader: the command line has it", () => {
  assertEquals(valueOf(requestOf("--vlan=7"), "vlan"), 7);
  assertEquals(
    assertThrows(() => requestOf("--vlan=x"), CniError).msg,
    '--vlan: "x" is not a VLAN ID',
  );
  assertEquals(valueOf(wantedNetwork("a:eth0,vlan=7,ip=10.1.0.5", TABLE), "vlan"), 7);
  assertEquals(
    assertThrows(() => wantedNetwork("a,vlan=1,vlan=2", TABLE), CniError).msg,
    '--network: vlan is given twice, "1" and "2"',
  );
});

Deno.test("a new network setting is in the help and in the completion of every shell", async () => {
  const option = runOptions(TABLE).find(({ name }) => name === "vlan");
  assertEquals(option, {
    name: "vlan",
    kind: "value",
    value: "VLANID",
    help: "the VLAN of the first network",
  });
  assert(/[ ,]vlan[,.]/.test(networkHelp(TABLE)), networkHelp(TABLE));
  const hook = ociHookCommand(TABLE);
  assertStringIncludes(hook.description ?? "", "podwire.vlan       as --vlan of run, for the first network");
  assertStringIncludes(hook.options.find(({ name }) => name === "allow-annotation")?.help ?? "", "vlan");
  for (const shell of ["bash", "zsh", "fish"]) {
    const io = new FakeIo([]);
    await completion([COMMAND])({ ...parseCommandLine([shell], []), io });
    assertStringIncludes(io.stdout, shell === "fish" ? "-l vlan -r" : "--vlan");
  }
});

Deno.test("a new network setting is an annotation of the OCI hook, and needs the administrator's permission", () => {
  const request = hooked({ "podwire.networks": "web", "podwire.vlan": " 7 " });
  assertEquals(valueOf(request, "vlan"), 7);
  const rules = (...args: string[]) => {
    const { options } = ociHookCommand(TABLE);
    return hookRules({ ...parseCommandLine(args, options), io: new FakeIo([]) }, TABLE);
  };
  for (const asking of [request, hooked({ "podwire.networks": "web,vlan=7" })]) {
    const error = assertThrows(() => requireAllowed(asking, rules(), TABLE), CniError);
    assertEquals(error.kind, "permission");
    assertStringIncludes(error.msg, '"vlan"');
    requireAllowed(asking, rules("--allow-annotation=vlan"), TABLE);
  }
  const pair = hooked({ "podwire.networks": "web,arg=vlan=7" });
  const error = assertThrows(() => requireAllowed(pair, rules("--allow-annotation=args"), TABLE), CniError);
  assertStringIncludes(error.msg, '"vlan"');
});

Deno.test("a new network setting is a member of the daemon's request, of its client and of its OpenAPI document", () => {
  const body = runBody(TABLE);
  const read = body.read(parseJson('{"vlan": 7, "networks": [{"name": "a", "vlan": 8}]}'), []);
  assertEquals(valueOf(read, "vlan"), 7);
  assertThrows(() => body.read(parseJson('{"vlan": 4095}'), []), Error, "vlan must be a whole number");
  const request = requestOf("--vlan=7", "--network=a,vlan=8");
  assertEquals({ replace: false, ...body.read(bodyOf(request, TABLE), []) }, request);
  const route = { method: "POST", path: "/v1/sandboxes", id: "run", summary: "", answers: {} } as const;
  const document = openApiOf([withBody(body, { ...route, handle: () => ({ status: 200 }) })], "1");
  const member = (json: unknown, ...path: string[]): unknown =>
    path.reduce<unknown>(
      (value, key) => isObject(value as JsonObject) ? (value as JsonObject)[key] : undefined,
      json,
    );
  const operation = member(document, "paths", "/v1/sandboxes", "post", "requestBody", "content");
  assertEquals(member(operation, "application/json", "schema", "properties", "vlan"), VLAN.shape.schema);
});

Deno.test("a new network setting reaches the plugins by its capability and by CNI_ARGS", () => {
  const request: WantedNetworks & { vlan: number } = {
    vlan: 7,
    networks: [{ name: "a" }, { name: "c" }],
  };
  const [first, second] = planAttachments(POD, request, networks(), TABLE);
  assertEquals(first?.capabilityArgs, { "io.example.free": { vlan: 7 } });
  assertEquals(first?.args.at(-1), ["VLAN", "7"]);
  assertEquals(second?.capabilityArgs, {});
  // Each of the others is read by the same functions with the real table, which has no such setting.
  assertThrows(() => wantedNetwork("a,vlan=7"), CniError, 'unknown key "vlan"');
});
