import { assertEquals, assertStringIncludes } from "@std/assert";
import { CniError } from "../../lib/cni/error.ts";
import type { Result } from "../../lib/cni/result.ts";
import { SPEC_VERSIONS, type SpecVersion } from "../../lib/cni/version.ts";
import {
  type Plugin,
  type PluginOutcome,
  type PluginRequest,
  type PluginVerb,
  type PluginVerbs,
  servePlugin,
} from "../../lib/plugin/serve.ts";

const ENV: Readonly<Record<string, string>> = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "c1",
  CNI_NETNS: "/nowhere/c1",
  CNI_IFNAME: "eth0",
  CNI_PATH: "/opt/cni/bin",
};

type Handler = (request: PluginRequest) => Result | void | Promise<Result | void>;

interface Call {
  readonly env?: Readonly<Record<string, string>>;
  readonly config?: unknown;
  readonly stdin?: () => Promise<string>;
  readonly versions?: readonly SpecVersion[];
  readonly handler?: Handler;
  readonly about?: string;
}

const RESULT = { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24", gateway: "10.1.0.1" }] } as const;

async function call(call: Call): Promise<PluginOutcome & { calls: number }> {
  const { env = {}, config = { name: "web", cniVersion: "1.1.0", type: "t" }, about = "", versions } = call;
  let calls = 0;
  const handler = (request: PluginRequest) => {
    calls++;
    return (call.handler ?? (() => Promise.resolve(RESULT)))(request);
  };
  const other = handler as PluginVerb;
  const outcome = await servePlugin({
    about,
    versions: versions ?? SPEC_VERSIONS,
    verbs: { ADD: handler as PluginVerbs["ADD"], CHECK: other, DEL: other, GC: other, STATUS: other },
  }, {
    env: (name) => ({ ...ENV, ...env })[name],
    stdin: call.stdin ??
      (() => Promise.resolve(typeof config === "string" ? config : JSON.stringify(config))),
  });
  return { ...outcome, calls };
}

/** The error object of a call that must have failed without having called the plugin. */
async function refusal(options: Call): Promise<Record<string, unknown>> {
  const { stdout, code, calls } = await call(options);
  assertEquals({ code, calls }, { code: 1, calls: 0 });
  const { cniVersion: _, ...error } = JSON.parse(stdout);
  return error;
}

Deno.test("B76 input must be JSON with a valid name", async () => {
  const codeOf = async (config: unknown) => (await refusal({ config })).code;
  assertEquals(await codeOf("{"), 6);
  assertEquals(await codeOf("[]"), 6);
  assertEquals(await codeOf({ name: 1 }), 6);
  assertEquals(await refusal({ config: { cniVersion: "1.1.0" } }), { code: 7, msg: "missing network name" });
  assertEquals((await refusal({ config: { name: "../up" } })).code, 7);
  const broken = () => Promise.reject(new Error("pipe"));
  assertEquals(await refusal({ stdin: broken }), { code: 5, msg: "error reading from stdin: pipe" });
});

Deno.test("B76 VERSION does not read input", async () => {
  const { code } = await call({
    env: { CNI_COMMAND: "VERSION" },
    stdin: () => Promise.reject(new Error("read")),
  });
  assertEquals(code, 0);
});

Deno.test("B77 the configuration's version must be one of the plugin's", async () => {
  const config = { name: "web", cniVersion: "0.4.0" };
  assertEquals(await refusal({ config, versions: ["1.0.0", "1.1.0"] }), {
    code: 1,
    msg: "incompatible CNI versions",
    details: 'config is "0.4.0", plugin supports ["1.0.0" "1.1.0"]',
  });
  assertEquals((await refusal({ config: { name: "web", cniVersion: "1.1" } })).code, 1);
});

Deno.test("C2 a configuration without version is of 0.1.0", async () => {
  const { stdout } = await call({ config: { name: "web" } });
  assertEquals(JSON.parse(stdout), {
    cniVersion: "0.1.0",
    ip4: { ip: "10.1.0.2/24", gateway: "10.1.0.1" },
    dns: {},
  });
});

Deno.test("B78 CHECK needs 0.4.0, GC and STATUS need 1.1.0", async () => {
  for (
    const [verb, below, from] of [["CHECK", "0.3.1", "0.4.0"], ["GC", "1.0.0", "1.1.0"], [
      "STATUS",
      "1.0.0",
      "1.1.0",
    ]] as const
  ) {
    const env = { CNI_COMMAND: verb };
    assertEquals(await refusal({ env, config: { name: "web", cniVersion: below } }), {
      code: 1,
      msg: `config version does not allow ${verb}`,
    });
    assertEquals(await refusal({ env, config: { name: "web", cniVersion: from }, versions: ["0.3.0"] }), {
      code: 1,
      msg: `plugin version does not allow ${verb}`,
    });
    assertEquals((await call({ env, config: { name: "web", cniVersion: from } })).calls, 1);
  }
});

Deno.test("B79 errors that are not error objects become code 999", async () => {
  const handler = () => Promise.reject(new TypeError("oh"));
  const { stdout, code } = await call({ handler });
  assertEquals(code, 1);
  assertEquals(JSON.parse(stdout), { cniVersion: "1.1.0", code: 999, msg: "oh" });
});

Deno.test("B79 a variable that may not be read becomes an error object that names the permission", async () => {
  for (const name of [...Object.keys(ENV), "CNI_ARGS", "CNI_NETNS_OVERRIDE"]) {
    const env = (asked: string) => {
      if (asked !== name) return ENV[asked];
      throw new Deno.errors.NotCapable(
        `Requires env access to "${name}", run again with the --allow-env flag`,
      );
    };
    const { stdout, ...ended } = await servePlugin({
      about: "CNI plugin t",
      versions: SPEC_VERSIONS,
      verbs: {},
    }, {
      env,
      stdin: () => Promise.resolve('{"name": "web", "cniVersion": "1.1.0", "type": "t"}'),
    });
    assertEquals(ended, { stderr: "", code: 1 });
    const { code, msg } = JSON.parse(stdout);
    assertEquals({ code, msg }, { code: 999, msg: `the Deno permission --allow-env=${name} is missing` });
  }
});

Deno.test("B80 an error object is printed with an indent of four, with code, message and details as thrown", async () => {
  const error = new CniError("plugin", "no room", { code: 123, details: "all taken" }).within({
    verb: "ADD",
  });
  const { stdout, code } = await call({ handler: () => Promise.reject(error) });
  assertEquals(code, 1);
  assertEquals(
    stdout,
    '{\n    "cniVersion": "1.1.0",\n    "code": 123,\n    "msg": "no room",\n    "details": "all taken"\n}',
  );
});

Deno.test("B81 without CNI_COMMAND the plugin prints its name and versions", async () => {
  const outcome = await call({
    env: { CNI_COMMAND: "" },
    about: "CNI plugin t v1",
    versions: ["1.0.0", "1.1.0"],
  });
  assertEquals(outcome, {
    stdout: "",
    stderr: "CNI plugin t v1\nCNI protocol versions supported: 1.0.0, 1.1.0\n",
    code: 0,
    calls: 0,
  });
  assertEquals((await refusal({ env: { CNI_COMMAND: "" } })).code, 4);
});

Deno.test("B82 VERSION prints the versions", async () => {
  const { stdout, code } = await call({ env: { CNI_COMMAND: "VERSION" }, versions: ["0.4.0", "1.0.0"] });
  assertEquals(code, 0);
  assertEquals(JSON.parse(stdout), { cniVersion: "1.1.0", supportedVersions: ["0.4.0", "1.0.0"] });
});

Deno.test("B60 B85 the plugin's own namespace is refused before the verb runs", async () => {
  for (const verb of ["ADD", "CHECK", "DEL"]) {
    const env = { CNI_COMMAND: verb, CNI_NETNS: "/proc/self/ns/net" };
    assertEquals(await refusal({ env }), {
      code: 8,
      msg: "plugin's netns and netns from CNI_NETNS should not be the same",
    });
    for (const override of ["1", "TRUE", "true"]) {
      assertEquals((await call({ env: { ...env, CNI_NETNS_OVERRIDE: override } })).calls, 1);
    }
  }
});

Deno.test("B86 a namespace that cannot be opened counts as another one", async () => {
  assertEquals((await call({ env: { CNI_COMMAND: "DEL", CNI_NETNS: "" } })).calls, 1);
  assertEquals((await call({ env: { CNI_NETNS: "/nowhere/at/all" } })).calls, 1);
});

Deno.test("C24 the result is printed in the configuration's version, with an indent of four", async () => {
  const { stdout } = await call({ config: { name: "web", cniVersion: "0.4.0" } });
  assertEquals(JSON.parse(stdout).ips, [{ version: "4", address: "10.1.0.2/24", gateway: "10.1.0.1" }]);
  assertStringIncludes(stdout, '{\n    "cniVersion": "0.4.0"');
  assertEquals(stdout.endsWith("}"), true);
});

Deno.test("C49 a plugin gets prevResult in the shape of 1.1.0", async () => {
  const config = {
    name: "web",
    cniVersion: "0.4.0",
    prevResult: { ips: [{ version: "4", address: "10.1.0.2/24" }], dns: {} },
  };
  let seen: unknown;
  await call({ config, handler: (request) => (seen = request.prevResult, Promise.resolve(RESULT)) });
  assertEquals(seen, { cniVersion: "1.1.0", ips: [{ address: "10.1.0.2/24" }] });
});

Deno.test("C49 an invalid prevResult fails only a plugin that reads it", async () => {
  const config = { name: "web", cniVersion: "1.1.0", prevResult: { ips: "none" } };
  const env = { CNI_COMMAND: "DEL" };
  assertEquals((await call({ env, config, handler: () => Promise.resolve() })).code, 0);
  const { stdout } = await call({ env, config, handler: (request) => Promise.reject(request.prevResult) });
  const error = JSON.parse(stdout);
  assertEquals(error.code, 6);
  assertStringIncludes(error.msg, "could not parse prevResult: ");
});

Deno.test("only ADD prints", async () => {
  for (const verb of ["CHECK", "DEL", "GC", "STATUS"]) {
    const { stdout, code } = await call({ env: { CNI_COMMAND: verb } });
    assertEquals({ stdout, code }, { stdout: "", code: 0 });
  }
});

Deno.test("an ADD without a result is an error, a verb that the plugin lacks is not", async () => {
  const { stdout } = await call({ handler: () => Promise.resolve() });
  assertEquals(JSON.parse(stdout).code, 999);
  const lacking = await servePlugin({ about: "", versions: SPEC_VERSIONS, verbs: {} }, {
    env: (name) => ({ ...ENV, CNI_COMMAND: "STATUS" })[name],
    stdin: () => Promise.resolve('{"name": "web", "cniVersion": "1.1.0"}'),
  });
  assertEquals(lacking, { stdout: "", stderr: "", code: 0 });
});

Deno.test("a plugin that delegates without a runner gets an error", async () => {
  const { stdout } = await call({
    handler: async (request) => {
      request.log("asking for an address");
      await request.delegate("host-local", request.config);
      return RESULT;
    },
  });
  assertStringIncludes(JSON.parse(stdout).msg, 'Cannot run the plugin "host-local"');
});

Deno.test("the log of a plugin is its standard error, also if it fails", async () => {
  const { stderr } = await call({
    handler: (request) => {
      request.log("one");
      request.log("two");
      return Promise.reject(new Error("oh"));
    },
  });
  assertEquals(stderr, "one\ntwo\n");
});

Deno.test("numbers and unknown keys of the configuration reach the plugin as written", async () => {
  let seen = "";
  await call({
    config: '{"name": "web", "cniVersion": "1.1.0", "id": 9007199254740993, "x": {"y": 1.0}}',
    handler: (request) => (seen = JSON.stringify(request.config), Promise.resolve(RESULT)),
  });
  assertEquals(seen, '{"name":"web","cniVersion":"1.1.0","id":9007199254740993,"x":{"y":1.0}}');
});

Deno.test("the functions of a plugin may be plain, and what they throw becomes the error object", async () => {
  const plugin: Plugin = {
    about: "",
    versions: SPEC_VERSIONS,
    verbs: {
      ADD: ({ ifName: name, netns: sandbox }) => ({ cniVersion: "1.1.0", interfaces: [{ name, sandbox }] }),
      DEL: () => {},
      CHECK: () => {
        throw new CniError("plugin", "the route is gone", { code: 120 });
      },
    },
  };
  const run = async (verb: string) => {
    const { stdout, code } = await servePlugin(plugin, {
      env: (name) => ({ ...ENV, CNI_COMMAND: verb })[name],
      stdin: () => Promise.resolve('{"name": "web", "cniVersion": "1.1.0", "type": "t"}'),
    });
    return { code, printed: stdout === "" ? undefined : JSON.parse(stdout) };
  };
  assertEquals(await run("ADD"), {
    code: 0,
    printed: { cniVersion: "1.1.0", interfaces: [{ name: "eth0", sandbox: "/nowhere/c1" }] },
  });
  assertEquals(await run("DEL"), { code: 0, printed: undefined });
  const printed = { cniVersion: "1.1.0", code: 120, msg: "the route is gone" };
  assertEquals(await run("CHECK"), { code: 1, printed });
});
