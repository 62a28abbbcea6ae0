import type { RunCommand } from "../host/command.ts";
import { runInside } from "../host/netns.ts";
import { CniError } from "../spec/error.ts";

const PORT = 7704;
const PATIENCE_SECONDS = 10;

/**
 * A line over TCP from one namespace to another. Perl is the one thing with sockets that every Debian
 * has (perl-base is essential), as ping, nc and curl are not.
 */
const SERVER = `
use IO::Socket::IP;
alarm ${PATIENCE_SECONDS};
my ($ip) = @ARGV;
my $s = IO::Socket::IP->new(LocalHost => $ip, LocalPort => ${PORT}, Listen => 1, ReuseAddr => 1) or die "listen: $@\\n";
my $c = $s->accept or die "accept: $!\\n";
my $line = <$c>;
print $c "pong to " . $c->peerhost . "\\n";
close $c;
`;

const CLIENT = `
use IO::Socket::IP;
alarm ${PATIENCE_SECONDS};
my ($ip) = @ARGV;
my $c;
until ($c = IO::Socket::IP->new(PeerHost => $ip, PeerPort => ${PORT})) { select undef, undef, undef, 0.02 }
print $c "ping\\n";
my $line = <$c>;
print $line;
`;

/**
 * Sends a line over TCP to an address of the other namespace and gives what came back.
 *
 * @throws {CniError} if nothing does
 */
export async function proveTraffic(
  from: string,
  to: string,
  ip: string,
  { run, signal }: { run: RunCommand; signal: AbortSignal },
): Promise<{ words: string; ms: number }> {
  const controller = new AbortController();
  const both = AbortSignal.any([signal, controller.signal]);
  const server = perl(to, SERVER, ip, run, both);
  try {
    const started = performance.now();
    const answer = await perl(from, CLIENT, ip, run, signal);
    const ms = Math.round(performance.now() - started);
    signal.throwIfAborted();
    if (answer.code === 0 && answer.stdout.startsWith("pong")) {
      return { words: `ping to ${ip}, ${answer.stdout.trim()}`, ms };
    }
    throw new CniError("io", `no traffic to ${ip}`, { details: answer.stderr.trim() });
  } finally {
    controller.abort();
    await server;
  }
}

function perl(netns: string, script: string, ip: string, run: RunCommand, signal: AbortSignal) {
  return runInside(netns, { program: "perl", args: ["-e", script, ip], signal }, { run });
}
