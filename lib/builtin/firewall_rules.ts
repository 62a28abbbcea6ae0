import { FAMILIES, type Family } from "../cni/default_route.ts";
import { CniError, ERROR_CODES } from "../cni/error.ts";
import { all } from "./all.ts";
import type { FirewallBackend } from "./firewall_config.ts";
import { checkOpening, closingLines, openingLines } from "./firewall_iptables.ts";
import { addToTable, checkTable, joinInTable, passInvalid, tableDevices } from "./firewall_table.ts";
import type { FirewallNeeds, FirewallRemoval } from "./firewall_needs.ts";
import {
  checkForwardChains,
  closedChains,
  closeForwardChains,
  forwardChains,
  type Opener,
  openForwardChains,
} from "./forward_chains.ts";
import type { Host } from "./host.ts";
import { changeListed, listIptables } from "./iptables.ts";
import { closedLegacyChains } from "./legacy_chains.ts";
import { checkIsolation, isolatedDevices, isolatingLines, joiningLines } from "./isolation_iptables.ts";
import { holdIsolation, lockIsolation, unusedDevices } from "./isolation_use.ts";
import { wrong } from "./link_check.ts";
import { listNft } from "./nft.ts";

/** How rules are made. */
export interface RuleOptions {
  /** What the configuration requests; undefined for what works on this machine, iptables first. */
  readonly backend: FirewallBackend | undefined;
  /** Whether a zone of firewalld has the addresses. iptables and nftables are then needed for what firewalld cannot do. */
  readonly isZoned: boolean;
}

/** What of the rules goes, and whether the bridges without containers are not isolated any more. */
export interface RuleRemoval extends FirewallRemoval {
  /** Whether an interface of the host is one of the attachment. Without it all rules for isolation stay. */
  readonly isOwnLink?: ((link: { readonly name: string; readonly alias: string }) => boolean) | undefined;
  /** Whether there may be rules of nftables against packets without a known connection. @default {false} */
  readonly dropsInvalid?: boolean | undefined;
}

/**
 * Makes the rules of an attachment: in iptables with one transaction for each family, or in nftables. Also opens the chains
 * of nftables that stop what they do not know, and returns the names of those that it cannot open.
 *
 * @throws {CniError} If the backend does not work on this machine.
 */
export async function makeRules(
  host: Host,
  needs: FirewallNeeds,
  options: RuleOptions,
): Promise<readonly string[]> {
  // Who commits a batch holds it.
  const holds = needs.isolation !== undefined && host.batch === undefined;
  using _held = holds ? await holdIsolation(host.signal) : undefined;
  const [way, chains] = await all([makeOwn(host, needs, options), forwardChains(host)]);
  const openers = openersOf(way, options);
  await openForwardChains(host, chains, needs, openers);
  // A repair warns of nothing.
  const legacy = host.batch === undefined ? await closedLegacyChains(host, familiesOf(needs)) : [];
  return [...closedChains(chains, openers), ...legacy];
}

/** What opens chains of others beside rules of nftables. */
export function openersOf(
  backend: "iptables" | "nftables" | undefined,
  { isZoned }: Pick<RuleOptions, "isZoned">,
): readonly Opener[] {
  return [...(backend === "iptables" ? [backend] : []), ...(isZoned ? ["firewalld"] as const : [])];
}

async function makeOwn(
  host: Host,
  needs: FirewallNeeds,
  { backend, isZoned }: RuleOptions,
): Promise<"iptables" | "nftables" | undefined> {
  if (backend !== "nftables") {
    const works = await changeListed(host, familiesOf(needs), {
      table: "filter",
      plan: (lines, family) => [
        ...(opens(lines, isZoned) ? openingLines(lines, family, needs) : []),
        ...(needs.isolation === undefined ? [] : isolatingLines(lines, needs.isolation)),
      ],
    });
    if (works) return "iptables";
  }
  if (isZoned && needs.isolation === undefined) return undefined;
  if (backend !== "iptables" && await addToTable(host, needs)) return "nftables";
  const state = backend === "iptables" || backend === "nftables"
    ? `${backend} does not work here`
    : "neither iptables nor nftables works here";
  throw new CniError("not-ready", `Cannot open the firewall for the container: ${state}`, {
    code: ERROR_CODES.internal,
    details: "install iptables or nftables",
  });
}

/** Whether iptables has to let packets pass: a zone does not help where a policy of iptables drops, as Docker's does. */
function opens(lines: readonly string[], isZoned: boolean): boolean {
  return !isZoned || lines.includes("-P FORWARD DROP");
}

/**
 * Checks that the rules of an attachment are there, and changes nothing.
 *
 * @throws {CniError} naming what is missing
 */
export async function checkRules(
  host: Host,
  needs: FirewallNeeds,
  { backend, isZoned }: RuleOptions,
): Promise<void> {
  const families = familiesOf(needs);
  const [listed, chains] = await all([
    all(families.map((family) => backend === "nftables" ? undefinedLines() : listFilter(host, family))),
    forwardChains(host),
  ]);
  await checkForwardChains(host, chains, needs, openersOf(undefined, { isZoned }));
  if (listed.includes(undefined)) {
    if (backend === "iptables") throw wrong("iptables does not work here any more");
    if (!isZoned || needs.isolation !== undefined) await checkTable(host, needs);
    return;
  }
  for (const [index, family] of families.entries()) {
    const lines = listed[index] ?? [];
    if (opens(lines, isZoned)) checkOpening(lines, family, needs);
    if (needs.isolation !== undefined) checkIsolation(lines, family, needs.isolation);
  }
}

/** Removes rules from all backends; what is not there is no reason to fail. */
export async function removeRules(host: Host, removal: RuleRemoval): Promise<void> {
  const { addresses, isOwnLink } = removal;
  const families = addresses.length === 0 ? FAMILIES : familiesOf(removal);
  const isolated = new Set<string>();
  const steps: readonly Promise<unknown>[] = [
    // Each family for itself: one of them may not work.
    ...families.map((family) =>
      changeListed(host, [family], {
        table: "filter",
        plan: (lines) => {
          for (const device of isolatedDevices(lines)) isolated.add(device);
          return closingLines(lines, family, removal);
        },
      })
    ),
    closeForwardChains(host, removal),
    ...(removal.dropsInvalid ? [passInvalid(host, removal.isOwn)] : []),
    ...(isOwnLink === undefined ? [] : [
      tableDevices(host).then((devices) => {
        for (const device of devices) isolated.add(device);
      }),
    ]),
  ];
  await all(steps);
  if (isOwnLink === undefined) return;
  // Seldom: only then other processes have to wait.
  const unused = await unusedDevices(host, [...isolated], isOwnLink);
  if (unused.size > 0) await endIsolation(host, isOwnLink);
}

/** Removes the rules of bridges without containers. */
async function endIsolation(host: Host, isOwnLink: NonNullable<RuleRemoval["isOwnLink"]>): Promise<void> {
  using _lock = await lockIsolation(host.signal);
  const findUnused = (devices: readonly string[]) => unusedDevices(host, devices, isOwnLink);
  await all(
    [
      ...FAMILIES.map((family) =>
        changeListed(host, [family], {
          table: "filter",
          plan: async (lines) => joiningLines(lines, await findUnused(isolatedDevices(lines))),
        })
      ),
      joinInTable(host, findUnused),
    ] as readonly Promise<unknown>[],
  );
}

/** Returns the backend that works on this machine, of those that may be used. */
export async function worksHere(
  host: Host,
  backend: FirewallBackend | undefined,
): Promise<"iptables" | "nftables" | undefined> {
  if (backend !== "nftables" && await listIptables(host, 4, "filter", "FORWARD") !== undefined) {
    return "iptables";
  }
  const works = backend !== "iptables" && await listNft(host, "table inet podwire_firewall") !== undefined;
  return works ? "nftables" : undefined;
}

function familiesOf({ addresses }: Pick<FirewallNeeds, "addresses">): readonly Family[] {
  return FAMILIES.filter((family) => addresses.some((ip) => ip.family === family));
}

async function listFilter(host: Host, family: Family): Promise<readonly string[] | undefined> {
  return await listIptables(host, family, "filter");
}

function undefinedLines(): Promise<undefined> {
  return Promise.resolve(undefined);
}
