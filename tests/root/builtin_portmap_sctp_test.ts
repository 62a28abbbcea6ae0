// SCTP through the ports of the built-in portmap, where the kernel knows it: that of `./denow task test:kernel` does.
import { assertEquals } from "@std/assert";
import { runCommand } from "../../lib/host/command.ts";
import { assertDone } from "./builtin_call.ts";
import { inWorld } from "./builtin_world.ts";
import { need } from "./need.ts";
import { UNDER_TEST_KERNEL } from "./need_links.ts";
import { bridgePod, OURS, outside, portmapOf } from "./portmap_world.ts";

const PORT = 8132;

/** The server prints "up", and answers each client with its address; a client prints what it is answered. */
const SCRIPT = `
use Socket qw(:all);
my ($what, $family, $address, $port) = @ARGV;
my $number = $family == 4 ? AF_INET : AF_INET6;
my $at = $family == 4 ? pack_sockaddr_in($port, inet_pton($number, $address))
  : pack_sockaddr_in6($port, inet_pton($number, $address));
socket(my $socket, $number, SOCK_STREAM, 132) or die "socket: $!";
$| = 1;
if ($what eq "client") {
  connect($socket, $at) or die "connect: $!";
  sysread($socket, my $answer, 100);
  print $answer;
  exit;
}
setsockopt($socket, SOL_SOCKET, SO_REUSEADDR, 1);
bind($socket, $at) or die "bind: $!";
listen($socket, 5) or die "listen: $!";
print "up\\n";
while (my $peer = accept(my $client, $socket)) {
  my ($port, $from) = $family == 4 ? unpack_sockaddr_in($peer) : unpack_sockaddr_in6($peer);
  syswrite($client, inet_ntop($number, $from));
  close $client;
}`;

/** Whether the kernel makes such sockets. */
function needSctp(): { ignore: boolean } {
  const needed = need("root", "ip", "perl", "nft", "iptables");
  if (needed.ignore) return needed;
  const { success } = new Deno.Command("perl", {
    args: ["-e", "exit(socket(S, 2, 1, 132) ? 0 : 1)"],
    stdin: "null",
  }).outputSync();
  if (!success && Deno.env.has(UNDER_TEST_KERNEL)) {
    throw new Error("Cannot run the tests under this kernel: it does not know SCTP");
  }
  if (!success) console.error("skipping the tests that need SCTP: this kernel does not know it");
  return { ignore: !success };
}

async function seenBySctp(netns: string, family: 4 | 6, address: string, port: number): Promise<string> {
  const args = [
    `--net=${netns}`,
    "timeout",
    "60",
    "perl",
    "-e",
    SCRIPT,
    "client",
    `${family}`,
    address,
    `${port}`,
  ];
  const { stdout, stderr } = await runCommand({ program: "nsenter", args });
  return stdout || stderr;
}

class SctpServer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;

  private constructor(process: Deno.ChildProcess) {
    this.#process = process;
  }

  static async start(netns: string, family: 4 | 6, address: string): Promise<SctpServer> {
    const args = [`--net=${netns}`, "perl", "-e", SCRIPT, "server", `${family}`, address, `${PORT}`];
    const process = new Deno.Command("nsenter", { args, stdin: "null", stdout: "piped", stderr: "inherit" })
      .spawn();
    const reader = process.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    return new SctpServer(process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.stdout.cancel();
    await this.#process.status;
  }
}

for (const backend of ["iptables", "nftables"] as const) {
  Deno.test({
    name: `a port is reached over SCTP in both families (${backend})`,
    ...needSctp(),
    fn: inWorld(async (world) => {
      const out = await outside(world);
      const pod = await bridgePod(world, "a", 2);
      const portMappings = [{ hostPort: 18132, containerPort: PORT, protocol: "sctp" }];
      const call = portmapOf(world, "a", pod, { runtimeConfig: { portMappings }, backend });
      assertDone(await OURS({ ...call, verb: "ADD" }));
      assertDone(await OURS({ ...call, verb: "CHECK" }));
      await using _v4 = await SctpServer.start(pod.netns, 4, `${world.subnet4}.2`);
      await using _v6 = await SctpServer.start(pod.netns, 6, `${world.subnet6}::2`);
      assertEquals(await seenBySctp(out.netns, 4, `${out.v4}.1`, 18132), `${out.v4}.2`);
      assertEquals(await seenBySctp(out.netns, 6, `${out.v6}1`, 18132), `${out.v6}2`);
      assertDone(await OURS({ ...call, verb: "DEL" }));
    }),
  });
}
