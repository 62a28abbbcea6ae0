import { pathOf, type RunCommand, runOk } from "../host/command.ts";
import { type FileStat, realPath, statRegularNow } from "../host/stat.ts";
import { speaksNetlink } from "../kernel/choose_kernel.ts";
import type { Family, RuleForm } from "./rule.ts";

/** The programs of each family. */
export const PROGRAMS: Readonly<Record<Family, string>> = { 4: "iptables", 6: "ip6tables" };

/** The one program that is all of those that are built on nftables. */
const BUILT_ON_NFTABLES = "xtables-nft-multi";

/** The releases whose rules are known byte by byte, with the form of these. */
const KNOWN_RELEASES: Readonly<Record<string, RuleForm | undefined>> = {
  "1.8.9": "1.8.9",
  "1.8.10": "1.8.10",
  "1.8.11": "1.8.10",
  "1.8.13": "1.8.10",
};

const EXECUTABLE = 0o111;

/** The form of the rules of a program, by the facts about its file. */
const answers = new Map<string, Promise<RuleForm | undefined>>();

/**
 * Returns the form of the rules of this machine's iptables, if what it does can be done in this process: it is built on nftables
 * and of a known release, and the process can speak netlink; else undefined. A program is started once, and again when
 * its file has changed.
 *
 * Permissions: the whole `--allow-ffi`, `--allow-read` of the directories of the programs, and `--allow-run=iptables,ip6tables`;
 * without one of them the answer is undefined.
 */
export async function knownIptables(run: RunCommand, family: Family): Promise<RuleForm | undefined> {
  if (!speaksNetlink(run)) return undefined;
  const program = PROGRAMS[family];
  const path = pathOf(run);
  const [found, restoring] = [program, `${program}-restore`].map((name) => findFile(name, path));
  if (found === undefined || found.dev !== restoring?.dev || found.ino !== restoring.ino) return undefined;
  const { file, ...facts } = found;
  const key = JSON.stringify(facts);
  const known = answers.get(key);
  if (known !== undefined) return await known;
  const answer = knownRelease(run, { program, file });
  answers.set(key, answer);
  try {
    return await answer;
  } catch {
    // It is started for each change then, and says why it does not work.
    answers.delete(key);
    return undefined;
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

async function knownRelease(
  run: RunCommand,
  { program, file }: { readonly program: string; readonly file: string },
): Promise<RuleForm | undefined> {
  if (!(await realPath(file)).endsWith(`/${BUILT_ON_NFTABLES}`)) return undefined;
  const { stdout } = await runOk(run, { program, args: ["--version"], ownGroup: false });
  const { release = "" } = /^ip6?tables v(?<release>[\d.]+) \(nf_tables\)$/.exec(stdout.trim())?.groups ?? {};
  return Object.hasOwn(KNOWN_RELEASES, release) ? KNOWN_RELEASES[release] : undefined;
}
