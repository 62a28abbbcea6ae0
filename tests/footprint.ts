// The state of this machine that tests could change: taken before and after them, it shows that they did not.
import { fromFileUrl } from "@std/path";

/** By kind (packages, files, links...), one line for each thing. */
export type Footprint = ReadonlyMap<string, readonly string[]>;

const SECTIONS: Readonly<Record<string, string>> = {
  packages: "dpkg-query -W 2>/dev/null",
  // For what belongs to CNI, podwire and container engines the times too; for the rest, where others write,
  // the names.
  files:
    "find /etc/cni /etc/podwire /opt /var/lib/cni /var/lib/podwire /var/lib/containers /run/netns /run/podwire " +
    "-printf '%p %y %m %s %T@\\n' 2>/dev/null; find /run /var/lib /etc -xdev -printf '%p %y\\n' 2>/dev/null; " +
    "find / -maxdepth 1 -printf '%p %y\\n'",
  links:
    "ip -o link | sed -E 's/ state [A-Z]+//'; ip -o address; ip route show table all; ip -6 route show table all; " +
    // Other neighbours come and go with the traffic.
    "ip rule; ip -6 rule; ip neighbour show nud permanent",
  rules: "nft -s list ruleset; for table in iptables-save ip6tables-save; do $table 2>/dev/null | " +
    "grep -v '^#' | sed 's/ \\[[0-9:]*\\]$//'; done",
  // Without those that count, or that the kernel chooses at random.
  sysctls: "grep -rs . /proc/sys/net /proc/sys/kernel /proc/sys/vm /proc/sys/user | " +
    "grep -vE '/(random/|ns_last_pid|pty/nr|nf_conntrack_count|tcp_fastopen_key|stat_refresh|.*stable_secret|.*_nr:)'",
  mounts: "sed -E 's/^[0-9]+ [0-9]+ //' /proc/self/mountinfo",
  "control groups": "find /sys/fs/cgroup -type d",
  processes: "for process in /proc/[0-9]*; do tr '\\0' ' ' <$process/cmdline && echo; done 2>/dev/null",
};

const MACHINE = fromFileUrl(new URL("machine.sh", import.meta.url));

/** The kinds that take tools which this machine may lack. Where those lie over it, it has files of theirs. */
const WITH_TOOLS = ["links", "rules"];
const ALWAYS = ["files", "links", "sysctls", "mounts", "processes"];

/** Takes a footprint. Of the processes only those whose command line names `checkout`. */
export async function takeFootprint(checkout: string): Promise<Footprint> {
  const footprint = new Map<string, readonly string[]>();
  for (const [kind, script] of Object.entries(SECTIONS)) {
    const args = WITH_TOOLS.includes(kind) ? [MACHINE, "--look", "sh", "-c", script] : ["-c", script];
    const { stdout } = await new Deno.Command("sh", { args, stdin: "null", stderr: "null" }).output();
    const lines = new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
    // Each of them prints something on every machine; rules and packages may not.
    if (lines.length === 0 && ALWAYS.includes(kind)) {
      throw new Error(`Cannot take a footprint: no ${kind} are seen`);
    }
    const wanted = kind === "processes" ? lines.filter((line) => line.includes(checkout)) : lines;
    footprint.set(kind, [...new Set(wanted)].sort());
  }
  return footprint;
}

/** What only one of both has: one line each, with its kind. */
export function differences(before: Footprint, after: Footprint): string[] {
  return [...before.keys()].flatMap((kind) => {
    const [old, now] = [new Set(before.get(kind)), new Set(after.get(kind))];
    const gone = [...old].filter((line) => !now.has(line)).map((line) => `${kind}: gone: ${line}`);
    const added = [...now].filter((line) => !old.has(line)).map((line) => `${kind}: new: ${line}`);
    return [...gone, ...added];
  });
}
