import { pathOf, type RunCommand, runOk } from "../host/command.ts";
import { type FileStat, realPath, statRegularNow } from "../host/stat.ts";
import { speaksNetlink } from "../kernel/choose_kernel.ts";
import type { Family } from "./rule.ts";

/** The programs of each family. */
export const PROGRAMS: Readonly<Record<Family, string>> = { 4: "iptables", 6: "ip6tables" };

/** The one program that is all of those that are built on nftables. */
const BUILT_ON_NFTABLES = "xtables-nft-multi";

/** The releases whose rules are known byte by byte. Each has a form of its own for some rules. */
const KNOWN_RELEASES: readonly string[] = ["1.8.9"];

const EXECUTABLE = 0o111;

/** Whether a file is a program of a known release, by the facts about it. */
const answers = new Map<string, Promise<boolean>>();

/**
 * Whether what the iptables of this machine does can be done in this process: it is built on nftables and of a known release,
 * and the process can speak netlink. A program is started once, and again when its file has changed.
 *
 * Permissions: the whole `--allow-ffi`, `--allow-read` of the directories of the programs, and `--allow-run=iptables,ip6tables`;
 * without one of them the answer is no.
 */
export async function isKnownIptables(run: RunCommand, family: Family): Promise<boolean> {
  if (!speaksNetlink(run)) return false;
  const program = PROGRAMS[family];
  const path = pathOf(run);
  const [found, restoring] = [program, `${program}-restore`].map((name) => findFile(name, path));
  if (found === undefined || found.dev !== restoring?.dev || found.ino !== restoring.ino) return false;
  const { file, ...facts } = found;
  const key = JSON.stringify(facts);
  const known = answers.get(key);
  if (known !== undefined) return await known;
  const answer = isKnownRelease(run, { program, file });
  answers.set(key, answer);
  try {
    return await answer;
  } catch {
    // It is started for each change then, and says why it does not work.
    answers.delete(key);
    return false;
  }
}

/** The program that a name stands for, with the facts about the file at the end of all symbolic links. */
function findFile(name: string, path: string): FileStat & { readonly file: string } | undefined {
  for (const dir of path.split(":")) {
    const file = `${dir === "" ? "." : dir}/${name}`;
    // No error is made for what is not there: this is done for each change.
    const facts = statRegularNow(file);
    if (facts !== undefined && (facts.mode & EXECUTABLE) !== 0) return { ...facts, file };
  }
  return undefined;
}

async function isKnownRelease(
  run: RunCommand,
  { program, file }: { readonly program: string; readonly file: string },
): Promise<boolean> {
  if (!(await realPath(file)).endsWith(`/${BUILT_ON_NFTABLES}`)) return false;
  const { stdout } = await runOk(run, { program, args: ["--version"], ownGroup: false });
  const { release } = /^ip6?tables v(?<release>[\d.]+) \(nf_tables\)$/.exec(stdout.trim())?.groups ?? {};
  return release !== undefined && KNOWN_RELEASES.includes(release);
}
