// The machine of the tests' own, from within: a second one in the first, which must not change the first.
import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { differences, takeFootprint } from "./footprint.ts";
import { need } from "./root/need.ts";

const CHECKOUT = fromFileUrl(new URL("../", import.meta.url));
const MACHINE = `${CHECKOUT}tests/machine.sh`;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function sh(script: string): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-ec", script], stdin: "null" })
    .output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Runs a shell script on a machine within this one. */
async function onMachine(script: string, stdin = ""): Promise<Outcome> {
  const child = new Deno.Command("sh", {
    args: [MACHINE, "sh", "-ec", script],
    env: { PODWIRE_TEST_MACHINE: "" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

// Linux stacks two overlays; if this machine itself is a container, a third one would be needed.
const isInside = Deno.env.get("PODWIRE_TEST_MACHINE") === "inside";
const refusal = isInside && need("root", "ip", "nft").ignore === false ? await onMachine("true") : undefined;
const why = refusal === undefined ? "needs the machine of the test task" : refusal.stderr.trim();

function machineTest(name: string, fn: () => Promise<void>): void {
  const ignore = refusal?.code !== 0;
  Deno.test({ name: ignore ? `${name} [${why}]` : name, ignore, fn });
}

/** Changes one thing of each kind that a footprint has. The caller decides about network and processes. */
const CHANGES: Readonly<
  Record<string, { readonly make: string; readonly undo: string; readonly seen: RegExp }>
> = {
  files: {
    make: "mkdir -p /var/lib/podwire/pwfoot /run/netns && touch /run/netns/pwfoot",
    undo: "rm -r /var/lib/podwire/pwfoot /run/netns/pwfoot",
    seen: /^files: new: \/run\/netns\/pwfoot /m,
  },
  links: {
    make: "ip link add pwfoot type veth peer name pwfoot2",
    undo: "ip link del pwfoot",
    seen: /^links: new: \d+: pwfoot/m,
  },
  rules: {
    make: "nft add table inet pwfoot",
    undo: "nft delete table inet pwfoot",
    seen: /^rules: new: table inet pwfoot/m,
  },
  sysctls: {
    make: "echo 137 >/proc/sys/net/ipv4/ip_default_ttl",
    undo: "echo 64 >/proc/sys/net/ipv4/ip_default_ttl",
    seen: /^sysctls: new: \/proc\/sys\/net\/ipv4\/ip_default_ttl:137$/m,
  },
  "control groups": {
    make: "mkdir $(find /sys/fs/cgroup -name cgroup.procs | head -n 1 | xargs dirname)/pwfoot",
    undo: "find /sys/fs/cgroup -type d -name pwfoot -exec rmdir {} +",
    seen: /^control groups: new: .*pwfoot$/m,
  },
};

machineTest("a program on the machine of the tests changes nothing of the machine around it", async () => {
  const before = await takeFootprint(CHECKOUT);
  const { code, stderr } = await onMachine(`
    ${
    Object.entries(CHANGES).filter(([kind]) => kind !== "control groups").map(([, { make }]) => make).join(
      "\n",
    )
  }
    ip netns add pwfoot3
    mkdir -p /etc/cni/net.d /opt/cni/bin /etc/netns
    touch /etc/cni/net.d/10-pwfoot.conf /opt/cni/bin/pwfoot /usr/bin/pwfoot /usr/local/bin/pwfoot /tmp/pwfoot /etc/pwfoot
    sleep 1000 &
    setsid -f sleep 1000`);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  // Other tests run beside this one, and change other things.
  const changed = differences(before, await takeFootprint(CHECKOUT));
  assertEquals(changed.filter((line) => /pwfoot|ip_default_ttl/.test(line)), []);
  assertEquals((await sh("ls /tmp/pwfoot /usr/bin/pwfoot || true")).stdout, "");
});

machineTest(
  "a footprint shows what tests leave: files, links, rules, sysctls and control groups",
  async () => {
    // The machine of the tests has no copy of the root directory itself.
    const ofRoot = { make: "mkdir /pwfoot", undo: "rmdir /pwfoot", seen: /^files: new: \/pwfoot d$/m };
    for (const [kind, { make, undo, seen }] of Object.entries({ ...CHANGES, "the root": ofRoot })) {
      const before = await takeFootprint(CHECKOUT);
      assertEquals((await sh(make)).code, 0, kind);
      try {
        assertMatch(differences(before, await takeFootprint(CHECKOUT)).join("\n"), seen);
      } finally {
        await sh(undo);
      }
    }
  },
);

machineTest(
  "the tests do not see what a container engine or podwire has put on the machine",
  async () => {
    const files = [
      "/usr/local/sbin/runc",
      "/usr/bin/podwire",
      "/opt/cni/bin/bridge",
      "/etc/cni/net.d/10-x.conf",
    ];
    const record = "/var/lib/podwire/pwfoot-hidden";
    const make = [...files, record].map((path) =>
      `mkdir -p ${path.replace(/[^/]*$/, "")}; cp /bin/true ${path}`
    );
    assertEquals((await sh(make.join("\n"))).code, 0);
    try {
      const { stdout } = await onMachine(
        `ls -d ${files.join(" ")} ${record} 2>/dev/null || true; command -v runc || true`,
      );
      assertEquals(stdout, "");
    } finally {
      await sh(`rm -f ${files.join(" ")} ${record}`);
    }
  },
);

machineTest(
  "a machine passes on standard input, streams, the exit code and the end by a signal",
  async () => {
    const outcome = await onMachine("cat; echo problem >&2; exit 7", "input");
    assertEquals(outcome, { code: 7, stdout: "input", stderr: "problem\n" });
    const child = new Deno.Command("sh", {
      args: [MACHINE, "sh", "-c", "echo up; sleep 1000"],
      env: { PODWIRE_TEST_MACHINE: "" },
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    assertEquals(new TextDecoder().decode((await reader.read()).value), "up\n");
    child.kill("SIGTERM");
    assertEquals((await child.status).success, false);
    // Its processes had the other end.
    assertEquals((await reader.read()).done, true);
  },
);

machineTest(
  "plugins of an ordinary user's checkout are root's on the machine, and untouched in the checkout",
  async () => {
    const dir = await Deno.makeTempDir({ prefix: "pwt-checkout-" });
    try {
      const types = ["cni-1.1.1/usr/lib/cni", "cni-1.9.1/usr/lib/cni", "tools/usr"];
      const made = types.map((type) =>
        `mkdir -p .components/${type}; printf "#!/bin/sh\\n" >.components/${type}/bridge`
      );
      const copy = `mkdir tests; cp ${MACHINE} tests/; ${
        made.join("; ")
      }; chmod -R 775 .; chown -R 12345:12345 .`;
      assertEquals((await sh(`cd ${dir}; ${copy}`)).stderr, "");
      const script = `find "$PODWIRE_TEST_COMPONENTS" \\( ! -user 0 -o -perm /022 \\); ` +
        `find "$PODWIRE_TEST_COMPONENTS" -name bridge | sort; stat -c %u:%a ${dir}/.components/cni-1.1.1`;
      const { code, stdout, stderr } = await sh(
        `PODWIRE_TEST_MACHINE= sh ${dir}/tests/machine.sh sh -ec '${script}'`,
      );
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
      const copies = types.slice(0, 2).map((type) => `/run/podwire-components/${type}/bridge`);
      assertEquals(stdout.trimEnd().split("\n"), [...copies, "12345:775"]);
      // A checkout that is root's has no copy.
      assertEquals((await sh(`chown -R 0:0 ${dir}; chmod -R go-w ${dir}`)).code, 0);
      const own = await sh(
        `PODWIRE_TEST_MACHINE= sh ${dir}/tests/machine.sh sh -c 'echo "[$PODWIRE_TEST_COMPONENTS]"'`,
      );
      assertEquals({ code: own.code, stdout: own.stdout }, { code: 0, stdout: "[]\n" }, own.stderr);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);
