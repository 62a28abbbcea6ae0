// Looks at the own namespace while it is away in another one: `away_process.ts NETNS LINK`, where LINK leads to the own
// namespace. Prints how many looks saw something else. It is a process of its own, because the tests do not run on the
// first thread of theirs.
import { netnsId, netnsOf, netnsProcesses, sameNetns } from "../../lib/host/netns.ts";
import { openLibc } from "../../lib/host/libc.ts";
import { NetnsFile } from "../../lib/kernel/netns_file.ts";

const OWN = "/proc/self/ns/net";
/** So many calls take longer than another thread needs for a look. */
const CALLS_AWAY = 1_000;
const LOOKS = 20;
const [pod = "", link = ""] = Deno.args;

/** Enters the namespace, and stays there for a while. */
function stay(): void {
  const libc = openLibc();
  using file = new NetnsFile(libc, pod);
  file.inside(() => {
    for (let call = 0; call < CALLS_AWAY; call++) new NetnsFile(libc, pod)[Symbol.dispose]();
  });
}

const own = await netnsId(OWN);
const looks = {
  path: () => netnsId(OWN),
  numbered: () => netnsId(`/proc/${Deno.pid}/ns/net`),
  link: () => netnsId(link),
  process: () => netnsOf(Deno.pid),
  same: async () => await sameNetns(OWN, pod) ? "the pod" : own,
  inside: async () => (await netnsProcesses(pod)).length > 0 ? "the pod" : own,
};
const wrong: Record<string, number> = {};
for (let n = 0; n < LOOKS; n++) {
  for (const [name, look] of Object.entries(looks)) {
    const seen = look();
    stay();
    wrong[name] = (wrong[name] ?? 0) + (await seen === own ? 0 : 1);
  }
}
console.log(JSON.stringify(wrong));
