import { abortable } from "../async/wait.ts";
import { HostError } from "./command.ts";
import { ensureDir } from "./file.ts";
import { GroupChild } from "./launch.ts";

/** What programs in a network namespace see in another way than the host. */
export interface MountViewRequest {
  /** The path of the network namespace, which `/sys` shows. */
  readonly netns: string;
  /** Its name below `/run/netns`: the files of `/etc/netns/NAME` are bound over those of `/etc`. @default {none} */
  readonly name?: string | undefined;
  /** A file that is bound over `/etc/resolv.conf`, if there is one. @default {none} */
  readonly resolvConf?: string | undefined;
  /** A file that is bound over `/etc/hosts`, if there is one. @default {none} */
  readonly hosts?: string | undefined;
  /** A process whose process namespace `/proc` shows. @default {that of the host} */
  readonly pid?: number | undefined;
  /** Where programs begin. @default {the working directory of this process} */
  readonly cwd?: string | undefined;
  /** An own directory in which `/sys` is put together. */
  readonly dir: string;
}

/**
 * Runs in the namespaces. Its mounts do not reach the host, since none of them is shared, but those of the host reach it: a
 * file system that the host unmounts is not kept by it.
 *
 * What is mounted below `/sys` of the host, such as the control groups, is there in the new one too. A file that cannot be
 * bound is reported, and the rest goes on. At the end it waits until its standard input is closed.
 */
const SCRIPT = `exec 2>&1
sys=$1 name=$2 resolv=$3 hosts=$4 pid=$5
here=$(pwd -P) || here=/
points= last=none mode=
while read -r _ _ _ _ point options _; do
  case $point in
    /sys) mode=\${options%%,*} ;;
    "$last"/*) ;;
    /sys/*) last=$point points="$points $point" ;;
  esac
done </proc/self/mountinfo
if mount -t sysfs -o "nosuid,nodev,noexec,\${mode:-rw}" sysfs "$sys"; then
  for point in $points; do mount --rbind "$point" "$sys\${point#/sys}"; done
  mount --move "$sys" /sys
fi
bind() { if [ -e "$1" ] && [ -e "$2" ]; then mount --bind "$1" "$2"; fi; }
bind "$resolv" /etc/resolv.conf
bind "$hosts" /etc/hosts
if [ -n "$name" ]; then
  for file in "/etc/netns/$name"/* "/etc/netns/$name"/.[!.]*; do bind "$file" "/etc/\${file##*/}"; done
fi
if [ -n "$pid" ]; then nsenter "--pid=/proc/$pid/ns/pid" -- mount -t proc proc /proc; fi
printf 'ready %s\\n' "$here"
read -r _
`;

const READY = "ready ";

/**
 * A mount namespace in which programs find the files of a sandbox in `/etc`, and the interfaces of its network namespace in
 * `/sys`. It lives as long as a waiting process that holds it, which ends with this process, and as long as programs are in it.
 */
export class MountView implements AsyncDisposable {
  /** The path of the mount namespace. */
  readonly path: string;
  /** What it lacks, in the words of the program that could not do it. */
  readonly problems: readonly string[];
  /** Where programs begin. */
  readonly cwd: string;
  readonly #child: GroupChild;
  readonly #stderr: Promise<string>;

  private constructor(child: GroupChild, stderr: Promise<string>, { cwd, problems }: Report) {
    this.#child = child;
    this.#stderr = stderr;
    this.path = `/proc/${child.pid}/ns/mnt`;
    this.cwd = cwd;
    this.problems = problems;
  }

  /**
   * Makes the namespace. No mount of the host changes.
   *
   * Requires root, `--allow-run=nsenter`, and `--allow-read` and `--allow-write` for the own directory.
   *
   * @throws {HostError} If there can be no such namespace.
   */
  static async open(
    request: MountViewRequest,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<MountView> {
    const { netns, name = "", resolvConf = "", hosts = "", pid = "", dir, cwd } = request;
    signal?.throwIfAborted();
    await ensureDir(dir, 0o700);
    const inside = ["unshare", "--mount", "--propagation", "slave", "--", "sh", "-c", SCRIPT, "sh"];
    const args = [`--net=${netns}`, "--", ...inside, dir, name, resolvConf, hosts, String(pid)];
    const child = GroupChild.start({ program: "nsenter", args, stdin: "", cwd });
    const stderr = new Response(child.stderr).text();
    try {
      const report = await abortable(reportOf(child.stdout), signal);
      if (report === undefined) throw await failure(child, stderr);
      return new MountView(child, stderr, report);
    } catch (error) {
      child.signal("SIGKILL");
      await Promise.all([child.status, stderr, child.stdin.close().catch(() => {})]);
      throw error;
    }
  }

  /** Ends the waiting process; programs in the namespace keep it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close().catch(() => {});
    await Promise.all([this.#child.status, this.#stderr]);
  }
}

async function failure(child: GroupChild, stderr: Promise<string>): Promise<HostError> {
  const { code } = await child.status;
  const text = (await stderr).trim();
  const why = text === "" ? `it ended with code ${code}` : text;
  return new HostError(`Cannot make a mount namespace: ${why}`, { program: "nsenter", code, stderr: text });
}

/** What the script says when all is mounted. */
type Report = Pick<MountView, "cwd" | "problems">;

/** Reads up to the line that says that all is mounted; undefined if there is none. */
async function reportOf(stdout: ReadableStream<Uint8Array>): Promise<Report | undefined> {
  const decoder = new TextDecoder();
  const reader = stdout.getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return undefined;
      text += decoder.decode(value, { stream: true });
      const lines = text.split("\n");
      const at = lines.slice(0, -1).findIndex((line) => line.startsWith(READY));
      const ready = lines[at];
      if (ready === undefined) continue;
      return { cwd: ready.slice(READY.length), problems: lines.slice(0, at).filter((line) => line !== "") };
    }
  } finally {
    await reader.cancel();
  }
}
