/** What a unit file is written for. */
export interface UnitOptions {
  /** The program, as an absolute path. */
  readonly program: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** How long the requests under way may take when it is to end, in milliseconds. */
  readonly drainMs: number;
}

/** Beyond the drain: what is cut short is undone. */
const UNDO_SECONDS = 60;

/**
 * A unit file for systemd.
 *
 * Whatever gives a service its own view of the file system (`ProtectSystem=`, `PrivateTmp=` and their like) must not
 * stand in it: the network namespaces that are mounted in `/run/netns` would be seen by nobody else.
 *
 * Source: systemd.service(5), systemd.exec(5), systemd.kill(5).
 */
export function unitFile({ program, args, drainMs }: UnitOptions): string {
  return `[Unit]
Description=podwire, network for pod sandboxes
After=network.target

[Service]
Type=notify
# Told by systemd-notify, which is a process of its own.
NotifyAccess=all
ExecStart=${[program, ...args].map(quoted).join(" ")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1s
WatchdogSec=30s
TimeoutStopSec=${Math.ceil(drainMs / 1_000) + UNDO_SECONDS}s
# Plugins are left to end by themselves while requests drain. Infra containers are in control groups of their own.
KillMode=mixed
# The command line takes its locks there too, so it stays when the daemon stops.
RuntimeDirectory=podwire
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
StateDirectory=podwire
StateDirectoryMode=0700
LimitNOFILE=65536
# Each request runs plugins; one that the kernel ends for its memory is a failure of that request.
TasksMax=infinity
OOMPolicy=continue
# Nothing here that makes a mount namespace: what is mounted in /run/netns has to be seen by all.
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
CapabilityBoundingSet=~CAP_SYS_TIME CAP_SYS_BOOT CAP_SYS_PACCT CAP_SYS_TTY_CONFIG CAP_WAKE_ALARM CAP_MAC_ADMIN CAP_MAC_OVERRIDE

[Install]
WantedBy=multi-user.target
`;
}

/** As systemd takes a command line apart. */
function quoted(word: string): string {
  const plain = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  if (/^[\w@%+=:,./$-]+$/.test(plain)) return plain;
  return `"${plain.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
