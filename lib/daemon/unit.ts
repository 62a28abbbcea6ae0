/** Options of {@linkcode unitFile}. */
export interface UnitOptions {
  /** The program, as an absolute path. */
  readonly program: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** Milliseconds for running requests when the daemon ends. */
  readonly drainMs: number;
  /** Its purpose. @default {"network for pod sandboxes"} */
  readonly purpose?: string | undefined;
  /** Lines of the section `[Unit]` about other units. @default {those of `serve`} */
  readonly order?: string | undefined;
}

const SERVE_ORDER =
  `# A DHCP daemon of the distribution, if there is one, is used rather than one of podwire's own.
After=network.target cni-dhcp.socket cni-dhcp.service`;

/** The order of units around a plugin of a container engine. */
export const PLUGIN_ORDER =
  `# The kubelet starts pods: a plugin that registers later misses them, see docs/nri.md.
After=network.target containerd.service crio.service cni-dhcp.socket cni-dhcp.service
Before=kubelet.service`;

/** Seconds after the drain, for cancelled requests to undo what they did. */
const UNDO_SECONDS = 60;

/**
 * Returns a unit file for systemd.
 *
 * It must not contain an option that gives the service its own mount namespace (`ProtectSystem=`, `PrivateTmp=` and
 * others): no other process would see the network namespaces that are mounted in `/run/netns`.
 *
 * Source: systemd.service(5), systemd.exec(5), systemd.kill(5).
 */
export function unitFile(
  { program, args, drainMs, purpose = "network for pod sandboxes", order = SERVE_ORDER }: UnitOptions,
): string {
  return `[Unit]
Description=podwire, ${purpose}
${order}

[Service]
Type=notify
# systemd-notify sends the notifications, and is a process of its own.
NotifyAccess=all
ExecStart=${[program, ...args].map(quoted).join(" ")}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1s
WatchdogSec=30s
TimeoutStopSec=${Math.ceil(drainMs / 1_000) + UNDO_SECONDS}s
# While requests drain, plugins end by themselves. Infra containers are in cgroups of their own.
KillMode=mixed
# The command line keeps its locks there too, so the directory stays when the daemon stops.
RuntimeDirectory=podwire
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes
StateDirectory=podwire
StateDirectoryMode=0700
LimitNOFILE=65536
# Each request runs plugins; if the kernel kills one for its memory, only that request fails.
TasksMax=infinity
OOMPolicy=continue
# No option here may make a mount namespace: all processes have to see the mounts in /run/netns.
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
CapabilityBoundingSet=~CAP_SYS_TIME CAP_SYS_BOOT CAP_SYS_PACCT CAP_SYS_TTY_CONFIG CAP_WAKE_ALARM CAP_MAC_ADMIN CAP_MAC_OVERRIDE

[Install]
WantedBy=multi-user.target
`;
}

/** Quotes a word so that systemd reads it as one. */
function quoted(word: string): string {
  const plain = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  if (/^[\w@%+=:,./$-]+$/.test(plain)) return plain;
  return `"${plain.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
