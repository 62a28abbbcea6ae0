import { turnIfDue } from "../async/breathe.ts";
import type { Dns } from "../cni/result.ts";
import { inDirNow, isThereNow, overwriteNow, publishNow, removeTreeNow } from "../host/file_now.ts";
import { readTextNow } from "../host/read_file.ts";
import { shortName } from "../state/short_name.ts";
import { type HostsNetwork, hostsText, MemberLines } from "./hosts_text.ts";
import { insidePaths, networksDir, sandboxDir } from "./inside_paths.ts";
import type { InsideSandbox } from "./inside_sandbox.ts";
import { type Member, membersOf, parseMember, printMember } from "./member.ts";
import { NetworkMembers } from "./network_members.ts";
import { resolvConfText } from "./resolv_conf_text.ts";

/** What a sandbox is on each of its networks, by their names. */
type Own = ReadonlyMap<string, Member>;

/** The sandboxes of a network that are few enough to be listed. */
interface Listed {
  readonly byId: ReadonlyMap<string, Member>;
  readonly lines: MemberLines;
}

/** One network in a pass. */
interface OpenNetwork {
  readonly members: NetworkMembers;
  /** Its sandboxes, once all changes are made. */
  listed?: Listed;
  /** Whether a sandbox has come, gone or changed. */
  isChanged: boolean;
}

/**
 * One change of the files of sandboxes: some sandboxes come, change or go, and then the files of all that have to do with them
 * are written. The caller holds the lock of the files.
 */
export class InsidePass {
  readonly #stateDir: string;
  /** By the names of their files. */
  readonly #networks = new Map<string, OpenNetwork>();
  /** The sandboxes that came or changed. */
  readonly #own = new Map<string, Own>();
  readonly #gone = new Set<string>();

  constructor(stateDir: string) {
    this.#stateDir = stateDir;
  }

  /** A sandbox is there with these networks. */
  put(sandbox: InsideSandbox, host: Dns): void {
    const { id } = sandbox;
    const dir = sandboxDir(this.#stateDir, id);
    const before = readOwn(dir);
    const now = membersOf(sandbox);
    const text = printOwn(now);
    // First of all: by this file a later pass finds the networks that have the sandbox.
    if (text === "" || text !== printOwn(before)) inDirNow(dir, () => overwriteNow(namesFile(dir), text));
    publishNow(insidePaths(this.#stateDir, id).resolvConf, resolvConfText(sandbox, host));
    for (const name of before.keys()) if (!now.has(name)) this.#drop(name, id);
    for (const [name, member] of now) {
      const known = before.get(name);
      if (known !== undefined && printMember(known) === printMember(member)) continue;
      const network = this.#open(name);
      network.members.put(member, known === undefined);
      network.isChanged = true;
    }
    this.#own.set(id, now);
    this.#gone.delete(id);
  }

  /** A sandbox has gone. */
  drop(id: string): void {
    for (const name of readOwn(sandboxDir(this.#stateDir, id)).keys()) this.#drop(name, id);
    this.#own.delete(id);
    this.#gone.add(id);
  }

  /** Leaves on all networks nothing but the sandboxes that came in this pass; `files` are the networks that have a file. */
  keepOnly(files: readonly string[]): void {
    const members = new Map<string, Member[]>(files.map((name) => [name, []]));
    for (const own of this.#own.values()) {
      for (const [name, member] of own) {
        const list = members.get(shortName(name)) ?? [];
        members.set(shortName(name), list);
        list.push(member);
      }
    }
    for (const [name, list] of members) {
      const network = this.#open(name);
      if (network.members.replace(list)) network.isChanged = true;
    }
  }

  /**
   * Writes the files of all sandboxes that the changes concern, and removes those of the sandboxes that have gone, each in an
   * attempt of its own.
   */
  async finish(attempt: (id: string, body: () => void) => void): Promise<void> {
    const concerned = new Map<string, Own>(this.#own);
    for (const { members, isChanged } of [...this.#networks.values()]) {
      if (!isChanged) continue;
      members.write();
      if (!members.isListed && !members.wasListed) continue;
      for (const member of members.members()) {
        if (!concerned.has(member.id)) concerned.set(member.id, this.#ownOf(member));
      }
    }
    for (const [id, own] of concerned) {
      const turn = turnIfDue();
      if (turn !== undefined) await turn;
      attempt(id, () => this.#writeHosts(id, own));
    }
    for (const id of this.#gone) attempt(id, () => removeTreeNow(sandboxDir(this.#stateDir, id)));
  }

  #writeHosts(id: string, own: Own): void {
    const networks = [...own].map(([network, own]): HostsNetwork => {
      return { network, own, members: this.#listed(this.#open(network))?.lines };
    });
    // A sandbox without its folder was left by a killed process; recovery makes the folder or forgets the sandbox.
    if (!isThereNow(sandboxDir(this.#stateDir, id))) return;
    publishNow(insidePaths(this.#stateDir, id).hosts, hostsText(networks));
  }

  /** Returns what a sandbox is on each of its networks. Its own file is read only if one of them does not list it. */
  #ownOf({ id, networks }: Member): Own {
    const own = new Map<string, Member>();
    for (const name of networks) {
      const member = this.#listed(this.#open(name))?.byId.get(id);
      if (member === undefined) return readOwn(sandboxDir(this.#stateDir, id));
      own.set(name, member);
    }
    return own;
  }

  #listed(network: OpenNetwork): Listed | undefined {
    if (!network.members.isListed) return undefined;
    return network.listed ??= listedOf(network.members.members());
  }

  #drop(name: string, id: string): void {
    const network = this.#open(name);
    network.members.drop(id);
    network.isChanged = true;
  }

  #open(name: string): OpenNetwork {
    const file = shortName(name);
    const known = this.#networks.get(file);
    if (known !== undefined) return known;
    const dir = networksDir(this.#stateDir);
    const network: OpenNetwork = { members: NetworkMembers.open(`${dir}/${file}`), isChanged: false };
    this.#networks.set(file, network);
    return network;
  }
}

function listedOf(members: readonly Member[]): Listed {
  return { byId: new Map(members.map((member) => [member.id, member])), lines: new MemberLines(members) };
}

function namesFile(dir: string): string {
  return `${dir}/names`;
}

/** Prints what a sandbox is on each of its networks, one line for each. */
function printOwn(own: Own): string {
  return [...own].map(([network, member]) => `${network}\t${printMember(member)}\n`).join("");
}

/** Reads that from the folder of a sandbox; a network that cannot be read is left out. */
function readOwn(dir: string): Own {
  const text = readTextNow(namesFile(dir)) ?? "";
  return new Map(
    text.split("\n").flatMap((line) => {
      const at = line.indexOf("\t");
      const member = parseMember(line.slice(at + 1));
      return at < 1 || member === undefined ? [] : [[line.slice(0, at), member] as const];
    }),
  );
}
