import { CniError } from "../cni/error.ts";
import { type RunCommand, runOk } from "../host/command.ts";
import { runInside } from "../host/netns.ts";

const PORT = 7704;
const LIMIT_SECONDS = 10;

/** Scripts of a language: a server that answers one line, and its client. */
interface ScriptLanguage {
  readonly program: string;
  readonly flag: string;
  readonly server: string;
  readonly client: string;
}

/**
 * The languages that can open a socket in a namespace on a minimal machine: ping, nc and curl are not everywhere. Debian
 * always has Perl (perl-base is essential); Fedora and its derivatives have Python.
 */
const LANGUAGES: readonly ScriptLanguage[] = [
  {
    program: "perl",
    flag: "-e",
    server: `
use IO::Socket::IP;
alarm ${LIMIT_SECONDS};
my $s = IO::Socket::IP->new(LocalHost => $ARGV[0], LocalPort => ${PORT}, Listen => 1, ReuseAddr => 1) or die "$@\\n";
my $c = $s->accept or die "accept: $!\\n";
my $line = <$c>;
print $c "pong to " . $c->peerhost . "\\n";
close $c;
`,
    client: `
use IO::Socket::IP;
alarm ${LIMIT_SECONDS};
my $c;
until ($c = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => ${PORT})) { select undef, undef, undef, 0.02 }
print $c "ping\\n";
my $line = <$c>;
print $line;
`,
  },
  {
    program: "python3",
    flag: "-c",
    server: `
import signal, socket, sys
signal.alarm(${LIMIT_SECONDS})
s = socket.create_server((sys.argv[1], ${PORT}), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
c, peer = s.accept()
c.recv(5)
c.sendall(f"pong to {peer[0]}\\n".encode())
`,
    client: `
import signal, socket, sys, time
signal.alarm(${LIMIT_SECONDS})
while True:
    try:
        c = socket.create_connection((sys.argv[1], ${PORT}))
        break
    except OSError:
        time.sleep(0.02)
c.sendall(b"ping\\n")
print(c.makefile().readline(), end="")
`,
  },
];

/** Options of {@linkcode proveTraffic}. */
export interface TrafficOptions {
  readonly run: RunCommand;
  readonly signal: AbortSignal;
}

/**
 * Sends a line over TCP to an address of the other namespace, and returns the reply.
 *
 * @throws {CniError} kind `io` if there is no reply
 */
export async function proveTraffic(
  from: string,
  to: string,
  ip: string,
  { run, signal }: TrafficOptions,
): Promise<{ reply: string; ms: number }> {
  const { program, flag, server, client } = await findLanguage({ run, signal });
  const controller = new AbortController();
  const both = AbortSignal.any([signal, controller.signal]);
  const listening = runInside(to, { program, args: [flag, server, ip], signal: both }, { run });
  try {
    const started = performance.now();
    const answer = await runInside(from, { program, args: [flag, client, ip], signal }, { run });
    const ms = Math.round(performance.now() - started);
    signal.throwIfAborted();
    if (answer.code === 0 && answer.stdout.startsWith("pong")) {
      return { reply: `ping to ${ip}, ${answer.stdout.trim()}`, ms };
    }
    const details = answer.stderr.trim();
    throw new CniError(
      "io",
      `no traffic to ${ip} within ${LIMIT_SECONDS}s`,
      details === "" ? {} : { details },
    );
  } finally {
    controller.abort();
    // How the server ends does not matter: the reply has been checked.
    await listening.catch(() => {});
  }
}

async function findLanguage({ run, signal }: TrafficOptions): Promise<ScriptLanguage> {
  const programs = LANGUAGES.map(({ program }) => program);
  const script = 'for program; do command -v "$program" >/dev/null && echo "$program"; done; true';
  const { stdout } = await runOk(run, { program: "sh", args: ["-c", script, "sh", ...programs], signal });
  const language = LANGUAGES.find(({ program }) => stdout.split("\n").includes(program));
  if (language !== undefined) return language;
  throw new CniError("not-found", "no program on this machine can open a socket for the demo", {
    hint: `install one of ${programs.join(", ")}`,
  });
}
