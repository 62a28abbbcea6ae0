import { type Cidr, formatCidr, formatIp, networkOf } from "../cni/address.ts";
import { HostError, runOk } from "../host/command.ts";
import { attachmentComment, attachmentTag, networkTag, type TaggedAttachment } from "./attachment_tag.ts";
import type { Host } from "./host.ts";

/** Table and chains have the names that the CNI plugins project uses, so that either removes the other's rules. */
const TABLE = "inet cni_plugins_masquerade";
const CHAIN = `${TABLE} masq_checks`;

/** Between listing and changing, another process may have removed a rule: the change fails as a whole. */
const ATTEMPTS = 4;

interface TaggedRule {
  readonly handle: number;
  readonly comment: string;
}

/**
 * Masquerades what comes from these addresses and leaves their network, in place of what the attachment had. False,
 * with nothing done, if nftables cannot be used here.
 */
export async function addNftRules(
  host: Host,
  attachment: TaggedAttachment,
  addresses: readonly Cidr[],
): Promise<boolean> {
  const tag = await attachmentTag(attachment);
  const comment = await attachmentComment(attachment);
  return await retried(host, (rules) => {
    const stale = rules.filter((rule) => rule.comment.startsWith(tag));
    return [
      `add table ${TABLE}`,
      `add chain ${CHAIN}`,
      `add chain ${TABLE} postrouting { type nat hook postrouting priority srcnat ; }`,
      `flush chain ${TABLE} postrouting`,
      `add rule ${TABLE} postrouting ip daddr == 224.0.0.0/4 return`,
      `add rule ${TABLE} postrouting ip6 daddr == ff00::/8 return`,
      `add rule ${TABLE} postrouting goto masq_checks`,
      ...stale.map(deletion),
      ...addresses.map((address) => {
        const family = address.ip.family === 4 ? "ip" : "ip6";
        const network = formatCidr(networkOf(address));
        return `add rule ${CHAIN} ${family} saddr == ${formatIp(address.ip)} ${family} daddr != ${network} ` +
          `masquerade comment "${comment}"`;
      }),
    ];
  });
}

/** Removes the rules of an attachment, if there are any. */
export async function removeNftRules(host: Host, attachment: TaggedAttachment): Promise<void> {
  const tag = await attachmentTag(attachment);
  await removeRules(host, (rule) => rule.comment.startsWith(tag));
}

/** Removes the rules of a network's attachments but these. */
export async function collectNftRules(
  host: Host,
  network: string,
  valid: readonly TaggedAttachment[],
): Promise<void> {
  const ours = await networkTag(network);
  const keep = new Set(await Promise.all(valid.map(attachmentTag)));
  const tagOf = ({ comment }: TaggedRule) => comment.slice(0, comment.indexOf(","));
  await removeRules(host, (rule) => rule.comment.startsWith(`${ours}-`) && !keep.has(tagOf(rule)));
}

async function removeRules(host: Host, select: (rule: TaggedRule) => boolean): Promise<void> {
  await retried(host, (rules) => rules.filter(select).map(deletion));
}

function deletion({ handle }: TaggedRule): string {
  return `delete rule ${CHAIN} handle ${handle}`;
}

/** Plans on the rules that are there, and does it. False where there is no nftables. */
async function retried(
  host: Host,
  plan: (rules: readonly TaggedRule[]) => readonly string[],
): Promise<boolean> {
  for (let attempt = 1;; attempt++) {
    const rules = await listRules(host);
    if (rules === undefined) return false;
    const lines = plan(rules);
    if (lines.length === 0) return true;
    try {
      await runOk(host.run, {
        program: "nft",
        args: ["-f", "-"],
        stdin: `${lines.join("\n")}\n`,
        signal: host.signal,
      });
      return true;
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "program-failed" || attempt === ATTEMPTS) {
        throw error;
      }
    }
  }
}

/** The rules with a comment; undefined where there is no nftables. A list that was cut short is asked for again. */
async function listRules(host: Host): Promise<TaggedRule[] | undefined> {
  for (let attempt = 1;; attempt++) {
    try {
      return await listOnce(host);
    } catch (error) {
      if (!(error instanceof HostError) || error.reason !== "bad-output" || attempt === ATTEMPTS) throw error;
    }
  }
}

async function listOnce(host: Host): Promise<TaggedRule[] | undefined> {
  let text: string;
  try {
    const request = {
      program: "nft",
      args: ["-j", "list", "chain", ...CHAIN.split(" ")],
      signal: host.signal,
    };
    text = (await runOk(host.run, request)).stdout;
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    // nft has one exit code for all failures. What is not there has no rules.
    if (error.stderr.includes("No such file or directory")) return [];
    if (error.reason === "program-missing" || /not supported/i.test(error.stderr)) return undefined;
    throw error;
  }
  return readRules(text).flatMap(({ rule }) => {
    const { handle, comment } = rule ?? {};
    return handle === undefined || comment === undefined ? [] : [{ handle, comment }];
  });
}

function readRules(text: string): readonly { readonly rule?: Partial<TaggedRule> }[] {
  try {
    return JSON.parse(text).nftables;
  } catch (cause) {
    throw new HostError(`Cannot read what nft lists of ${CHAIN}: its ${text.length} characters are no JSON`, {
      reason: "bad-output",
      program: "nft",
      cause,
    });
  }
}
