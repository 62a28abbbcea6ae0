import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { parseNetwork } from "../../lib/catalog/load.ts";
import { embeddedNetwork } from "../../lib/catalog/embedded_network.ts";
import { networkConfig } from "../../lib/network/network_config.ts";
import { planNetwork } from "../../lib/network/network_plan.ts";
import type { NetworkRequest } from "../../lib/network/network_request.ts";
import { countsOf, toGithub, toText } from "../../lib/lint/formats.ts";
import { RULES } from "../../lib/lint/rules.ts";
import { toSarif } from "../../lib/lint/sarif.ts";
import { BROKEN } from "../lint/broken.ts";
import { bridge, findings, inDir, list, PORTMAP, write } from "../lint/world.ts";
import { writeExecutable } from "../executable.ts";
import { schemaProblems } from "../json_schema.ts";
import { need } from "../root/need.ts";
import { podwire } from "./fake_io.ts";

const GOLDEN = fromFileUrl(new URL("../testdata/lint/", import.meta.url));
const ROOT = fromFileUrl(new URL("../../", import.meta.url));

/** Compares with a file; PODWIRE_GOLDEN=write writes it. */
function assertGolden(name: string, text: string): void {
  const path = `${GOLDEN}${name}`;
  if (Deno.env.get("PODWIRE_GOLDEN") === "write") Deno.writeTextFileSync(path, text);
  assertEquals(text, Deno.readTextFileSync(path), name);
}

/** A few findings of each severity. */
async function someFindings() {
  const names = [
    "a gateway in another subnet",
    "a comment",
    "a mistyped key of a range",
    "CHECK and GC are off",
    "an MTU without IPv6",
  ];
  const all = [];
  for (const [at, name] of names.entries()) {
    const { files = {} } = BROKEN[name] ?? {};
    for (const one of await inDir(files, (dir) => findings(dir))) {
      all.push({ ...one, file: `/etc/cni/net.d/${at}${one.file}` });
    }
  }
  return all;
}

for (const columns of [60, 100, 160]) {
  for (const color of [false, true]) {
    Deno.test(`findings fit ${columns} columns ${color ? "with" : "without"} colours`, async () => {
      const all = await someFindings();
      const text = `${toText(all, { columns, color })}${countsOf(all, 5)}\n`;
      const plain = text.replaceAll(/\p{Cc}\[\d+m/gu, "");
      assertEquals(text !== plain, color);
      for (const line of plain.split("\n")) {
        assert(line.length <= columns || !line.trim().includes(" "), line);
      }
      assertGolden(`text-${columns}${color ? "-color" : ""}.txt`, text);
    });
  }
}

Deno.test("findings are printed for programs as JSON, as SARIF and as commands of GitHub", async () => {
  const all = await someFindings();
  assertGolden("findings.json", `${JSON.stringify(all, null, 2)}\n`);
  assertGolden("sarif.json", `${JSON.stringify(toSarif(all, "0.1.0"), null, 2)}\n`);
  assertGolden("github.txt", toGithub(all));
});

Deno.test("text that is not for a terminal is not broken, and shows no control character of a file", () => {
  const finding = {
    file: "a\u001b[2J",
    line: 1,
    column: 2,
    rule: "mtu",
    severity: "note",
    message: `${"word ".repeat(60)}\u0007`,
  } as const;
  const text = toText([finding], { color: false });
  assertEquals(text.split("\n").length, 2);
  assert(!/[^\n\P{Cc}]/u.test(text), JSON.stringify(text));
});

Deno.test({
  name: "what `lint --json` prints has the schema in docs",
  ...need("ajv"),
  fn: async () => {
    const schema = JSON.parse(Deno.readTextFileSync(`${ROOT}docs/lint.schema.json`));
    const bad = [{ file: "a", line: 0, column: 1, rule: "mtu", severity: "bad", message: "" }];
    const [good, ...rest] = await schemaProblems(schema, [await someFindings(), bad, {}]);
    assertEquals(good, []);
    assert(rest.every((problems) => problems.length > 0), JSON.stringify(rest));
  },
});

const lint = (args: readonly string[], process = {}) => podwire(["lint", ...args], { uid: 1000, ...process });

Deno.test("lint exits 0 without errors, 1 with them, and with --strict also for warnings", async () => {
  const files = { "a.conflist": list("a", [{ type: "bridge", isGatway: true }]), "b.conflist": "{" };
  await inDir(files, async (dir) => {
    const both = await lint([dir]);
    assertEquals(both.code, 1);
    assertStringIncludes(both.stderr, "2 files: 1 error, 1 warning, 0 notes");
    const warning = await lint([`${dir}/a.conflist`]);
    assertEquals(warning.code, 0);
    assertStringIncludes(warning.stdout, "a.conflist:7:19: warning[misspelt-key]: bridge does not know");
    assertEquals((await lint(["--strict", `${dir}/a.conflist`])).code, 1);
    const off = await lint(["--strict", "-x", "misspelt-key", `${dir}/a.conflist`]);
    assertEquals({ code: off.code, stdout: off.stdout }, { code: 0, stdout: "" });
    assertEquals((await lint([`${dir}/gone.conflist`])).code, 3);
    const unknown = await lint(["--exclude", "mispelt-key", dir]);
    assertEquals(unknown.code, 2);
    assertStringIncludes(unknown.stderr, 'did you mean "misspelt-key"?');
  });
});

Deno.test("lint looks at the configuration directory if nothing is named", async () => {
  await inDir({ "a.conflist": "{" }, async (dir) => {
    const { code, stdout } = await lint(["--conf-dir", dir, "--json"]);
    assertEquals(code, 1);
    const [finding] = JSON.parse(stdout);
    assertEquals(finding, {
      file: `${dir}/a.conflist`,
      line: 1,
      column: 2,
      rule: "invalid-json",
      severity: "error",
      message: 'unexpected end of the text: expected a key in double quotes or "}"',
    });
  });
});

Deno.test("every format can be asked for, and others are refused", async () => {
  await inDir({ "a.conflist": "{" }, async (dir) => {
    const sarif = JSON.parse((await lint([dir, "--format", "sarif"])).stdout);
    assertEquals(sarif.runs[0].results[0].ruleId, "invalid-json");
    assertStringIncludes(
      (await lint([dir, "--format", "github"])).stdout,
      `::error file=${dir}/a.conflist,line=1,col=2,`,
    );
    const { code, stderr } = await lint([dir, "--format", "xml"]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, '--format: "xml" is not one of text, json, sarif, github');
  });
});

Deno.test("a rule can be looked up, and all of them be listed", async () => {
  const one = await lint(["--explain", "overlapping-subnets"]);
  assertStringIncludes(
    one.stdout,
    "overlapping-subnets (warning): two networks give addresses of the same subnet\n\n",
  );
  const listed = await lint(["--rules", "--json"]);
  assertEquals(
    JSON.parse(listed.stdout).map(({ name }: { name: string }) => name),
    RULES.map(({ name }) => name),
  );
  const table = await lint(["--rules"]);
  assertEquals(table.stdout.trim().split("\n").length, RULES.length + 1);
});

Deno.test("a terminal gets colours, unless they are off", async () => {
  await inDir({ "a.conflist": "{" }, async (dir) => {
    assertStringIncludes((await lint([dir], { columns: 100 })).stdout, "\u001b[31merror\u001b[0m");
    for (const off of [{ args: ["--no-color"] }, { args: [], env: { NO_COLOR: "1" } }]) {
      const { stdout } = await lint([dir, ...off.args], { columns: 100, env: off.env });
      assert(!stdout.includes("\u001b"), stdout);
    }
  });
});

Deno.test("a plugin that hangs at VERSION costs the time that it is given", async () => {
  await inDir({ "a.conflist": list("a", [{ type: "pw-lint-hangs" }]) }, async (dir) => {
    await Deno.mkdir(`${dir}/bin`);
    writeExecutable(`${dir}/bin/pw-lint-hangs`, "#!/bin/sh\nexec sleep 600\n");
    const args = [`${dir}/a.conflist`, "--plugin-dir", `${dir}/bin`];
    const { code, stdout } = await lint([...args, "--timeout", "VERSION=300ms", "--json"], { uid: 0 });
    const [found, ...rest] = JSON.parse(stdout);
    assertEquals({ code, rest, rule: found.rule }, { code: 0, rest: [], rule: "plugin-unusable" });
    assertStringIncludes(found.message, "pw-lint-hangs does not say which versions it supports");
    const without = await lint([...args, "--no-plugins"]);
    assertEquals({ code: without.code, stdout: without.stdout }, { code: 0, stdout: "" });
  });
});

Deno.test("an installed plugin is asked for its versions", async () => {
  await inDir({ "a.conflist": list("a", [{ type: "pw-lint-old" }]) }, async (dir) => {
    await Deno.mkdir(`${dir}/bin`);
    const answer = '{"cniVersion": "0.4.0", "supportedVersions": ["0.4.0"]}';
    writeExecutable(`${dir}/bin/pw-lint-old`, `#!/bin/sh\ncat >/dev/null\necho '${answer}'\n`);
    const { code, stdout } = await lint([`${dir}/a.conflist`, "--plugin-dir", `${dir}/bin`, "--json"], {
      uid: 0,
    });
    const found = JSON.parse(stdout) as { rule: string }[];
    assertEquals({ code, rules: found.map(({ rule }) => rule) }, { code: 1, rules: ["unsupported-version"] });
  });
});

Deno.test("lint changes no file", async () => {
  const files = {
    "a.conflist": list("a", [bridge("br0", "10.1.0.0/24"), PORTMAP]),
    "x/a.conf": { type: "loopback" },
  };
  await inDir(files, async (dir) => {
    const facts = async () => {
      const all = [];
      for (const path of ["", "a.conflist", "x", "x/a.conf"]) {
        const { mtime, ctime, size, mode } = await Deno.stat(`${dir}/${path}`);
        all.push({ path, mtime, ctime, size, mode });
      }
      return all;
    };
    const before = await facts();
    await lint([dir, "--state-dir", `${dir}/state`, "--cache-dir", `${dir}/cache`]);
    assertEquals(await facts(), before);
  });
});

const CREATED: readonly NetworkRequest[] = [
  { name: "back", subnets: ["10.20.0.0/24"], internal: true },
  { name: "web", subnets: ["10.20.0.0/24", "fd01::/64"], ranges: ["10.20.0.100-10.20.0.199"], isolate: true },
  {
    name: "lan",
    driver: "macvlan",
    subnets: ["192.168.1.0/24"],
    gateways: ["192.168.1.1"],
    options: { parent: "eth0" },
  },
  { name: "ip", driver: "ipvlan", subnets: ["192.168.1.0/24"], options: { parent: "eth0", mode: "l2" } },
  { name: "dhcp", driver: "macvlan", options: { parent: "eth0", ipam: "dhcp" } },
  { name: "p2p", driver: "ptp", subnets: ["10.21.0.0/24"], mtu: 1400 },
  {
    name: "tagged",
    subnets: ["10.22.0.0/24"],
    vlan: 7,
    dns: ["10.0.0.53"],
    publishable: true,
    internal: true,
  },
  { name: "layer2", options: { ipam: "none", bridge: "br0" } },
];

for (const request of CREATED) {
  Deno.test(`what \`network create ${request.name}\` writes is valid by lint`, async () => {
    const plan = planNetwork(request);
    const json = networkConfig(plan, plan.subnets, new Date(0));
    assertEquals(await inDir({ [`${request.name}.conflist`]: json }, (dir) => findings(dir)), []);
  });
}

Deno.test("the embedded network is valid by lint, but for its name", async () => {
  const { text } = embeddedNetwork({ masquerade: "nftables", ipv6: true });
  assert(parseNetwork(text).name === "podwire");
  const found = await inDir({ "a.conflist": text }, (dir) => findings(dir));
  assertEquals(found.map(({ rule }) => rule), ["reserved-name"]);
});

Deno.test("docs/lint.md has the table of the rules", () => {
  const cell = (text: string) => text.replaceAll("|", "\\|");
  const text = Deno.readTextFileSync(`${ROOT}docs/lint.md`);
  const rows = [...text.matchAll(/^\| `([a-z-]+)` +\| (\w+) +\| (.+?) +\|$/gm)].map((
    [, name, severity, summary],
  ) => ({ name, severity, summary }));
  assertEquals(
    rows,
    RULES.map(({ name, severity, summary }) => ({ name, severity, summary: cell(summary) })),
  );
  for (const { explanation } of RULES) {
    assertStringIncludes(text.replaceAll(/\s+/g, " "), explanation.replaceAll(/\s+/g, " "));
  }
});

Deno.test("a broken configuration of the tests is refused by no rule twice at one place", async () => {
  for (const [what, { files }] of Object.entries(BROKEN)) {
    const found = await inDir(files, async (dir) => {
      await write(dir, {});
      return await findings(dir);
    });
    const places = found.map(({ rule, file, line, column }) => `${rule} ${file}:${line}:${column}`);
    assertEquals(new Set(places).size, places.length, what);
  }
});
