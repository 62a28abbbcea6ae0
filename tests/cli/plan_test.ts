import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { maskedText, maskSecrets } from "../../lib/cni/mask_secrets.ts";
import { maskedPlan, planScript } from "../../lib/cli/plan_script.ts";
import { schemaProblems } from "../json_schema.ts";
import { need } from "../root/need.ts";
import { podwire } from "./fake_io.ts";
import { inWorld } from "./plan_world.ts";

/** All files below a directory, with what shows a change. */
async function filesBelow(dir: string): Promise<readonly string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    const path = `${dir}/${name}`;
    const { mtime, ctime, size, mode } = await Deno.lstat(path);
    found.push(`${path} ${mtime?.getTime()} ${ctime?.getTime()} ${size} ${mode}`);
    if (isDirectory) found.push(...await filesBelow(path));
  }
  return found.toSorted();
}

Deno.test("a plan has each plugin with its path, its environment and its input, with secrets masked", async () => {
  await inWorld(async (dir, args) => {
    const { code, stdout, stderr } = await podwire([
      "plan",
      "web",
      "--id",
      "c1",
      "--ip",
      "10.1.0.5",
      "--json",
      ...args,
    ], { env: { PATH: "/usr/bin" } });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    const { calls: [one, two, ...more], ...plan } = JSON.parse(stdout);
    assertEquals(more, []);
    assertEquals(plan, {
      id: "c1",
      name: "web",
      namespace: "default",
      netns: `${dir}/netns/podwire-c1`,
      isNew: true,
      automaticPorts: [],
    });
    assertEquals(one.path, `${dir}/bin/pw-plan-one`);
    const { environment: { PATH, CNI_ARGS, ...variables }, ...rest } = one;
    assertStringIncludes(PATH, "/usr/bin");
    assertStringIncludes(CNI_ARGS, "K8S_POD_NAME=web");
    assertEquals(variables, {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c1",
      CNI_IFNAME: "eth0",
      CNI_NETNS: `${dir}/netns/podwire-c1`,
      CNI_PATH: `${dir}/bin:/opt/pw-plan-one/bin`,
    });
    assertEquals(rest.stdin, {
      type: "pw-plan-one",
      password: "***",
      name: "net",
      cniVersion: "1.0.0",
      runtimeConfig: { ips: ["10.1.0.5"] },
    });
    assertEquals({ index: two.index, count: two.count, stdin: two.stdin }, {
      index: 1,
      count: 2,
      stdin: { type: "pw-plan-two", apiToken: "***", note: "it's", name: "net", cniVersion: "1.0.0" },
    });
  });
});

Deno.test({
  name: "what `plan --json` prints has the schema in docs",
  ...need("ajv"),
  fn: () =>
    inWorld(async (_dir, args) => {
      const schema = JSON.parse(
        Deno.readTextFileSync(new URL("../../docs/plan.schema.json", import.meta.url)),
      );
      const { stdout } = await podwire(["plan", "--network", "net", "--json", ...args]);
      const plan = JSON.parse(stdout);
      const builtin = { ...plan, calls: [{ ...plan.calls[0], path: null }] };
      const [good, alsoGood, ...bad] = await schemaProblems(schema, [plan, builtin, {}, {
        ...plan,
        calls: [{}],
      }]);
      assertEquals({ good, alsoGood }, { good: [], alsoGood: [] });
      assert(bad.every((problems) => problems.length > 0));
    }),
});

Deno.test("a plan makes nothing, and `run --dry-run` is the same", async () => {
  await inWorld(async (dir, args) => {
    const before = await filesBelow(dir);
    const plan = await podwire(["plan", "web", "--id", "c1", ...args]);
    const dry = await podwire(["run", "--dry-run", "web", "--id", "c1", ...args]);
    assertEquals({ code: dry.code, stdout: dry.stdout }, { code: 0, stdout: plan.stdout });
    assertEquals(await filesBelow(dir), before);
    assert(plan.stdout.startsWith("#!/bin/sh\n"));
  });
});

Deno.test("a plan refuses what a run refuses", async () => {
  await inWorld(async (_dir, args) => {
    const gone = await podwire(["plan", "--network", "nett", ...args]);
    assertEquals(gone.code, 3);
    const taken = await podwire(["plan", "--ip", "10.1.0", ...args]);
    assertEquals(taken.code, 2);
    const socket = await podwire(["plan", "--socket", "/run/x.sock", ...args]);
    assertEquals(socket.code, 2);
    assertStringIncludes(socket.stderr, "--socket: what a daemon would do is not known here");
    assertEquals((await podwire(["plan", "--infra", ...args])).code, 2);
  });
});

Deno.test("passwords, tokens, keys and users in URLs are masked, and nothing else", () => {
  const json = {
    password: "a",
    nested: [{ privateKey: "b", name: "c" }],
    key: "d",
    keys: { authToken: 4 },
    on: { token: true },
  };
  assertEquals(maskSecrets(json), {
    password: "***",
    nested: [{ privateKey: "***", name: "c" }],
    key: "d",
    keys: { authToken: "***" },
    on: { token: true },
  });
  assertEquals(maskedText("HTTPS_PROXY", "http://me:pass@proxy:3128/"), "http://***@proxy:3128/");
  assertEquals(maskedText("HTTPS_PROXY", "http://proxy:3128/@x"), "http://proxy:3128/@x");
  assertEquals(
    maskedText("CNI_ARGS", "IgnoreUnknown=1;SECRET=a=b;IP=10.1.0.5"),
    "IgnoreUnknown=1;SECRET=***;IP=10.1.0.5",
  );
});

Deno.test("the script quotes what a shell acts on, and says what it lacks", () => {
  const environment = { PATH: "/bin", CNI_ARGS: "A=$(x)'`;B=c d" };
  const call = {
    network: "n\nrm",
    ifName: "eth0",
    plugin: "bridge",
    index: 0,
    count: 1,
    path: null,
    environment,
    stdin: { type: "bridge", a: "'" },
  };
  const plan = {
    id: "c1",
    name: "web",
    namespace: "default",
    netns: "/run/netns/c 1",
    isNew: true,
    calls: [call],
    automaticPorts: [{ containerPort: 80, protocol: "tcp" }],
  };
  const script = planScript(maskedPlan(plan));
  const { success } = new Deno.Command("sh", { args: ["-n", "-c", script] }).outputSync();
  assert(success, script);
  assertStringIncludes(script, "unshare --net='/run/netns/c 1' ip link set lo up\n");
  assertStringIncludes(script, `  'CNI_ARGS=A=$(x)'\\''\`;B=c d' \\\n  podwire plugin bridge)`);
  assertStringIncludes(script, "# The run chooses a port of the host for 80/tcp, which is missing here\n");
  assert(!script.includes("\nrm"), script);
});
