// Every kind of wrong command line, for every command: the exit code, and one line that names what is wrong.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Command, GLOBAL_OPTIONS, type OptionSpec } from "../../lib/cli/command.ts";
import { COMMANDS } from "../../lib/cli/commands.ts";
import { inTempDir } from "../temp_dir.ts";
import { podwire } from "./fake_io.ts";

/** Valid operands for each command; none of them exists. */
const OPERANDS: Readonly<Record<string, readonly string[]>> = {
  run: ["web"],
  plan: ["web"],
  stop: ["web"],
  rm: ["web"],
  ps: [],
  inspect: ["web"],
  port: ["web"],
  exec: ["web", "true"],
  add: ["net", "/run/netns/absent"],
  check: ["net", "/run/netns/absent"],
  del: ["net", "/run/netns/absent"],
  status: [],
  gc: [],
  recover: [],
  repair: ["web"],
  networks: [],
  lint: [],
  schema: [],
  "network create": ["back"],
  "network ls": [],
  "network rm": ["back"],
  "network inspect": ["back"],
  "network set": ["podwire"],
  "network connect": ["web", "back"],
  "network disconnect": ["web", "back"],
  attachments: [],
  forget: ["c1"],
  plugin: ["bridge"],
  "oci-hook": ["config"],
  serve: [],
  nri: [],
  demo: [],
  completion: ["bash"],
};

/** A value that each option refuses, and its message; options that take any text are in {@linkcode ANY_TEXT}. */
const WRONG: Readonly<Record<string, readonly [value: string, says: string]>> = {
  "max-failed": ["-1", '--max-failed: "-1" is not a whole number'],
  builtin: ["always", '--builtin: "always" is not one of fallback, prefer, off'],
  timeout: ["ADD=fast", '--timeout: "fast" is not a duration'],
  "plugin-env": ["A=B", '--plugin-env: "A=B" is not the name of a variable'],
  "log-level": ["loud", '--log-level: "loud" is not one of'],
  "log-format": ["xml", '--log-format: "xml" is not one of'],
  "run uid": ["a b", 'the UID "a b" is invalid'],
  "run id": ["a/b", 'the sandbox ID "a/b" is invalid'],
  "run namespace": ["../x", 'the namespace "../x" is invalid'],
  "plan uid": ["a b", 'the UID "a b" is invalid'],
  "plan id": ["a/b", 'the sandbox ID "a/b" is invalid'],
  "plan namespace": ["../x", 'the namespace "../x" is invalid'],
  "plan network": ["net:a:b", '--network: "net:a:b" is not NET[:IFNAME]'],
  "plan socket": ["x", "--socket: what a daemon would do is not known here"],
  exclude: ["mtuu", '--exclude: there is no rule "mtuu"'],
  explain: ["mtuu", '--explain: there is no rule "mtuu"'],
  format: ["xml", '--format: "xml" is not one of text, json, sarif, github'],
  pid: ["0", '--pid: "0" is not a number from 1 to'],
  sysctl: ["net.ipv4.ip_forward", '--sysctl: "net.ipv4.ip_forward" is not KEY=VALUE'],
  label: ["app", '--label: "app" is not KEY=VALUE'],
  runtime: ["runc", "--runtime goes with --infra"],
  "run network": ["net:a:b", '--network: "net:a:b" is not NET[:IFNAME]'],
  publish: ["80", '--publish: "80" is not'],
  ip: ["10.1.0", '--ip: "10.1.0" is not a valid IP address'],
  mac: ["02:00", '--mac: unable to parse MAC address "02:00"'],
  bandwidth: ["10M", '--bandwidth: "10M" is not'],
  "ip-range": ["10.1.0.1/24", '--ip-range: "10.1.0.1/24" has host bits'],
  dns: ["ns1", '--dns: "ns1" is not a valid IP address'],
  "dns-search": ["a b", '--dns-search: "a b" is not a valid domain'],
  "dns-option": ["a b", '--dns-option: "a b" is not a valid option of a resolver'],
  alias: ["a b", '--alias: "a b" is not a valid name for a host'],
  device: ["a\nb", '--device: "a\\nb" is empty or has control characters'],
  "cgroup-path": ["a\nb", '--cgroup-path: "a\\nb" is empty or has control characters'],
  arg: ["K=a=b", '--arg: Cannot pass CNI argument "K": its value contains "="'],
  cap: ["x={", '--cap: the value of "x" is not valid JSON'],
  annotation: ["x", '--annotation: "x" is not KEY=VALUE'],
  "serve socket": [`/${"s".repeat(200)}`, "--socket: a path of 201 bytes is too long for a socket"],
  "serve cri": [`/${"s".repeat(200)}`, "--cri: a path of 201 bytes is too long for a socket"],
  "nri socket": [`/${"s".repeat(200)}`, "--socket: a path of 201 bytes is too long for a socket"],
  "http-socket": [`/${"s".repeat(200)}`, "--http-socket: a path of 201 bytes is too long for a socket"],
  index: ["5", '--index: "5" is not valid: two digits'],
  "nri name": ["a,b", '--name: "a,b" is not valid: letters, digits'],
  "cgroup-driver": ["docker", '--cgroup-driver: "docker" is not one of cgroupfs, systemd'],
  filter: ["age=1", '--filter: "age" is not a key of a filter'],
  "add ifname": ["a/b", "--ifname: interface name contains / or :"],
  "check ifname": ["a/b", "--ifname: interface name contains / or :"],
  "del ifname": ["a/b", "--ifname: interface name contains / or :"],
  id: ["a b", "--id: invalid characters in containerID"],
  grace: ["5", '--grace: "5" is not a duration'],
  valid: ["a b:eth0", "--valid: invalid characters in containerID"],
  "attachments network": ["a b", "--network: invalid characters found in network name"],
  driver: ["vxlan", '--driver: there is no driver "vxlan"'],
  subnet: ["10.1.0.1/24", "--subnet: 10.1.0.1/24 has bits after the prefix: its network is 10.1.0.0/24"],
  "pod-cidr": ["10.1.0.1/24", "--pod-cidr: 10.1.0.1/24 has bits after the prefix"],
  gateway: ["10.1.0.1", "--gateway: 10.1.0.1 is in none of the subnets that are given"],
  range: ["10.1.0.9-10.1.0.1", "--range: 10.1.0.9-10.1.0.1: the first address comes after the last"],
  mtu: ["10", "--mtu: 10 is not a whole number from 68 to 65535"],
  vlan: ["4095", '--vlan: "4095" is not a number from 1 to 4094'],
  option: ["speed=1", '--option: the driver bridge has no option "speed"'],
  "network create pool": ["10.0.0.0", '--pool: "10.0.0.0" is not a network'],
  "network disconnect ifname": ["a/b", "--ifname: interface name contains / or :"],
  limit: ["soon", '--limit: "soon" is not a duration'],
  "allow-annotation": ["all", '--allow-annotation: "all" is not one of ip'],
  "allow-host-ports": ["0", '--allow-host-ports: "0" is not PORT[-PORT]'],
  "check-interval": ["5", '--check-interval: "5" is not a duration'],
  "gc-interval": ["5", '--gc-interval: "5" is not a duration'],
  "request-timeout": ["5", '--request-timeout: "5" is not a duration'],
  "max-requests": ["0", '--max-requests: "0" is not a number from 1 to'],
  "drain-timeout": ["5", '--drain-timeout: "5" is not a duration'],
  pool: ["a b=1", "--pool: invalid characters found in network name"],
  "pool-max-age": ["5", '--pool-max-age: "5" is not a duration'],
};

/** Options whose value is only looked up: any text is a possible name or path. */
const ANY_TEXT: readonly string[] = [
  "policy",
  "conf-dir",
  "plugin-dir",
  "cache-dir",
  "state-dir",
  "netns-dir",
  "default-network",
  "namespace",
  "netns",
  "run socket",
  "reason",
  "template",
  "status ifname",
  "gc ifname",
  "dir",
  "program",
  "allow-network",
];

const takesValue = ({ kind }: OptionSpec) => kind !== "flag";
const wrongValue = (command: string, option: string) => WRONG[`${command} ${option}`] ?? WRONG[option];

/** Runs a command line with directories that do not exist; no command line may change anything. */
function refused(args: readonly string[]): Promise<string> {
  return inTempDir(async (dir) => {
    const dirs = ["state-dir", "cache-dir", "netns-dir"].map((name) => `--${name}=${dir}/none/${name}`);
    const { code, stdout, stderr } = await podwire([...dirs, ...args]);
    const about = `${JSON.stringify(args).slice(0, 200)}: ${code} ${stderr}`;
    const made = Array.from(Deno.readDirSync(dir), ({ name }) => name);
    assertEquals({ code, stdout, made }, { code: 2, stdout: "", made: [] }, about);
    const [first = "", ...hints] = stderr.trimEnd().split("\n");
    assertMatch(first, /^podwire: \S/, about);
    assert(hints.every((line) => line.startsWith("  hint: ")), about);
    assert(!/\bat \S+:\d+|panicked|internal/.test(stderr.replaceAll("--internal", "")), about);
    assert(stderr.length < 1_000, about);
    return first;
  });
}

const lineOf = ({ name }: Command, options: readonly string[], operands = OPERANDS[name] ?? []) => [
  ...name.split(" "),
  ...options,
  ...operands,
];

Deno.test("the tables of wrong values and of operands have every command and every option", () => {
  assertEquals(Object.keys(OPERANDS).sort(), COMMANDS.map(({ name }) => name).sort());
  const all = [
    ...GLOBAL_OPTIONS.filter(takesValue).map(({ name }) => `run ${name}`),
    ...COMMANDS.flatMap(({ name, options }) =>
      options.filter(takesValue).map((each) => `${name} ${each.name}`)
    ),
  ];
  const known = (place: string) => {
    const [option = "", ...command] = place.split(" ").toReversed();
    return wrongValue(command.toReversed().join(" "), option) !== undefined || ANY_TEXT.includes(place) ||
      ANY_TEXT.includes(option);
  };
  assertEquals(all.filter((place) => !known(place)), []);
});

Deno.test("an unknown option is named, long or short, before and after the operands", async () => {
  for (const command of COMMANDS) {
    for (const option of ["--nosuch", "--nosuch=1", "-Z", "-hZ"]) {
      const name = option.split("=")[0]!;
      const words = `unknown option ${name}`;
      assertStringIncludes(await refused(lineOf(command, [option])), words);
      if (command.name === "exec") continue;
      assertStringIncludes(await refused([...lineOf(command, []), option]), words);
    }
  }
  for (
    const args of [["--nosuch"], ["-Z"], ["help", "--nosuch"], ["help", "-Z"], ["help", "ps", "--nosuch"]]
  ) {
    assertStringIncludes(await refused(args), "unknown option -");
  }
});

Deno.test("an option without its value, or a flag with a value, is named", async () => {
  for (const command of COMMANDS) {
    for (const option of [...command.options, ...GLOBAL_OPTIONS]) {
      const flag = `--${option.name}`;
      if (option.kind === "flag") {
        assertStringIncludes(await refused(lineOf(command, [`${flag}=1`])), `option ${flag} takes no value`);
        continue;
      }
      const words = `option ${flag} needs a value: ${flag} ${option.value}`;
      if (option.kind === "optional") {
        for (const args of [[`${flag}=`], [flag, ""]]) {
          assertStringIncludes(await refused(lineOf(command, args, [])), words);
        }
        continue;
      }
      for (const args of [[`${flag}=`], [flag, ""], [flag, "--"]]) {
        assertStringIncludes(await refused(lineOf(command, args, [])), words);
      }
      assertStringIncludes(await refused([...command.name.split(" "), flag]), words);
    }
  }
});

Deno.test("a missing operand, or one too many, is named with the usage", async () => {
  for (const command of COMMANDS) {
    const { name, operands, count: [least, most] } = command;
    const given = OPERANDS[name] ?? [];
    const words = name.split(" ");
    if (least > 0) {
      assertStringIncludes(
        await refused([...words, ...given.slice(0, least - 1)]),
        `${name} needs ${operands}`,
      );
    }
    if (most === Infinity) continue;
    const many = Array.from({ length: most }, (_, index) => given[index] ?? `more${index}`);
    assertStringIncludes(await refused([...words, ...many, "surplus"]), 'unexpected argument "surplus"');
  }
  assertStringIncludes(await refused(["help", "ps", "surplus"]), 'unexpected argument "surplus"');
  assertStringIncludes(await refused(["exec", "web"]), "exec needs a command");
  assertStringIncludes(await refused(["forget", "c1"]), "--reason is missing");
});

Deno.test("an invalid value is named with its option", async () => {
  for (const command of COMMANDS) {
    for (const { name } of command.options.filter(takesValue)) {
      const wrong = ANY_TEXT.includes(`${command.name} ${name}`) ? undefined : wrongValue(command.name, name);
      if (wrong === undefined) continue;
      const [value, says] = wrong;
      assertStringIncludes(await refused(lineOf(command, [`--${name}=${value}`])), says, command.name);
    }
  }
  for (const { name } of GLOBAL_OPTIONS.filter(takesValue)) {
    const wrong = WRONG[name];
    if (wrong === undefined) continue;
    for (const command of ["run", "status", "serve"]) {
      assertStringIncludes(await refused([command, `--${name}=${wrong[0]}`]), wrong[1], command);
    }
  }
});

Deno.test("an option for one value is refused if it is given twice", async () => {
  const twice: readonly (readonly [args: readonly string[], says: string])[] = [
    ...COMMANDS.flatMap((command) =>
      command.options.filter(({ kind }) => kind === "value").map(({ name }) =>
        [
          lineOf(command, [`--${name}=1s`, `--${name}`, "2s"]),
          `option --${name} is given twice, as "1s" and as "2s"`,
        ] as const
      )
    ),
    [["run", "--network=a,mac=x,mac=y"], 'mac is given twice, "x" and "y"'],
    [["run", "--bandwidth=ingress=1M,ingress=2M"], "ingress is given twice"],
    [["run", "--ip=10.1.0.5", "--ip=10.1.0.5/24"], '--ip: "10.1.0.5/24" is given twice'],
    [["run", "--network=none", "--network=a"], '"none" means no network, and there are others'],
    [["run", "--netns=/a", "--pid=1"], "--netns and --pid exclude each other"],
    [["serve", "--pool=a=1", "--pool=a=2"], 'the network "a" is given twice'],
  ];
  for (const [args, says] of twice) assertStringIncludes(await refused(args), says);
});

Deno.test("an option of the daemon is refused with run --socket, by name", async () => {
  for (
    const option of [
      "--conf-dir=/x",
      "--plugin-dir=/x",
      "--default-network=x",
      "--no-embedded",
      "--allow-unsafe-files",
    ]
      .concat("--max-failed=1", "--builtin=off", "--plugin-env=X")
  ) {
    const { code, stderr } = await podwire(["run", "--socket=/nonexistent/s", option]);
    assertEquals(code, 2);
    assertStringIncludes(stderr, `${option.split("=")[0]} cannot be used with --socket`);
  }
  const { code, stderr } = await podwire(["run", `--socket=/${"s".repeat(200)}`]);
  assertEquals(code, 2);
  assertStringIncludes(stderr, "--socket: a path of 201 bytes is too long for a socket: it may have 107");
});

Deno.test("a very long name is cut in the message, and complete in JSON", async () => {
  const long = `${"a".repeat(3_000)}end`;
  const cases: readonly (readonly [code: number, args: readonly string[]])[] = [
    [2, [long]],
    [2, [`--${long}`]],
    [2, ["ps", long]],
    [2, ["run", long]],
    [2, ["run", "--namespace", long]],
    [2, ["run", "--uid", long]],
    [2, ["run", "--publish", long]],
    [2, ["add", "net", "/x", "--ifname", long]],
    [3, ["inspect", long]],
    [3, ["stop", long]],
    [3, ["exec", long, "true"]],
    [2, ["completion", long]],
  ];
  await inTempDir(async (dir) => {
    const dirs = ["state", "cache", "netns"].map((name) => `--${name}-dir=${dir}/${name}`);
    for (const [wanted, args] of cases) {
      const { code, stderr } = await podwire([...dirs, ...args]);
      assertEquals(code, wanted, `${args[0]!.slice(0, 20)} ${stderr}`);
      assert(stderr.length < 600, `${stderr.length}: ${stderr}`);
      if (!stderr.includes("aaa")) continue;
      assertMatch(stderr, /a{70}\.\.\.\(\d+ characters more\)\.\.\.a{10,17}end/);
      assertStringIncludes((await podwire([...dirs, "--json", ...args])).stderr, long);
    }
  });
});

Deno.test("a mistyped command or option is suggested", async () => {
  const cases: Readonly<Record<string, string>> = {
    "inspct web": 'did you mean "inspect"?',
    "network crate x": 'did you mean "network create"?',
    "netwrok ls": 'did you mean "network"?',
    "netwroks": 'did you mean "networks"?',
    "run web --publsh 80:80": 'did you mean "--publish"?',
    "ps --fliter name=a": 'did you mean "--filter"?',
    "ps --confdir /x": 'did you mean "--conf-dir"?',
    "xyzzy": "`podwire --help` lists the commands",
    "ps --xyzzy": "`--help` lists the options",
  };
  for (const [line, hint] of Object.entries(cases)) {
    const { code, stderr } = await podwire(line.split(" "));
    assertEquals({ code, hint: stderr.split("hint: ")[1]?.trimEnd() }, { code: 2, hint }, line);
  }
});

Deno.test("an unknown network lists those that there are, if they are few", async () => {
  await inTempDir(async (dir) => {
    const file = (name: string) =>
      JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type: "loopback" }] });
    for (const name of ["storage", "web"]) Deno.writeTextFileSync(`${dir}/${name}.conflist`, file(name));
    const args = ["status", "wbe", "--conf-dir", dir, "--state-dir", `${dir}/state`];
    const few = await podwire(args);
    assertEquals(few.code, 3);
    assertStringIncludes(few.stderr, "hint: there are storage, web; `podwire networks` lists what is there");
    for (let at = 0; at < 10; at++) Deno.writeTextFileSync(`${dir}/n${at}.conflist`, file(`n${at}`));
    const many = await podwire(args);
    assertStringIncludes(many.stderr, "hint: `podwire networks` lists what is there");
  });
});
