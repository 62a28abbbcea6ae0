// `podwire demo` shows two sandboxes on a minimal machine, alone or several at once, and leaves no trace.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { binaryTest, type BinaryWorld, SYSTEM_PATH, withoutWaiting } from "./binary_world.ts";
import { PODWIRE_BINARY } from "./need.ts";

/** Checks what a successful demo printed, and that everything it made is gone. */
async function assertShown(world: BinaryWorld, stdout: string): Promise<void> {
  const ids = [...stdout.matchAll(/podwire-([0-9a-f]{32})/g)].map(([, id = ""]) => world.watch(id));
  assertEquals(new Set(ids).size, 2, stdout);
  assertMatch(stdout, /┴.*┴/);
  assertMatch(stdout, /│ pw0 +│/);
  assertMatch(stdout, /IPv4 +ping to 10\.209\.(\d+\.\d+), pong to 10\.209\.\d+\.\d+ \(\d+ ms\)/);
  assertMatch(stdout, /IPv6 +ping to fd50:7704::[0-9a-f:]+, pong to fd50:7704::[0-9a-f:]+ \(\d+ ms\)/);
  assertMatch(stdout, /nothing is left behind\n$/);
  assertEquals(await world.traces(), []);
}

binaryTest(
  "demo shows two sandboxes that reach each other in both families, and leaves nothing",
  [],
  async (world) => {
    const started = performance.now();
    const stdout = await world.done(["demo"]);
    assert(performance.now() - started < 120_000);
    await assertShown(world, stdout);
  },
);

/** Compares what a network of containers usually changes on a machine, in a network namespace without other tests. */
const UNCHANGED = `
state() {
  sysctl -a --pattern "^net[.](ipv4[.](ip_forward|conf)|ipv6[.]conf)" 2>/dev/null
  ip -br link; ip route; ip -6 route
  ip rule; ip -6 rule; ip neigh
  ! command -v nft >/dev/null || nft list ruleset
}
before=$(state)
"$@" >&2 || exit
after=$(state)
[ "$before" = "$after" ] || printf '%s\\n--- after:\\n%s\\n' "$before" "$after"`;

binaryTest(
  "demo leaves links, routes, rules and forwarding of the machine as they were",
  [],
  async (world) => {
    const args = ["--net", "sh", "-c", UNCHANGED, "sh", PODWIRE_BINARY, "demo", ...world.dirs];
    const { code, stdout, stderr } = await runCommand({ program: "unshare", args });
    assertEquals({ code, stdout }, { code: 0, stdout: "" }, stderr);
    assertMatch(stderr, /nothing is left behind/);
  },
);

binaryTest("three demos at once do not disturb each other", [], async (world) => {
  const shown = await Promise.all([1, 2, 3].map(() => world.done(["demo"])));
  for (const stdout of shown) await assertShown(world, stdout);
});

binaryTest(
  "demo shows its own network although others are configured, and uses its own plugins",
  [],
  async (world) => {
    await world.list([{ type: "absent" }]);
    await world.plugin("bridge", "#!/bin/sh\necho never >&2; exit 1\n");
    await assertShown(world, await world.done(["demo"]));
  },
);

for (
  const [what, words] of [["making the first sandbox", '-a"\n'], ["making the second", '-b"\n'], [
    "the traffic",
    "traffic from",
  ], ["the end of it", "IPv4 "]] as const
) {
  binaryTest(`demo interrupted by Ctrl-C during ${what} leaves nothing and exits 130`, [], async (world) => {
    const child = world.start(["demo"]);
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let stdout = "";
    for (let sent = false;;) {
      const { done, value } = await reader.read();
      if (done) break;
      stdout += value;
      if (sent || !stdout.includes(words)) continue;
      child.kill("SIGINT");
      sent = true;
    }
    const stderr = await new Response(child.stderr).text();
    assertEquals({ code: (await child.status).code, stderr }, {
      code: 130,
      stderr: "podwire: interrupted by SIGINT\n",
    });
    assertMatch(stdout, /- clean-up\n(.*\n)*.*nothing is left behind\n$/);
    for (const [, id = ""] of stdout.matchAll(/podwire-([0-9a-f]{32})/g)) world.watch(id);
    assertEquals(await world.traces(), []);
  });
}

/** Leaves in /usr/bin and /usr/sbin only what Debian's essential packages, iproute2 and mount install. */
const BARE = `
set -e
names=$(dpkg-query -Wf '\${Essential} \${Package}\\n' | sed -n 's/^yes //p')
for dir in bin sbin; do
  mkdir -p "$0/all-$dir" "$0/few-$dir"
  mount --bind "/usr/$dir" "$0/all-$dir"
  for name in $(dpkg -L $names iproute2 mount | sed -nE "s,^(/usr)?/$dir/([^/]+)\\$,\\2,p") sh; do
    [ ! -e "$0/all-$dir/$name" ] || ln -sf "$0/all-$dir/$name" "$0/few-$dir/$name"
  done
done
for dir in bin sbin; do mount --bind "$0/few-$dir" "/usr/$dir"; done
for program in ping nft iptables curl python3 nc node; do
  if command -v $program; then exit 99; fi
done
exec "$@"
`;

const { code: isNoDebian } = await runCommand({
  program: "sh",
  args: ["-c", "test -L /bin && dpkg-query -W iproute2 mount"],
});
if (isNoDebian === 0) {
  binaryTest(
    "demo needs nothing but Debian with iproute2: no ping, no nft, no iptables",
    [],
    async (world) => {
      const dirs = world.dirs.filter((option) => !option.startsWith("--netns-dir"));
      const { code, stdout, stderr } = await runCommand({
        program: "unshare",
        args: [
          "--mount",
          "sh",
          "-c",
          BARE,
          world.dir,
          PODWIRE_BINARY,
          ...dirs,
          `--netns-dir=${world.dir}/netns`,
          "demo",
        ],
        env: { PATH: SYSTEM_PATH },
      });
      assertEquals({ code, withoutWaiting: withoutWaiting(stderr) }, { code: 0, withoutWaiting: "" }, stdout);
      await assertShown(world, stdout);
    },
  );
}
